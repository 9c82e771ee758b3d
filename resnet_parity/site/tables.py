"""Generates the tables of README.md and of the documents.

Run as a module it writes them; with --check it only says whether they are current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

from resnet_spec import ARCHITECTURES, GROUPS, mac_count, parameter_count
from resnet_spec.differences import DIFFERENCES

from resnet_parity.cli.exit_codes import EXIT_CODES, FAILURES
from resnet_parity.eject import eject
from resnet_parity.reports.matrix import markdown
from resnet_parity.reports.onnx import ONNX_CHECKS
from resnet_parity.reports.tables import markdown_table
from resnet_parity.site.curves import TITLE, curves
from resnet_parity.site.definitions import FRAMEWORKS
from resnet_parity.site.results import matrices, read, setups
from resnet_parity.tolerances import TOLERANCES
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.naming import Dialect
from resnet_parity.weights.opening import OPENINGS, opening
from resnet_parity.weights.target_table import FORMATS

CURVES = Path("docs", "digits.svg")
"""The picture of the curves on the digits."""

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
    """Return the differences, but for those of loops, as text of three columns, 100 wide."""
    widths = (16, 39, 45)
    text = []
    rows = ((d.id, d.torch, d.keras) for d in DIFFERENCES if not d.is_of_loops)
    for row in [("tag", "PyTorch", "Keras"), *rows]:
        cells = (
            wrap(cell, width - 1, break_long_words=False)
            for cell, width in zip(row, widths, strict=True)
        )
        for line in zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(width) for part, width in zip(line, widths, strict=True))
            text.append("".join(padded).rstrip())
    return "\n".join(["```text", *text, "```"])


def consequences() -> str:
    """Return the table of all differences and of what happens if one is ignored."""
    return markdown_table(
        ("tag", "PyTorch", "Keras", "if you ignore it"),
        ((f"`{row.id}`", f"`{row.torch}`", f"`{row.keras}`", row.ignored) for row in DIFFERENCES),
    )


def tolerances() -> str:
    """Return the table of all tolerances with their reasons, those of a check together."""
    order = list(dict.fromkeys(check for check, _ in TOLERANCES))
    rows = sorted(TOLERANCES.items(), key=lambda item: order.index(item[0][0]))
    return markdown_table(
        ("check or test", "quantity", "limit", "why"),
        (
            (check, quantity, f"{row.limit:g} {row.unit}", row.reason)
            for (check, quantity), row in rows
        ),
    )


def exit_codes() -> str:
    """Return the tables of exit codes that `resnet-parity --help` prints, too."""
    codes = ((f"{code}", text) for code, text in EXIT_CODES.items())
    failures = ((f"`{name}`", text) for name, text in FAILURES.items())
    tables = (("exit code", "meaning"), codes), (("command", "exits with 1 when"), failures)
    return "\n\n".join(markdown_table(*table) for table in tables)


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


def dialects() -> str:
    """Return the table of the dialects; `benchmarks.dialects` measures it."""
    data = read("dialects")
    where = (
        f"{setup['date']}, {', '.join(f'{n} {v}' for n, v in setup['versions'].items())}"
        for setup in setups(data)
    )
    return "\n".join(
        [
            f"{len(data['rows'])} of {len(DIALECTS)} dialects, measured on {'; '.join(where)}.",
            "",
            markdown_table(
                ("dialect", "of", "network", "read", "written by", "run by", "float64", "float32"),
                (
                    dialect_row(DIALECTS[name], row["architecture"], file)
                    for name, row in data["rows"].items()
                    for file in row["files"]
                ),
            ),
        ]
    )


def openings() -> str:
    """Return the table of the lines that open what `convert` writes."""
    arch = replace(ARCHITECTURES["resnet18"], name="NAME")
    rows = []
    for to, each in OPENINGS.items():
        suffix = FORMATS[to].suffix
        line = opening(to, arch, None, f"FILE{suffix}" if suffix else "FOLDER")
        rows.append((f"`{to}`", f"`{line.partition(', where model is ')[0]}`", each.images))
    return markdown_table(("format", "opened by", "images"), rows)


def digits() -> str:
    """Return the accuracies on the digits, and their curves; `benchmarks.digits` measures them."""
    rows = read("digits")["rows"]
    seeds = list(dict.fromkeys(name.partition(", ")[2] for name in rows))
    cells = []
    for framework, label in FRAMEWORKS.items():
        found = [row for name, row in rows.items() if name.partition(",")[0] == framework]
        times = sorted({f"{row['processor_seconds']:.0f}" for row in found}, key=int)
        accuracies = (f"{row['val_accuracy'][-1]:.4f}" for row in found)
        cells.append((label, *accuracies, f"{' to '.join(times[:1] + times[1:][-1:])} s"))
    epochs = max((len(row["val_accuracy"]) for row in rows.values()), default=0)
    headers = (f"validation accuracy after {epochs} epochs", *seeds, "processor time")
    return f"{markdown_table(headers, cells)}\n\n![{TITLE}]({CURVES.name})"


def dialect_row(dialect: Dialect, architecture: str, file: Mapping[str, Any]) -> Iterator[str]:
    """Yield the cells of a file in a dialect."""
    is_link = dialect.source.startswith("https:")
    yield f"`{dialect.name}`"
    yield f"[{dialect.title}]({dialect.source})" if is_link else dialect.title
    yield f"`{architecture}`"
    yield "bitwise" if file["identified"] and file["bitwise"] else "no"
    named = f" --names {dialect.name}" if file["to"] == "safetensors" else ""
    yield f"`--to {file['to']}{named}`" if file["to"] else "no: norms without statistics"
    yield file.get("opened_by") or "-"
    errors = file.get("errors", {})
    yield from (f"{errors[name]:.1e}" if name in errors else "-" for name in ("float64", "float32"))


def ejected() -> str:
    """Return the table of the lengths of all ejected files, as they are without a check."""
    rows = (
        (f"`{name}`", *(str(eject(name, each).count("\n")) for each in FRAMEWORKS))
        for name in ARCHITECTURES
    )
    return markdown_table(("architecture", "lines in PyTorch", "lines in Keras"), rows)


SECTIONS: dict[str, Callable[[], str]] = {
    "differences": differences,
    "consequences": consequences,
    "architectures": architectures,
    "tolerances": tolerances,
    "exits": exit_codes,
    "matrix": matrix,
    "onnx": onnx,
    "dialects": dialects,
    "openings": openings,
    "ejected": ejected,
    "digits": digits,
}
"""The generated sections by the name in their first line, `<!-- NAME: generated -->`."""

_SECTION = re.compile(r"<!-- (\w+): generated -->\n(.*?)<!-- end -->", flags=re.DOTALL)


def documents(root: Path) -> list[Path]:
    """Return the Markdown files that readers open: the README, then those of `docs`."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def main() -> int:
    """Update documents and curves in the working folder, or with --check only check them."""
    missing, stale = dict(SECTIONS), []
    texts = {CURVES: curves(read("digits")["rows"])}
    for path in documents(Path()):
        old = path.read_text(encoding="utf-8")
        texts[path] = _SECTION.sub(lambda found: _section(found, missing), old)
    for path, text in texts.items():
        if not path.exists() or text != path.read_text(encoding="utf-8"):
            stale.append(path)
            if "--check" not in sys.argv[1:]:
                path.write_text(text, encoding="utf-8")
    if missing:
        print(f"no document has the section {', '.join(missing)}", file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path} is out of date; run scripts/generate", file=sys.stderr)
        return int(bool(stale))
    return 0


def _section(found: re.Match[str], missing: dict[str, Callable[[], str]]) -> str:
    """The current text of a section, which is then no longer missing; other sections stay."""
    make = missing.pop(found[1], None)
    return f"<!-- {found[1]}: generated -->\n{make()}\n<!-- end -->" if make else found[0]


if __name__ == "__main__":
    sys.exit(main())
