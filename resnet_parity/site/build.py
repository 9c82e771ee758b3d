"""The pages of docs/, made from the sources of both implementations and from results.

Run as a module it writes them; with --check it only says whether they are up to date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from resnet_parity.files import write_atomically
from resnet_parity.site.assets import assets
from resnet_parity.site.pages import pages
from resnet_parity.site.results import SITE as FOLDER
from resnet_parity.site.sources import source_pages


def site() -> dict[str, str]:
    """Every file of the site, by its path in `docs`."""
    return {**pages(), **source_pages(), **assets()}


def stale(files: dict[str, str]) -> list[str]:
    """The paths that are missing, differ, or belong to nothing any more."""
    differing = [name for name, text in files.items() if _read(FOLDER / name) != text]
    return sorted([*differing, *(_present() - set(files))])


def _present() -> set[str]:
    """What a former run may have written."""
    paths = [*FOLDER.glob("*.html"), *FOLDER.glob("source/*"), *(FOLDER / "assets").rglob("*.*")]
    return {path.relative_to(FOLDER).as_posix() for path in paths}


def _read(path: Path) -> str | None:
    return path.read_bytes().decode() if path.exists() else None


def main() -> int:
    """Write the site, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = parser.parse_args().check
    files = site()
    names = stale(files)
    if check:
        if names:
            told = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
            print(f"docs is out of date ({told}); run scripts/side_by_side", file=sys.stderr)
        return int(bool(names))
    for name in names:
        path = FOLDER / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, files[name].encode())
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
