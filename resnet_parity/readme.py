"""The generated tables of the README, as Markdown.

Run as a module it writes them into README.md; with --check it only says whether they are current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from resnet_spec import GROUPS, mac_count, parameter_count
from resnet_spec.differences import DIFFERENCES

from resnet_parity.matrix_report import markdown
from resnet_parity.tolerances import TOLERANCES

MATRIX = Path(__file__).parents[1] / "docs" / "results" / "matrix.json"


def architectures() -> str:
    """Every row of the table of architectures, in its groups."""
    return _table(
        ("group", "name", "blocks", "parameters", "GMACs", "source"),
        (
            (
                group if arch is rows[0] else "",
                f"`{arch.name}`",
                f"{arch.block} {'-'.join(str(stage.blocks) for stage in arch.stages)}",
                f"{parameter_count(arch):,}",
                f"{mac_count(arch) / 1e9:.2f} at {arch.image_size}",
                arch.source,
            )
            for group, rows in GROUPS.items()
            for arch in rows
        ),
    )


def differences() -> str:
    """Every difference between the frameworks that a ResNet meets."""
    return _table(
        ("tag", "PyTorch", "Keras", "if you ignore it"),
        ((f"`{row.id}`", f"`{row.torch}`", f"`{row.keras}`", row.ignored) for row in DIFFERENCES),
    )


def tolerances() -> str:
    """Every tolerance, with its reason."""
    return _table(
        ("rung", "quantity", "limit", "why"),
        (
            (rung, quantity, f"{row.limit:g} {row.unit}", row.reason)
            for (rung, quantity), row in TOLERANCES.items()
        ),
    )


def matrix() -> str:
    """Every engine on every rung, as `resnet-parity matrix --json` found it."""
    return markdown(json.loads(MATRIX.read_text(encoding="utf-8")))


SECTIONS: dict[str, Callable[[], str]] = {
    "architectures": architectures,
    "differences": differences,
    "tolerances": tolerances,
    "matrix": matrix,
}


def _table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    headers = tuple(headers)
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Bring README.md of the working folder up to date, or check that it is."""
    readme = Path("README.md")
    text = old = readme.read_text(encoding="utf-8")
    for name, make in SECTIONS.items():
        start, end = f"<!-- {name}: generated -->\n", "<!-- end -->"
        pattern = re.escape(start) + r".*?" + re.escape(end)
        section = f"{start}{make()}\n{end}"
        text, count = re.subn(pattern, lambda _, new=section: new, text, flags=re.DOTALL)
        if count != 1:
            print(f"{readme} needs one section {start.strip()!r}", file=sys.stderr)
            return 1
    if "--check" in sys.argv[1:]:
        if text != old:
            print(f"{readme} is out of date; run scripts/readme", file=sys.stderr)
        return int(text != old)
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
