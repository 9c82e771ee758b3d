"""Runs a training from a configuration: the data, the framework, the folder of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from time import monotonic, time
from typing import Any

from resnet_spec import (
    Architecture,
    ArchitectureError,
    Recipe,
    RecipeError,
    WeightsError,
    get_architecture,
    named_recipe,
    parameters,
)

from resnet_parity.adapters.loading import native_images, run_adapter, torch_adapter
from resnet_parity.adapters.protocol import Arrays, RunAdapter
from resnet_parity.errors import ParityError
from resnet_parity.files import check_new_folder, is_file, is_folder, write_atomically, writing
from resnet_parity.limits import MAX_TRAINED, check_memory
from resnet_parity.signals import Stopped, signals_noted
from resnet_parity.torchrun import process
from resnet_parity.training.batches import Batches, Damaged
from resnet_parity.training.config import Config, to_toml
from resnet_parity.training.folders import Photographs, read_photographs
from resnet_parity.training.images import Images
from resnet_parity.training.initial import initial_weights
from resnet_parity.training.run_folder import (
    CLASSES,
    CONFIG,
    DAMAGED,
    Checkpoint,
    Epoch,
    read_checkpoint,
    read_classes,
    write_checkpoint,
    write_results,
)
from resnet_parity.weights.loading import load_weights

Say = Callable[[str], None]
StepReport = Callable[[int, Mapping[str, float]], None]
"""Called with the number of steps of the whole work, and the means over the epoch so far."""


@dataclass(frozen=True)
class Plan:
    """A configuration with all that follows from it."""

    config: Config
    out: Path
    architecture: Architecture
    photographs: Photographs
    recipe: Recipe
    train: Batches
    val: Batches
    weights: Arrays
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """The number of steps of the whole run."""
        return self.config.epochs * len(self.train)

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of the photographs to train on and to validate."""
        return len(self.photographs.train), len(self.photographs.val)

    @property
    def is_first(self) -> bool:
        """Whether this is the process, of several, that writes and reports."""
        return self.train.process == 0


@dataclass(frozen=True)
class Result:
    """A run that is complete."""

    config: Config
    out: Path
    epochs: tuple[Epoch, ...]
    best: Epoch
    damaged: tuple[str, ...]


def make_plan(config: Config, out: Path, begun: Architecture | None = None) -> Plan:
    """Find the photographs and the weights; no framework is imported, and nothing is written.

    `begun` is the architecture of a run that goes on. Raises `ParityError` for what does not fit.
    """
    photographs = read_photographs(
        Path(config.folder), val_split=config.val_split, seed=config.seed
    )
    arch, weights, notes = _network(config, len(photographs.classes), begun)
    size = (config.image_size, config.image_size)
    check_memory(arch, config.batch_size, size, most=MAX_TRAINED)
    images = Images(config.image_size, config.augmentation, seed=config.seed)
    log = out / DAMAGED
    train = Batches(photographs.train, images, config.batch_size, whole=True, log=log)
    still = replace(images, is_training=False)
    val = Batches(photographs.val, still, config.batch_size, log=log)
    if not len(train):
        raise ParityError(
            f"{len(photographs.train)} photographs are no batch of {config.batch_size}; take a "
            "smaller --batch-size"
        )
    recipe = named_recipe(
        config.recipe, epochs=config.epochs, steps=len(train), batch=config.batch_size
    )
    own = {"learning_rate": config.learning_rate or recipe.learning_rate, "ema": config.ema}
    try:
        recipe = replace(recipe, **own)
    except RecipeError as error:
        raise ParityError(str(error)) from None
    return Plan(config, out, arch, photographs, recipe, train, val, weights, notes)


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    keras_backend: str | None = None,
    say: Say = lambda line: None,
    on_step: StepReport = lambda total, means: None,
) -> Result:
    """Train, or go on from the last checkpoint of the folder `out`.

    A signal ends it after the step, once a checkpoint is written. Of the processes that `torchrun`
    started, the first one alone writes and reports. Raises `ParityError`, and
    `resnet_parity.signals.Stopped` for a signal.
    """
    if not resume:
        _check_out(config, out)
    checkpoint = read_checkpoint(out) if resume else Checkpoint(0)
    plan = make_plan(config, out, checkpoint.architecture)
    if resume:
        _check_photographs(plan, checkpoint)
        if not process():
            with writing(out / DAMAGED):  # who resumes may have replaced them
                (out / DAMAGED).unlink(missing_ok=True)
    adapter, runs = run_adapter(config.framework, keras_backend)
    with runs.devices(config.devices):
        plan = _part_of(plan, *runs.processes())
        versions = adapter.versions()
        if config.compile and "torch" in versions:
            _check_compiler()
        if config.native_data:
            plan = _with_native_data(plan)
            if config.framework == "torch":
                versions["torchvision"] = version("torchvision")
        if plan.is_first:
            reason = adapter.float64_unsupported_reason() if config.dtype == "float64" else None
            notes = () if resume else (_found(plan.photographs), *plan.notes)
            for note in (*notes, *([reason] if reason else [])):
                say(note)
            _write_begin(plan, checkpoint, versions)
        session = _run(plan, checkpoint, runs, say, on_step)
    epochs = session.checkpoint.epochs
    best = session.checkpoint.best
    assert best is not None
    return Result(config, out, epochs, best, tuple(session.damaged.problems))


