"""The generated tables of the README, as Markdown.

Run as a module it writes them into README.md; with --check it only says whether they are current.
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
from resnet_parity.site.results import matrices, read, setups
from resnet_parity.tolerances import TOLERANCES

FRAMEWORKS, DEFAULT_CHECKS = ("torch", "keras"), ("exact", "float32")
ONNX_COLUMNS = tuple(
    f"{check}, {framework}" for check in DEFAULT_CHECKS for framework in FRAMEWORKS
)


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
        ("check", "quantity", "limit", "why"),
        (
            (check, quantity, f"{row.limit:g} {row.unit}", row.reason)
            for (check, quantity), row in TOLERANCES.items()
        ),
    )


def matrix() -> str:
    """Every engine on every check, as `resnet-parity matrix` prints it."""
    return "\n\n".join(map(markdown, matrices(read("matrix"))))


def onnx() -> str:
    """Every row that was surveyed through both exporters, see `benchmarks.onnx`."""
    data = read("onnx")
    rows = data["rows"]
    count = sum(row["passed"] for row in rows.values())
    exports = (export for row in rows.values() for export in row["exports"].values())
    runs = max((cell["verdicts"] for checks in exports for cell in checks.values()), default=0)
    told = " Rows that are missing were not run, or gave no answer."
    missing = "" if len(rows) == len(ARCHITECTURES) else told
    return "\n".join(
        [
            f"{count} of the {len(rows)} rows surveyed pass, of {len(ARCHITECTURES)} in the table"
            f" ({'; '.join(onnx_setups(data))}). "
            f"Exact: elements that differ in {runs} runs (ONNX Runtime at four levels, batches of "
            "1, 2 and 5, two sizes). float32: the largest error, as a multiple of PyTorch's own. "
            f"Both exports have the same operators in {_alike(rows.values())} of them.{missing}",
            "",
            _table(
                ("architecture", "operators", *ONNX_COLUMNS),
                (onnx_row(f"`{name}`", row) for name, row in rows.items()),
            ),
        ]
    )


def _alike(rows: Iterable[Mapping[str, Any]]) -> int:
    """Of how many rows both exports hold the same operators, but for turning an image."""
    turning = {"Transpose": 0}
    graphs = ([each | turning for each in row["operators"].values()] for row in rows)
    return sum(first == second for first, second in graphs)


def onnx_setups(data: Mapping[str, Any]) -> Iterator[str]:
    """What the rows of the survey were made on, and how many on each."""
    for setup in setups(data):
        machine = setup["machine"]
        tested = (f"{name} {number}" for name, number in setup["versions"].items())
        where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
        yield f"{setup['rows']} on {where}, {', '.join(tested)}"


def onnx_row(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    """A row of the survey: its name, its operators, a figure for each column."""
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
