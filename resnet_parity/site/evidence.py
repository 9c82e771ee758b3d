"""Turns the measured results into the rows and cells of the evidence page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resnet_parity.reports.matrix import cell_text, remarks
from resnet_parity.site.definitions import FRAMEWORKS
from resnet_parity.site.plot import plot
from resnet_parity.site.results import impact_table, impact_text
from resnet_parity.site.tables import ONNX_COLUMNS, onnx_row
from resnet_parity.tolerances import TOLERANCES

UNIT = TOLERANCES["float64", "taps"].unit
PLOTTED = (
    "resnet18",
    "resnet50",
    "resnet152",
    "resnet20",
    "resnet50d",
    "resnetv2_50",
    "seresnet50",
    "plain34",
)
"""One architecture of each kind; the architecture explorer shows the figures of the others."""

RESULTS = ("matrix", "depth", "impact", "mistaken", "onnx", "digits")


def matrices(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a table per architecture: a row per engine, a column per check."""
    for name, row in data["rows"].items():
        yield {
            "name": name,
            "columns": row["columns"],
            "rows": [
                (each["engine"], [_cell(each["cells"].get(title)) for title in row["columns"]])
                for each in row["rows"]
            ],
            "remarks": [
                *remarks(row),
                *(f"{engine}: not run, {why}" for engine, why in row["absent"].items()),
            ],
        }


def _cell(cell: Mapping[str, Any] | None) -> dict[str, str]:
    if cell is None:
        return {"status": "none", "text": "", "reason": ""}
    return {"status": cell["status"], "text": cell_text(cell), "reason": cell["reason"]}


def dtypes(data: Mapping[str, Any]) -> list[str]:
    """Return the dtypes whose errors were measured, in the order of the plots' lines."""
    return list(next(iter(data["rows"].values()))["errors"])


def plots(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plot per architecture with the largest error of each of its lines."""
    for name in filter(data["rows"].__contains__, PLOTTED):
        net = data["rows"][name]
        yield {
            "name": name,
            "image": net["image"],
            "svg": plot(net, f"{name}: {UNIT}"),
            "largest": [
                (dtype, [f"{max(frameworks[framework]):.1e}" for framework in FRAMEWORKS])
                for dtype, frameworks in net["errors"].items()
            ],
        }


def mutants() -> Iterator[dict[str, str]]:
    """Yield every mutant with the checks that notice it, the checks that cannot, and its impact."""
    for name, row in impact_table("mutants").items():
        yield {
            "name": name,
            "killed": ", ".join(row["killed_by"]),
            "missed": ", ".join(row["missed_by"]),
            "net": row["net"],
            "blind": row.get("blind", False),
            "impact": impact_text(row),
        }


def onnx(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of the ONNX survey: a row per architecture."""
    rows = []
    for name, row in data["rows"].items():
        _, operators, *cells = onnx_row(name, row)
        rows.append((name, operators, cells))
    return {"columns": ONNX_COLUMNS, "rows": rows}
