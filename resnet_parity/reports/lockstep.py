"""Prints the result of training in lockstep: as text (rich) or as JSON data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnet_parity.lockstep import Lockstep, TrainingStep, Trial
from resnet_parity.reports.tables import COLOUR, json_data, new_table

_ROWS = 12
_NO_NOISE_FLOOR = (
    "float32: the error of PyTorch itself, which is the noise floor, is larger than rounding "
    "explains. If float64 passes, the images are the reason, not an implementation: so few, or of "
    "this size, let hardly any gradient pass the norms. Take --batch 4 or more or another --seed."
)


def as_json(result: Lockstep) -> dict[str, Any]:
    """The result as JSON data; infinities become null. Steps count from 1."""
    return json_data(
        vars(result)
        | {
            "architecture": result.architecture.name,
            "passed": result.passed,
            "trials": [
                vars(trial)
                | {"diverged_at": None if trial.diverged_at is None else trial.diverged_at + 1}
                for trial in result.trials
            ],
            "steps": [
                {
                    "step": step.index + 1,
                    "learning_rate": step.learning_rate,
                    "torch_loss": step.torch_loss,
                    "keras_loss": step.keras_loss,
                    "distance": step.distance,
                    "worst": step.worst,
                }
                for step in result.steps
            ],
        }
    )


def print_report(console: Console, result: Lockstep) -> None:
    """Print both losses, their distance and the largest errors."""
    recipe = ", ".join(f"{name} {value}" for name, value in asdict(result.recipe).items())
    height, width = result.size
    title = f"{result.architecture.name}: batches of {result.batch} images of {height}x{width}"
    console.print(f"{title}, seed {result.seed}", markup=False)
    console.print(", ".join(f"{name} {number}" for name, number in result.versions.items()))
    console.print(f"{recipe}\n", soft_wrap=True)
    if result.steps:
        console.print(_curve(result.steps, result.trials[0].diverged_at))
        console.print()
    table = new_table("dtype", "framework", "largest error in", "figure", "verdict")
    for trial in result.trials:
        verdict = Text(trial.status, COLOUR[trial.status])
        table.add_row(trial.dtype, trial.implementation, trial.furthest, _figure(trial), verdict)
    console.print(table)
    for trial in result.trials:
        _print_trouble(console, trial)
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if result.passed:
        skipped = [
            f"{each.dtype} was skipped" for each in result.trials if each.status == "skipped"
        ]
        console.print(Text("; ".join(["both implementations train alike", *skipped]), "green"))
    else:
        console.print(Text("the implementations do NOT train alike, or it is not proven", "red"))


def _curve(steps: Sequence[TrainingStep], diverged_at: int | None) -> Table:
    """A table of some steps: the first, the last, a few between, and the first divergence."""
    table = new_table("step", "torch loss", "keras loss", "distance", "largest error in", "error")
    last = len(steps) - 1
    shown = {round(index * last / (_ROWS - 1)) for index in range(_ROWS)} | {diverged_at}
    for step in steps:
        if step.index in shown:
            table.add_row(
                f"{step.index + 1}",
                f"{step.torch_loss:.6f}",
                f"{step.keras_loss:.6f}",
                f"{step.distance:.1e}",
                step.furthest.name,
                Text(f"{step.furthest.error:.1e}", "red" if step.diverged else ""),
            )
    return table


def _figure(trial: Trial) -> str:
    if trial.status == "skipped":
        return "not run"
    if trial.dtype == "float32" and trial.implementation == "keras":
        return f"{trial.value:.2f}x noise floor (<= {trial.limit:g})"
    return f"{trial.value:.1e} (<= {trial.limit:g})"


def _print_trouble(console: Console, trial: Trial) -> None:
    if trial.reason:
        text = f"{trial.dtype}: skipped: {trial.reason}"
        console.print(text, style="yellow", soft_wrap=True)
    if (trial.dtype, trial.implementation, trial.status) == ("float32", "torch", "fail"):
        console.print(_NO_NOISE_FLOOR, style="red", markup=False, soft_wrap=True)
    if trial.diverged_at is not None:
        console.print(
            f"{trial.dtype}: the implementations diverge at step {trial.diverged_at + 1}, most in "
            f"{trial.furthest}: relative error {trial.value:.1e}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
