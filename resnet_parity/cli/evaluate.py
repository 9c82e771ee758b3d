"""`evaluate` and `predict`: use the weights of a run of `train`, or of any library."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from resnet_parity.cli import options
from resnet_parity.errors import ParityError
from resnet_parity.files import check_writable, write_atomically
from resnet_parity.lockstep.plot import check_plot
from resnet_parity.progress import Progress, progress_line
from resnet_parity.streams import console
from resnet_parity.training.config import Augmentation
from resnet_parity.training.drawing import confusion_png

if TYPE_CHECKING:
    from resnet_parity.training.classify import Evaluation

_LISTED = 10


def add(commands: Any) -> None:
    """Add the parsers of `evaluate` and `predict`."""
    text = "measure how often weights name the right class of the photographs in a folder"
    parser = options.add_command(commands, "evaluate", _evaluate, text)
    _add_weights(parser)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="one folder a class, or a folder with val/"
    )
    parser.add_argument(
        "--framework", choices=("torch", "keras", "both"), default="torch", help="(default: torch)"
    )
    parser.add_argument(
        "--confusion",
        type=Path,
        metavar="FILE",
        help="write the confusion matrix: a table as .csv, a picture as .png",
    )
    _add_images(parser)
    text = "name the most probable classes of photographs"
    parser = options.add_command(commands, "predict", _predict, text)
    _add_weights(parser)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="photographs, or folders of them"
    )
    parser.add_argument(
        "--framework", choices=("torch", "keras"), default="torch", help="(default: torch)"
    )
    parser.add_argument(
        "--top",
        type=options.integer_type,
        default=5,
        metavar="K",
        help="the number of classes (default: 5)",
    )
    _add_images(parser)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    text = "weights of any library; beside those of a run, its classes and its images are found"
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help=text)


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--architecture", metavar="NAME", help="where the tensors fit several")
    parser.add_argument(
        "--image-size",
        type=options.integer_type,
        metavar="N",
        help="height and width of the images (default: those of the run, or 224)",
    )
    parser.add_argument(
        "--augmentation",
        choices=get_args(Augmentation),
        help="that of the training, which decides how the centre is cut (default: that of the run, "
        "or crop)",
    )
    options.add_keras_backend(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _opened(arguments: argparse.Namespace) -> Any:
    from resnet_parity.training.classify import open_classifier

    if arguments.image_size is not None and arguments.image_size < 1:
        raise ParityError(f"--image-size must be at least 1, not {arguments.image_size}")
    return open_classifier(
        arguments.weights,
        architecture=arguments.architecture,
        image_size=arguments.image_size,
        augmentation=arguments.augmentation,
    )


def _on_batch(progress: Progress) -> Callable[[int], None]:
    """Moves the bar on a terminal; elsewhere a line for each batch would be too much."""
    if not console(stderr=True).is_terminal:
        return lambda total: None
    return lambda total: progress("classifying", total)


def _evaluate(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.training.classify import evaluate

    if arguments.confusion:
        _check_confusion(arguments.confusion)
    both = ("torch", "keras") if arguments.framework == "both" else (arguments.framework,)
    with progress_line() as progress:
        progress(f"reading {arguments.weights}", 1)
        classifier = _opened(arguments)
        found = evaluate(
            classifier,
            arguments.folder,
            frameworks=both,
            keras_backend=arguments.keras_backend,
            on_batch=_on_batch(progress),
        )
    if arguments.confusion:
        write_atomically(arguments.confusion, _confusion(arguments.confusion, found))
    code = int(bool(found.disagreements))
    if arguments.json:
        return code, lambda: options.print_json(_as_json(found))
    return code, lambda: _print(found)


def _check_confusion(path: Path) -> None:
    """Raise what would prevent the file, before the work."""
    if path.suffix.lower() == ".png":
        check_plot(path)
    elif path.suffix.lower() != ".csv":
        raise ParityError(f"{path} is no CSV or PNG file; choose a name that ends in .csv or .png")
    check_writable(path)


def _confusion(path: Path, found: Evaluation) -> bytes:
    """The confusion matrix as PNG or CSV, by the ending of the file: a row for each true class."""
    if path.suffix.lower() == ".png":
        return confusion_png(found.confusion, found.classifier.classes)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["true class", *found.classifier.classes])
    for name, row in zip(found.classifier.classes, found.confusion.tolist(), strict=True):
        table.writerow([name, *row])
    return text.getvalue().encode()


def _as_json(found: Evaluation) -> dict[str, Any]:
    counts, right = found.confusion.sum(axis=1), found.confusion.diagonal()
    return {
        "architecture": found.classifier.architecture.name,
        "photographs": len(found.labels),
        "top1": found.top1,
        "top5": found.top5,
        "calibration_error": found.calibration_error,
        "images_per_second": found.images_per_second,
        "classes": [
            {"name": name, "photographs": int(count), "right": int(hits)}
            for name, count, hits in zip(found.classifier.classes, counts, right, strict=True)
        ],
        "disagreements": [
            {"photograph": str(path), "classes": list(named)} for path, named in found.disagreements
        ],
        "damaged": list(found.damaged),
    }


def _print(found: Evaluation) -> None:
    data = _as_json(found)
    options.print_text(f"{data['architecture']}: {data['photographs']} photographs")
    for name in found.top1:
        options.print_text(
            f"{name}: top-1 {found.top1[name]:.4f}, top-5 {found.top5[name]:.4f}, "
            f"calibration error {found.calibration_error[name]:.4f}, "
            f"{found.images_per_second[name]:.0f} images/s"
        )
    shown = sorted(data["classes"], key=lambda row: row["right"] / max(row["photographs"], 1))
    options.print_text("classes, the least accurate first:")
    for row in shown[:_LISTED]:
        options.print_text(f"  {row['name']}: {row['right']} of {row['photographs']}")
    if len(shown) > _LISTED:
        options.print_text(f"  and {len(shown) - _LISTED} more; --json lists all")
    for path, named in found.disagreements:
        options.print_text(f"the frameworks disagree on {path}: {' and '.join(named)}")
    for problem in found.damaged:
        options.print_text(f"left out: {problem}")


def _predict(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.training.classify import find_photographs, probabilities, run

    if arguments.top < 1:
        raise ParityError(f"--top must be at least 1, not {arguments.top}")
    samples = find_photographs(arguments.images)
    with progress_line() as progress:
        progress(f"reading {arguments.weights}", 1)
        classifier = _opened(arguments)
        scores, right, damaged = run(
            classifier,
            samples,
            (arguments.framework,),
            keras_backend=arguments.keras_backend,
            on_batch=_on_batch(progress),
        )
    if not right:
        raise ParityError(damaged[0])
    rows = []
    for logits in scores[arguments.framework].logits:
        for shares in probabilities(logits):
            best = (-shares).argsort(kind="stable")[: arguments.top]
            named = [(classifier.name(int(label)), float(shares[label])) for label in best]
            rows.append({"photograph": str(right[len(rows)].path), "classes": named})

    def show() -> None:
        for row in rows:
            named = ", ".join(f"{name} {share:.4f}" for name, share in row["classes"])
            options.print_text(f"{row['photograph']}: {named}")
        for problem in damaged:
            options.print_text(f"left out: {problem}")

    if arguments.json:
        return 0, lambda: options.print_json({"photographs": rows, "damaged": damaged})
    return 0, show
