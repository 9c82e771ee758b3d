"""`page` and `code`: both implementations side by side, in a browser and in a terminal."""

from __future__ import annotations

import argparse
from typing import Any

from resnet_spec.hints import did_you_mean

from resnet_parity.cli import options


def add(commands: Any) -> None:
    """Add both parsers."""
    text = "the site that shows both implementations side by side; a checkout builds it"
    parser = options.add_command(commands, "page", _page, text)
    parser.add_argument(
        "chapter", metavar="CHAPTER", nargs="?", default="index", help="a page, as in layers"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    text = "one definition from both implementations, side by side"
    parser = options.add_command(commands, "code", _code, text)
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a definition, as in Bottleneck, blocks.Bottleneck or resnet50.Bottleneck",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _page(arguments: argparse.Namespace) -> options.Result:
    import webbrowser

    from resnet_parity.errors import ParityError
    from resnet_parity.site.build import ensure_built

    site = ensure_built()
    file = site / f"{arguments.chapter}.html"
    if not file.is_file():
        known = sorted(path.stem for path in site.glob("*.html"))
        near = did_you_mean(arguments.chapter, known)
        raise ParityError(
            f"there is no page {arguments.chapter!r}{near}; pages are: {', '.join(known)}"
        )
    address = file.as_uri()
    if arguments.open and not webbrowser.open(address):
        raise ParityError(f"no browser could be started; open {address} yourself")
    return 0, lambda: print(address)


def _code(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.site.terminal import as_json, find, print_pair

    pair = find(arguments.name)
    if arguments.json:
        return 0, lambda: options.print_json(as_json(pair))
    return 0, lambda: print_pair(options.console(), pair)
