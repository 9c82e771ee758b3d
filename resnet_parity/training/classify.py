"""Uses trained weights: classifies photographs, and measures how often that is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

import numpy as np

from resnet_spec import Architecture

from resnet_parity.adapters.loading import run_adapter
from resnet_parity.adapters.protocol import Arrays
from resnet_parity.errors import ImageError, ParityError
from resnet_parity.files import is_folder
from resnet_parity.limits import fitting_batch
from resnet_parity.training.config import Augmentation, make_config, read_config
from resnet_parity.training.folders import Sample, pictures, read_samples
from resnet_parity.training.images import Images
from resnet_parity.training.run_folder import CLASSES, CONFIG, read_classes
from resnet_parity.weights.loading import load_weights

BINS = 15
"""The bins of confidence of a calibration error (Guo et al. 2017, arXiv:1706.04599, section 2)."""

Classify = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Classifier:
    """Weights, the names of their classes if they are known, and the images that they take.

    With `native_data` they were trained on others, which a framework prepared by its own means.
    """

    architecture: Architecture
    weights: Arrays
    classes: tuple[str, ...]
    images: Images
    native_data: bool = False

    def name(self, label: int) -> str:
        return self.classes[label] if self.classes else str(label)


@dataclass
class Scores:
    """The logits of one framework for the photographs that could be read, and its time."""

    logits: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation, by framework where they depend on it.

    `confusion` counts photographs by true class and by the class of the first framework.
    `disagreements` are photographs with the class that each framework names.
    """

    classifier: Classifier
    labels: np.ndarray
    top1: dict[str, float]
    top5: dict[str, float]
    calibration_error: dict[str, float]
    images_per_second: dict[str, float]
    confusion: np.ndarray
    disagreements: tuple[tuple[Path, tuple[str, ...]], ...]
    damaged: tuple[str, ...]


def open_classifier(
    path: Path,
    *,
    architecture: str | None = None,
    image_size: int | None = None,
    augmentation: Augmentation | None = None,
) -> Classifier:
    """Load weights of any library; a run of `train` gives the classes and the images, too.

    Raises `ParityError` for weights without classes.
    """
    loaded = load_weights(path, architecture=architecture, in_channels=3)
    arch = loaded.architecture
    if not arch.num_classes:
        raise ParityError(f"{path} has no classifier, so it names no class")
    folder = path.parent
    classes = loaded.report.labels
    size, kind, native_data = 224, "crop", False
    if (folder / CONFIG).is_file() and (folder / CLASSES).is_file():
        config = make_config(read_config(folder / CONFIG))
        size, kind, native_data = config.image_size, config.augmentation, config.native_data
        classes = read_classes(folder)
        if len(classes) != arch.num_classes:
            raise ParityError(
                f"{folder / CLASSES} names {len(classes)} classes, but the weights have "
                f"{arch.num_classes}"
            )
    images = Images(image_size or size, augmentation or kind, is_training=False)
    return Classifier(arch, loaded.weights, classes, images, native_data)


def find_photographs(paths: Sequence[Path]) -> list[Sample]:
    """Photographs that are named, and those in folders that are named.

    Raises `ParityError` for a name of nothing, and for a folder without photographs.
    """
    found: list[Sample] = []
    for path in paths:
        inside = [*pictures(path)] if is_folder(path) else [path]
        if not inside:
            inner = next((each for each in sorted(path.iterdir()) if is_folder(each)), None)
            fix = f"; name the folders in it, such as {inner}" if inner else ""
            raise ParityError(f"{path} holds no pictures{fix}")
        if not is_folder(path) and not path.exists():
            raise ParityError(f"{path}: no such file")
        found += [Sample(each, -1) for each in inside]
    return found


