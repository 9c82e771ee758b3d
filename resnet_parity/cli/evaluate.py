"""`evaluate` and `predict`: use the weights of a run of `train`, or of any library."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from resnet_parity.cli import options
from resnet_parity.errors import ParityError
from resnet_parity.files import check_new_folder, check_writable, write_atomically
from resnet_parity.progress import Progress, ProgressLine, progress_line
from resnet_parity.streams import console, say
from resnet_parity.training.config import Augmentation

if TYPE_CHECKING:
    from resnet_parity.training.classify import Classifier, Evaluation, Prediction
    from resnet_parity.training.explain import Explanations

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
        "--top",
        type=options.integer_type,
        default=5,
        metavar="K",
        help="the number of classes (default: 5)",
    )
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="FOLDER",
        help="write pictures that show where a photograph speaks for its class (Grad-CAM)",
    )
    _add_images(parser)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    text = "weights of any library; beside those of a run, its classes and its images are found"
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help=text)


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--framework", choices=("torch", "keras", "both"), default="torch", help="(default: torch)"
    )
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


def _opened(arguments: argparse.Namespace, progress: ProgressLine) -> Classifier:
    from resnet_parity.training.classify import open_classifier

    if arguments.image_size is not None and arguments.image_size < 1:
        raise ParityError(f"--image-size must be at least 1, not {arguments.image_size}")
    progress(f"reading {arguments.weights}", 1)
    classifier = open_classifier(
        arguments.weights,
        architecture=arguments.architecture,
        image_size=arguments.image_size,
        augmentation=arguments.augmentation,
    )
    if classifier.native_data:
        with progress.paused():
            say("trained with --native-data; here the photographs are prepared as without it")
    return classifier


def _frameworks(arguments: argparse.Namespace) -> tuple[str, ...]:
    return ("torch", "keras") if arguments.framework == "both" else (arguments.framework,)


def _on_batch(progress: Progress) -> Callable[[int], None]:
    """Moves the bar on a terminal; elsewhere a line for each batch would be too much."""
    if not console(stderr=True).is_terminal:
        return lambda total: None
    return lambda total: progress("classifying", total)


def _evaluate(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.training.classify import evaluate

    if arguments.confusion:
        _check_confusion(arguments.confusion)
    with progress_line() as progress:
        classifier = _opened(arguments, progress)
        found = evaluate(
            classifier,
            arguments.folder,
            frameworks=_frameworks(arguments),
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
    from resnet_parity.lockstep.plot import check_plot

    if path.suffix.lower() == ".png":
        check_plot(path)
    elif path.suffix.lower() != ".csv":
        raise ParityError(f"{path} is no CSV or PNG file; choose a name that ends in .csv or .png")
    check_writable(path)


def _confusion(path: Path, found: Evaluation) -> bytes:
    """The confusion matrix as PNG or CSV, by the ending of the file: a row for each true class."""
    from resnet_parity.training.drawing import confusion_png

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
        _print_disagreement(path, named)
    for problem in found.damaged:
        options.print_text(f"left out: {problem}")


def _predict(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.training.classify import find_photographs, predict, run
    from resnet_parity.training.explain import explain

    if arguments.top < 1:
        raise ParityError(f"--top must be at least 1, not {arguments.top}")
    if arguments.explain:
        check_new_folder(arguments.explain)
    samples, frameworks = find_photographs(arguments.images), _frameworks(arguments)
    backend = {"keras_backend": arguments.keras_backend}
    with progress_line() as progress:
        classifier = _opened(arguments, progress)
        report = {"on_batch": _on_batch(progress), **backend}
        scores, right, damaged = run(classifier, samples, frameworks, **report)
        if not right:
            raise ParityError(damaged[0])
        found = [*predict(classifier, right, scores, arguments.top)]
        explained = None
        if arguments.explain:
            own = [each.sample for each in found]
            explained = explain(arguments.explain, classifier, own, frameworks, **report)
    code = int(any(len({*each.named}) > 1 for each in found))
    if explained and max(explained.differences) > explained.limit:
        code = 1
    if arguments.json:
        return code, lambda: options.print_json(_predicted(found, explained, damaged))
    return code, lambda: _print_predicted(found, explained, damaged)


def _predicted(
    found: Sequence[Prediction], explained: Explanations | None, damaged: Sequence[str]
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"photograph": str(each.sample.path), "classes": each.classes, "named": each.named}
        for each in found
    ]
    if explained:
        parts = zip(rows, explained.files, explained.differences, strict=True)
        for row, file, difference in parts:
            row |= {"explained": str(file), "difference": difference}
    return {"photographs": rows, "damaged": list(damaged)}


def _print_predicted(
    found: Sequence[Prediction], explained: Explanations | None, damaged: Sequence[str]
) -> None:
    for each in found:
        named = ", ".join(f"{name} {share:.4f}" for name, share in each.classes)
        options.print_text(f"{each.sample.path}: {named}")
    for each in found:
        if len({*each.named}) > 1:
            _print_disagreement(each.sample.path, each.named)
    if explained:
        options.print_text(f"Grad-CAM: {explained.files[0].parent}, {len(found)} pictures")
    if explained and len(found[0].named) > 1:
        largest, index = max((each, index) for index, each in enumerate(explained.differences))
        options.print_text(
            f"the maps of the frameworks differ by at most {largest:.1e} of their largest value, "
            f"in {explained.files[index].name}; the limit is {explained.limit:.0e}"
        )
    for problem in damaged:
        options.print_text(f"left out: {problem}")


def _print_disagreement(path: Path, named: Sequence[str]) -> None:
    options.print_text(f"the frameworks disagree on {path}: {' and '.join(named)}")
