"""`page` and `code`: both implementations side by side, in a browser and in the terminal."""

from __future__ import annotations

import argparse
from typing import Any

from resnet_parity.cli.options import Result, add_command, console, print_json


def add(commands: Any) -> None:
    """The parsers of both."""
    parser = add_command(
        commands, "page", _page, "where the page of both implementations side by side lies"
    )
    parser.add_argument(
        "chapter", metavar="CHAPTER", nargs="?", default="index", help="such as layers or evidence"
    )
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    parser = add_command(
        commands, "code", _code, "one definition of both implementations, side by side"
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="as in Bottleneck, blocks.Bottleneck or resnet50.Bottleneck",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _page(arguments: argparse.Namespace) -> Result:
    import webbrowser

    from resnet_parity.errors import ParityError
    from resnet_parity.site.results import SITE

    file = SITE / f"{arguments.chapter}.html"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in SITE.glob("*.html")))
        raise ParityError(f"there is no page {arguments.chapter!r}; pages are: {known}")
    address = file.as_uri()
    if arguments.open and not webbrowser.open(address):
        raise ParityError(f"no browser could be started; open {address} yourself")
    return 0, lambda: print(address)


def _code(arguments: argparse.Namespace) -> Result:
    from resnet_parity.site.terminal import as_json, find, print_pair

    pair = find(arguments.name)
    if arguments.json:
        return 0, lambda: print_json(as_json(pair))
    return 0, lambda: print_pair(console(), pair)
