"""What the pages load: styles and scripts, of which one is the architecture explorer's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnet_parity.site.explorer import explorer_data, figures

STATIC = Path(__file__).parent / "static"


def assets() -> dict[str, str]:
    """Every asset, by its path in the site."""
    files = {f"assets/{path.name}": path.read_text(encoding="utf-8") for path in STATIC.glob("*.*")}
    # A page that was opened as a file may run scripts and fetch nothing.
    files["assets/explorer_data.js"] = f"window.EXPLORER = {_json(explorer_data())};\n"
    for name, net in figures().items():
        text = f'window.EXPLORER.figures.nets["{name}"] = {_json(net)};\n'
        files[f"assets/figures/{name}.js"] = text
    return files


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
