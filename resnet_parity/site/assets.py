"""The files that the pages load or link to: styles, scripts, explorer data and results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnet_parity.site.evidence import RESULTS
from resnet_parity.site.explorer import explorer_data, figures
from resnet_parity.site.names import names_data
from resnet_parity.site.results import ROOT, result_file
from resnet_parity.site.search import search_data

STATIC = Path(__file__).parent / "static"


def assets() -> dict[str, str]:
    """Return every asset by its path in the site."""
    files = {f"assets/{path.name}": path.read_text(encoding="utf-8") for path in STATIC.glob("*.*")}
    drawings = (ROOT / "docs").glob("*.svg")
    files |= {f"docs/{path.name}": path.read_text(encoding="utf-8") for path in drawings}
    files |= {f"results/{name}.json": result_file(name).read_text("utf-8") for name in RESULTS}
    # A browser lets a page that was opened as a file run scripts, but fetch nothing.
    files["assets/explorer_data.js"] = f"window.EXPLORER = {_json(explorer_data())};\n"
    files["assets/names_data.js"] = f"window.NAMES = {_json(names_data())};\n"
    files["assets/search_data.js"] = f"window.SEARCH = {_json(search_data())};\n"
    for name, net in figures().items():
        text = f'window.EXPLORER.figures.nets["{name}"] = {_json(net)};\n'
        files[f"assets/figures/{name}.js"] = text
    return files


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