def _with_native_data(plan: Plan) -> Plan:
    """The plan with images that the framework makes by its own means.

    Raises `MissingFrameworkError` without torchvision.
    """
    make = native_images(plan.config.framework)
    return replace(
        plan,
        train=replace(plan.train, images=make(**asdict(plan.train.images))),
        val=replace(plan.val, images=make(**asdict(plan.val.images))),
    )


def _run(
    plan: Plan, checkpoint: Checkpoint, runs: RunAdapter, say: Say, on_step: StepReport
) -> Session:
    """Train all parts that are left."""
    config = plan.config
    with signals_noted() as signals:
        session = Session(plan, checkpoint, runs, signals, say, on_step)
        for part in session.parts():
            run = session.start(part)
            try:
                runs.fit(
                    *(run, plan.train, plan.val),
                    epochs=part.epochs,
                    skip=part.skip,
                    workers=config.workers,
                    compiled=config.compile,
                    on_step=session.on_step,
                    on_epoch=session.on_epoch,
                )
            except Exception:  # of any type, if devices cannot share what is left of a batch
                session.name_damaged()
                raise
    return session


def _part_of(plan: Plan, process: int, processes: int) -> Plan:
    """The plan of one of several processes. Raises `ParityError` for batches that are too small."""
    shares, size = processes * plan.config.devices, plan.config.batch_size
    if size < 2 * shares:
        raise ParityError(
            f"a batch of {size} has no two photographs for each of {shares} devices; take a larger "
            "--batch-size, which is that of all devices together, or fewer devices"
        )
    if len(plan.photographs.val) < plan.config.devices:
        raise ParityError(f"{shares} devices need as many photographs for validation")
    if plan.config.devices > 1 and plan.config.compile:
        raise ParityError(
            "--compile goes with one device of Keras: jax compiles in any case, and in TensorFlow "
            "XLA compiles for one alone (https://www.tensorflow.org/xla/known_issues)"
        )
    if size % plan.config.devices:
        raise ParityError(f"--batch-size must be a multiple of --devices, not {size}")
    train, val = (
        replace(each, process=process, processes=processes) for each in (plan.train, plan.val)
    )
    return replace(plan, train=train, val=val)


@dataclass(frozen=True)
class Part:
    """Epochs in which the same tensors are trained; of the first, `skip` batches are done.

    `begins` says that the momentum is zero and not that of the checkpoint.
    """

    epochs: range
    skip: int
    frozen: bool
    begins: bool


