"""Generates the tables of README.md.

Run as a module it writes them; with --check it only says whether they are current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from resnet_spec import ARCHITECTURES, GROUPS, mac_count, parameter_count
from resnet_spec.differences import DIFFERENCES

from resnet_parity.reports.matrix import markdown
from resnet_parity.reports.onnx import ONNX_CHECKS
from resnet_parity.reports.tables import markdown_table
from resnet_parity.site.results import matrices, read, setups
from resnet_parity.tolerances import TOLERANCES

FRAMEWORKS = ("torch", "keras")
ONNX_COLUMNS = tuple(f"{check}, {framework}" for check in ONNX_CHECKS for framework in FRAMEWORKS)


def architectures() -> str:
    """Return the table of all architectures by group."""
    return markdown_table(
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
    """Return the table of all differences between the frameworks."""
    return markdown_table(
        ("tag", "PyTorch", "Keras", "if you ignore it"),
        ((f"`{row.id}`", f"`{row.torch}`", f"`{row.keras}`", row.ignored) for row in DIFFERENCES),
    )


def tolerances() -> str:
    """Return the table of all tolerances with their reasons."""
    return markdown_table(
        ("check", "quantity", "limit", "why"),
        (
            (check, quantity, f"{row.limit:g} {row.unit}", row.reason)
            for (check, quantity), row in TOLERANCES.items()
        ),
    )


def matrix() -> str:
    """Return the tables of every engine on every check, as `resnet-parity matrix` prints them."""
    return "\n\n".join(map(markdown, matrices(read("matrix"))))


def onnx() -> str:
    """Return the table of the ONNX survey; `benchmarks.onnx` measures it."""
    data = read("onnx")
    rows = data["rows"]
    count = sum(row["passed"] for row in rows.values())
    exports = (export for row in rows.values() for export in row["exports"].values())
    runs = max((cell["verdicts"] for checks in exports for cell in checks.values()), default=0)
    partial = " Missing architectures were not run or gave no answer."
    missing = "" if len(rows) == len(ARCHITECTURES) else partial
    return "\n".join(
        [
            f"{count} of {len(rows)} surveyed architectures pass, of {len(ARCHITECTURES)} in the "
            f"registry ({'; '.join(onnx_setups(data))}). "
            f"Exact: elements that differ in {runs} runs (ONNX Runtime at four levels, batches of "
            "1, 2 and 5, two sizes). float32: the largest error, as a multiple of PyTorch's own. "
            f"Both exports have the same operators in {_alike(rows.values())} of them.{missing}",
            "",
            markdown_table(
                ("architecture", "operators", *ONNX_COLUMNS),
                (onnx_row(f"`{name}`", row) for name, row in rows.items()),
            ),
        ]
    )


def _alike(rows: Iterable[Mapping[str, Any]]) -> int:
    """Count the rows whose exports hold the same operators, apart from transposing images."""
    no_transpose = {"Transpose": 0}
    graphs = ([each | no_transpose for each in row["operators"].values()] for row in rows)
    return sum(first == second for first, second in graphs)


def onnx_setups(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the machine and versions of each setup of the survey with its number of rows."""
    for setup in setups(data):
        machine = setup["machine"]
        versions = (f"{name} {number}" for name, number in setup["versions"].items())
        where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
        yield f"{setup['rows']} on {where}, {', '.join(versions)}"


def onnx_row(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the cells of a row of the survey: name, operators, and a figure per column."""
    yield name
    counts = row["operators"]["torch.onnx"]
    yield ", ".join(f"{counts[operator]} {operator}" for operator in sorted(counts))
    for check, unit in (("exact", ""), ("float32", "x")):
        for export in ("torch.onnx", "keras.onnx"):
            cell = row["exports"].get(export, {}).get(check)
            if cell is None:
                yield "no exact probe" if check == "exact" else "not run"
            else:
                value = float("inf") if cell["value"] is None else cell["value"]
                figure = f"{value:.2f}x" if unit else f"{value}"
                yield figure if cell["status"] == "pass" else f"{cell['status']}: {figure}"


SECTIONS: dict[str, Callable[[], str]] = {
    "architectures": architectures,
    "differences": differences,
    "tolerances": tolerances,
    "matrix": matrix,
    "onnx": onnx,
}


def main() -> int:
    """Update README.md in the working folder, or with --check only check it."""
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