def evaluate(
    classifier: Classifier,
    folder: Path,
    *,
    frameworks: Sequence[str],
    batch: int = 32,
    keras_backend: str | None = None,
    on_batch: Callable[[int], None] = lambda total: None,
) -> Evaluation:
    """Classify the photographs in the folders of classes in `folder`, or in its folder `val`.

    Raises `ParityError` for other classes than those of the weights.
    """
    if not is_folder(folder):
        raise ParityError(f"{folder} is no folder of photographs")
    inside = folder / "val" if is_folder(folder / "val") else folder
    count = classifier.architecture.num_classes
    classes, samples, _ = read_samples(inside, classifier.classes or None)
    if len(classes) != count:
        raise ParityError(
            f"{inside} holds {len(classes)} classes, but the weights have {count}; name a folder "
            "with all of them"
        )
    scores, right, damaged = run(
        classifier,
        samples,
        frameworks,
        batch=batch,
        keras_backend=keras_backend,
        on_batch=on_batch,
    )
    if not right:
        raise ParityError(f"no photograph of {inside} can be read; the first: {damaged[0]}")
    labels = np.array([sample.label for sample in right])
    logits = {name: np.concatenate(each.logits) for name, each in scores.items()}
    named = {name: each.argmax(axis=1) for name, each in logits.items()}
    confusion = np.zeros((count, count), dtype="int64")
    np.add.at(confusion, (labels, named[frameworks[0]]), 1)
    return Evaluation(
        replace(classifier, classes=classes),
        labels,
        {name: float((each == labels).mean()) for name, each in named.items()},
        {name: _top(each, labels, 5) for name, each in logits.items()},
        {name: calibration_error(each, labels) for name, each in logits.items()},
        {name: len(labels) / max(each.seconds, 1e-9) for name, each in scores.items()},
        confusion,
        tuple(
            (sample.path, tuple(classes[label] for label in found))
            for sample, found in zip(right, zip(*named.values(), strict=True), strict=True)
            if len({*found}) > 1
        ),
        tuple(damaged),
    )


def run(
    classifier: Classifier,
    samples: Sequence[Sample],
    frameworks: Sequence[str],
    *,
    batch: int = 32,
    keras_backend: str | None = None,
    on_batch: Callable[[int], None] = lambda total: None,
) -> tuple[dict[str, Scores], list[Sample], list[str]]:
    """The scores of each framework, the samples that could be read, and the faults of others."""
    arch, size = classifier.architecture, classifier.images.size
    batch = fitting_batch(arch, batch, (size, size))
    functions: dict[str, Classify] = {
        name: run_adapter(name, keras_backend)[1].classifier(arch, classifier.weights)
        for name in frameworks
    }
    scores = {name: Scores() for name in frameworks}
    right: list[Sample] = []
    damaged: list[str] = []
    for index in range(0, len(samples), batch):
        on_batch(-(-len(samples) // batch))
        part = [*_loaded(classifier.images, samples[index : index + batch], damaged)]
        right += [sample for sample, _ in part]
        if not part:
            continue
        images = np.stack([image for _, image in part])
        for name, classify in functions.items():
            if not scores[name].logits:
                classify(images)  # the first call compiles
            begin = monotonic()
            scores[name].logits.append(classify(images))
            scores[name].seconds += monotonic() - begin
    return scores, right, damaged


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a photograph with their probabilities, by the first framework.

    `sample` holds the first of these classes as its label; `named` is that of each framework.
    """

    sample: Sample
    classes: tuple[tuple[str, float], ...]
    named: tuple[str, ...]


def predict(
    classifier: Classifier, samples: Sequence[Sample], scores: Mapping[str, Scores], top: int
) -> Iterator[Prediction]:
    """The classes of photographs by the logits of each framework, see `run`."""
    logits = [np.concatenate(each.logits) for each in scores.values()]
    best = zip(*(each.argmax(axis=1).tolist() for each in logits), strict=True)
    for sample, shares, labels in zip(samples, probabilities(logits[0]), best, strict=True):
        order = (-shares).argsort(kind="stable")[:top].tolist()
        yield Prediction(
            replace(sample, label=labels[0]),
            tuple((classifier.name(label), float(shares[label])) for label in order),
            tuple(map(classifier.name, labels)),
        )


def _loaded(
    images: Images, samples: Sequence[Sample], damaged: list[str]
) -> Iterator[tuple[Sample, np.ndarray]]:
    for sample in samples:
        try:
            yield sample, images.load(sample.path, 0, 0)
        except ImageError as error:
            damaged.append(str(error))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits (N, classes), in float64."""
    wide = logits.astype("float64")
    exponents = np.exp(wide - wide.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean difference of confidence and accuracy over bins of confidence."""
    found = probabilities(logits)
    confidence, is_right = found.max(axis=1), found.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = (
        abs(float((is_right[bins == index] - confidence[bins == index]).sum()))
        for index in range(BINS)
    )
    return sum(gaps) / len(labels)


def _top(logits: np.ndarray, labels: np.ndarray, count: int) -> float:
    """The share of labels that are among the classes with the largest logits."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return float((best == labels[:, None]).any(axis=1).mean())