class Session:
    """A run in progress: called after each step and each epoch."""

    def __init__(
        self,
        plan: Plan,
        checkpoint: Checkpoint,
        runs: RunAdapter,
        signals: list[int],
        say: Say,
        on_step: StepReport,
    ) -> None:
        photographs = plan.photographs
        self.plan, self.checkpoint, self.runs = plan, checkpoint, runs
        self.get_state: Callable[[], Arrays] = dict
        self.signals, self.say, self.report = signals, say, on_step
        if not plan.is_first:
            self.say, self.report = (lambda line: None), (lambda total, means: None)
        total = len(photographs.train) + len(photographs.val)
        self.damaged = Damaged(plan.out / DAMAGED, total)
        self.began = self.trained = monotonic()
        self.first, self.steps = checkpoint.step, 0

    def parts(self) -> list[Part]:
        """The parts that are left, of which each has one model and one optimiser."""
        config, size = self.plan.config, len(self.plan.train)
        done, skip = divmod(self.checkpoint.step, size)
        thaw = min(max(config.freeze_backbone, done), config.epochs)
        parts = []
        for epochs, frozen in ((range(done, thaw), True), (range(thaw, config.epochs), False)):
            begins = (epochs.start, skip) in ((0, 0), (config.freeze_backbone, 0))
            if epochs:
                parts.append(Part(epochs, skip, frozen, begins))
                skip = 0
        return parts

    def start(self, part: Part) -> Any:
        """A model for a part of the run, with the state of the checkpoint.

        Raises `ParityError` if that does not fit.
        """
        plan, tensors, runs = self.plan, self.checkpoint.tensors, self.runs
        own = {p.name: tensors[p.name] for p in parameters(plan.architecture)} if tensors else {}
        try:
            run = runs.start(
                *(plan.architecture, own or plan.weights, plan.recipe, plan.config.dtype),
                frozen=part.frozen,
                synchronized=plan.config.sync_batchnorm,
            )
            if tensors and not part.begins:
                runs.set_state(run, tensors)
        except WeightsError as error:
            raise ParityError(f"{plan.out} does not fit its checkpoint: {error}") from error
        self.get_state = lambda: runs.get_state(run)
        return run

    def on_step(self, step: int, means: Mapping[str, float]) -> None:
        self.trained = monotonic()
        self.steps += 1
        if not math.isfinite(means["loss"]):
            raise ParityError(self._diverged(f"the loss is {means['loss']}", step))
        self.name_damaged()
        means = self._merged(step, means)
        self.report(self.plan.total - self.first, means)
        if signal := self._signal():
            is_last = (step + 1) % len(self.plan.train) == 0
            if is_last:
                return  # the epoch is evaluated first
            self._save(replace(self.checkpoint, step=step + 1, partial=dict(means)))
            self.say(f"stopped after step {step + 1}; --resume goes on from there")
            raise Stopped(signal)

    def on_epoch(self, index: int, means: Mapping[str, float]) -> None:
        self.name_damaged()
        last = (index + 1) * len(self.plan.train) - 1
        values = self._merged(last, means)
        if not math.isfinite(loss := values["val_loss"]):
            raise ParityError(self._diverged(f"the loss in validation is {loss}", last))
        seconds = self.trained - self.began
        epoch = Epoch(
            epoch=index + 1,
            **{name: float(values[name]) for name in sorted(values)},
            learning_rate=self.plan.recipe.learning_rate_at(last),
            images_per_second=self.steps * self.plan.config.batch_size / max(seconds, 1e-9),
            seconds=monotonic() - self.began,
            time=time(),
        )
        self._save(Checkpoint(last + 1, (*self.checkpoint.epochs, epoch)))
        self.say(line_of(epoch, self.plan.config.epochs))
        if signal := self._signal():
            self.say(f"stopped after epoch {index + 1}; --resume goes on from there")
            raise Stopped(signal)
        self.began, self.steps = monotonic(), 0

    def _merged(self, step: int, means: Mapping[str, float]) -> dict[str, float]:
        """The means over an epoch of which a part was done before an interruption."""
        before, size = self.checkpoint, len(self.plan.train)
        if not before.partial or step // size != before.step // size:
            return dict(means)
        done, count = before.step % size, step % size + 1
        return {
            name: (before.partial[name] * done + mean * (count - done)) / count
            if name in before.partial
            else mean
            for name, mean in means.items()
        }

    def _signal(self) -> int:
        """The signal that ends the run after this step, of any process; 0 for none."""
        return int(self.runs.largest(self.signals[0] if self.signals else 0))

    def _save(self, checkpoint: Checkpoint) -> None:
        tensors = self.get_state()
        self.checkpoint = replace(checkpoint, tensors=tensors, photographs=self.plan.counts)
        if self.plan.is_first:
            write_checkpoint(self.plan.out, self.plan.architecture, self.checkpoint)

    def name_damaged(self) -> None:
        if not self.plan.is_first:
            return
        for problem in self.damaged.news():
            if self.plan.config.devices > 1:
                raise ParityError(f"{problem}; delete it: devices have equal shares of a batch")
            self.say(f"left out: {problem}")

    def _diverged(self, problem: str, step: int) -> str:
        done, size = len(self.checkpoint.epochs), len(self.plan.train)
        last = f"of epoch {done}" if done else "none: no epoch was complete"
        return (
            f"{problem} at step {step + 1}, in epoch {step // size + 1}; the last "
            f"checkpoint is {last}. Begin another run with a --learning-rate below "
            f"{self.plan.recipe.learning_rate:g}"
        )


def line_of(epoch: Epoch, epochs: int) -> str:
    """An epoch in a line."""
    return (
        f"epoch {epoch.epoch} of {epochs}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.4f}, "
        f"validation {epoch.val_accuracy:.4f}, {epoch.images_per_second:.0f} images/s"
    )


