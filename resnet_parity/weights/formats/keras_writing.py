"""Write the files of Keras, complete or not at all."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any


def write_keras(path: Path, model: Any) -> None:
    """Write a Keras model to a `.keras` file, whose weights are never in memory as a whole.

    Keras itself would write them to memory, then to the file.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        model.save(folder, zipped=False)
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("metadata.json", "config.json", "model.weights.h5"):
                archive.write(Path(folder, name), name)
