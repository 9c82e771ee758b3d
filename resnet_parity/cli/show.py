"""`list`, `show` and `compare`: the registry of architectures, without any framework."""

from __future__ import annotations

import argparse
from typing import Any

from resnet_spec import get_architecture

from resnet_parity.cli import options


def add(commands: Any) -> None:
    """Add the parsers of the three commands."""
    text = "the architectures, with parameters and MACs"
    parser = options.add_command(commands, "list", _list, text)
    parser.add_argument("--json", action="store_true", help="print JSON")

    text = "one architecture: stages, shapes, parameters, MACs"
    parser = options.add_command(commands, "show", _show, text)
    size = "height and width of the image in pixels (default: see `list`)"
    options.add_architecture(parser, size)
    parser.add_argument("--layers", action="store_true", help="print every layer in both layouts")
    parser.add_argument("--tensors", action="store_true", help="print every tensor in both layouts")
    parser.add_argument("--json", action="store_true", help="print JSON")

    text = "the differences of two architectures"
    parser = options.add_command(commands, "compare", _compare, text)
    for name in ("A", "B"):
        parser.add_argument(name.lower(), metavar=name, help="an architecture")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _list(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.reports import show

    if arguments.json:
        return 0, lambda: options.print_json(show.list_json())
    return 0, lambda: show.print_list(options.console())


def _show(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.reports import show

    arch = options.chosen_architecture(arguments)
    size = arguments.size or (arch.image_size, arch.image_size)
    if arguments.json:
        return 0, lambda: options.print_json(show.show_json(arch, size))
    wanted = {"layers": arguments.layers, "tensors": arguments.tensors}
    return 0, lambda: show.print_show(options.console(), arch, size, **wanted)


def _compare(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.reports import compare

    pair = get_architecture(arguments.a), get_architecture(arguments.b)
    if arguments.json:
        return 0, lambda: options.print_json(compare.compare_json(*pair))
    return 0, lambda: compare.print_compare(options.console(), *pair)