def _network(
    config: Config, classes: int, begun: Architecture | None
) -> tuple[Architecture, Arrays, tuple[str, ...]]:
    """The architecture, the weights to begin with, and sentences on how they were adapted."""
    if begun:
        return begun, {}, ()
    if config.weights:
        loaded = load_weights(
            config.weights,
            architecture=config.architecture or None,
            num_classes=classes,
            in_channels=3,
        )
        report = loaded.report
        notes = (f"{report.file}: {report.architecture}", *report.made_up, *report.assumptions)
        return loaded.architecture, loaded.weights, notes
    try:
        arch = get_architecture(
            config.architecture or "resnet18", num_classes=classes, in_channels=3
        )
    except ArchitectureError as error:
        raise ParityError(str(error)) from None
    return arch, initial_weights(arch, config.seed), ()


def _check_out(config: Config, out: Path) -> None:
    """Raise `ParityError` if the folder of a run is not new, or would become a class."""
    if is_file(out / CONFIG):
        raise ParityError(
            f"{out} exists already and holds a run; go on with it by --resume, or name a new folder"
        )
    check_new_folder(out)
    folder, target = Path(config.folder).resolve(), out.resolve()
    is_split = is_folder(folder / "train")
    classes = {folder / "train", folder / "val"} if is_split else {folder}
    if classes & {*target.parents}:
        raise ParityError(f"{out} would be a class of {config.folder}; name a folder outside it")


def _found(photographs: Photographs) -> str:
    """The photographs that were found, and what was not taken for one, in a sentence."""
    others = photographs.others
    more = f"; {len(others)} other files or folders, the first {others[0]}" if others else ""
    return (
        f"{len(photographs.classes)} classes, {len(photographs.train)} photographs to train on, "
        f"{len(photographs.val)} to validate{more}"
    )


def _check_photographs(plan: Plan, checkpoint: Checkpoint) -> None:
    """Raise `ParityError` if the photographs are not those of the run."""
    path, found = plan.out / CLASSES, plan.photographs.classes
    begun = read_classes(plan.out) if path.is_file() else found
    if begun != found or plan.architecture.num_classes != len(found):
        raise ParityError(
            f"{plan.config.folder} has other classes than {path}: {len(found)} and {len(begun)}, "
            "or in other names; begin another run with --out"
        )
    theirs, ours = checkpoint.photographs, plan.counts
    size = plan.config.batch_size
    # Other numbers split each class anew, and other batches an epoch move the steps that are done.
    is_same = theirs == ours if plan.config.val_split else theirs[0] // size == ours[0] // size
    if checkpoint.step and not is_same:
        raise ParityError(
            f"{plan.config.folder} gives {ours[0]} photographs to train on and {ours[1]} to "
            f"validate, and the run was begun with {theirs[0]} and {theirs[1]}; put them back, or "
            "begin another run with --out"
        )


def _check_compiler() -> None:
    """Raise `ParityError` if `torch.compile`, which Keras on PyTorch takes too, does not work."""
    if reason := torch_adapter().unsupported_reason("compile", "exact"):
        raise ParityError(f"{reason}; leave out --compile, or install a C++ compiler")


def _write_begin(plan: Plan, checkpoint: Checkpoint, versions: Mapping[str, str]) -> None:
    """Write what a run is made of, its configuration and its classes, and what was done before.

    Raises `ParityError`, if that does not fit.
    """
    with writing(plan.out):
        plan.out.mkdir(exist_ok=True)
    photographs = plan.photographs
    data = {
        "architecture": plan.architecture.name,
        "classes": len(photographs.classes),
        "training_photographs": len(photographs.train),
        "validation_photographs": len(photographs.val),
        "other_files": len(photographs.others),
        "steps_of_an_epoch": len(plan.train),
    }
    config = replace(plan.config, architecture=plan.architecture.name)
    text = to_toml(config, {"data": data, "recipe": asdict(plan.recipe), "versions": versions})
    write_atomically(plan.out / CONFIG, text.encode())
    write_atomically(plan.out / CLASSES, json.dumps(photographs.classes, indent=1).encode())
    if checkpoint.tensors:
        names = [parameter.name for parameter in parameters(plan.architecture)]
        if missing := [name for name in names if name not in checkpoint.tensors]:
            raise ParityError(f"{plan.out} does not fit its checkpoint, which has no {missing[0]}")
        write_results(plan.out, plan.architecture, checkpoint)
