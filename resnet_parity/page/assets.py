"""What the pages load: styles and scripts, of which one is the living spec's data."""

from __future__ import annotations

import json
from pathlib import Path

from resnet_parity.page.living import living_spec

STATIC = Path(__file__).parent / "static"


def assets() -> dict[str, str]:
    """Every asset, by its path in the site."""
    files = {f"assets/{path.name}": path.read_text(encoding="utf-8") for path in STATIC.glob("*.*")}
    # A page that was opened as a file may run a script and fetch nothing.
    data = json.dumps(living_spec(), separators=(",", ":"), ensure_ascii=False)
    return {**files, "assets/living_spec.js": f"window.LIVING_SPEC = {data};\n"}
