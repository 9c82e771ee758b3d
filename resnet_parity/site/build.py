"""Builds the site from the sources of both implementations and from the measured results.

A checkout builds it on demand into `build/site`, which git ignores; a wheel carries it. No
framework is imported.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from resnet_parity.errors import MissingFrameworkError
from resnet_parity.files import write_atomically
from resnet_parity.site.results import BESIDE, INSTALLED, ROOT, SITE

INPUTS = (
    "resnet_spec",
    "resnet_torch",
    "resnet_keras",
    "resnet_parity",
    "parity_tests",
    "benchmarks/results",
    "conformance",
    "docs",
    *BESIDE,
)
"""The folders and files that the site is built from."""

_STAMP = SITE.with_name("site.stamp")


def site() -> dict[str, str]:
    """Return every file of the site by its path in the site's folder.

    Raises `MissingFrameworkError` where the template engine is not installed.
    """
    try:
        from resnet_parity.site.pages import pages
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe", "markdown_it"):
            raise
        raise MissingFrameworkError(
            f"{error.name} builds the pages and is not installed; run scripts/side_by_side, or "
            "python -m pip install jinja2 markupsafe markdown-it-py"
        ) from error
    from resnet_parity.site.assets import assets
    from resnet_parity.site.sources import source_pages

    return {**pages(), **source_pages(), **assets()}


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of a site into a folder and remove all others from it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)


def fingerprint() -> str:
    """Return a hash of the path, size and modification time of every input file."""
    found = hashlib.sha256()
    for folder in INPUTS:
        place = ROOT / folder
        for path in sorted(place.rglob("*.*")) if place.is_dir() else [place]:
            if "__pycache__" not in path.parts and path.is_file():
                stat = path.stat()
                found.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return found.hexdigest()


def ensure_built() -> Path:
    """Build the site where it is missing or older than an input, and return its folder."""
    if INSTALLED:
        return SITE
    current = fingerprint()
    if SITE.is_dir() and _STAMP.is_file() and _STAMP.read_text() == current:
        return SITE
    start = time.monotonic()
    files = site()
    write(files, SITE)
    write_atomically(_STAMP, current.encode())
    seconds = time.monotonic() - start
    print(f"built the site, {len(files)} files, in {seconds:.1f} s", file=sys.stderr)
    return SITE
