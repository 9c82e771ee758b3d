"""The parts that every check supplies. `resnet_parity.checks` is the registry of all checks.

The command line reads the registry to print its help, so checks import NumPy and the probes only
inside the functions that need them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from resnet_parity.tolerances import limit
from resnet_parity.verdict import Quantity, Row, Verdict, first_divergence

if TYPE_CHECKING:
    import numpy as np

    from resnet_spec import Architecture

    from resnet_parity.checks.engine import Engine
    from resnet_parity.probes import Probe

PHOTOGRAPHS = "photographs"
"""The kind of a probe whose images are a user's photographs."""


@dataclass(frozen=True)
class ProbeRequest:
    """A request for probes: `size` is in pixels, `photographs` are images (N, C, H, W)."""

    arch: Architecture
    seed: int
    size: tuple[int, int] | None = None
    photographs: np.ndarray | None = None


@dataclass(frozen=True)
class PlannedProbe:
    """One probe that a check runs on. `make` draws it, and raises `ProbeError` if there is none."""

    dtype: str
    title: str
    make: Callable[[], Probe]


@dataclass(frozen=True)
class Measurement:
    """The figure that a check limits, see `Verdict`, and the rows that it comes from."""

    value: float
    limit: float
    figure: str
    rows: tuple[Row, ...]


class Check(ABC):
    """One check: the probes it runs on, how it decides, and how its results are shown.

    `description` is the help text. `quantities` are what it compares; each has a row of
    `tolerances.TOLERANCES` under the check's name. `layers_title` says what the cells of a table of
    layers hold. `one_dtype_proves` says that a pass in one dtype proves the function.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    by_default: ClassVar[bool] = True
    takes_photographs: ClassVar[bool] = False
    quantities: ClassVar[tuple[Quantity, ...]] = ("taps", "gradients")
    layers_title: ClassVar[str] = "relative error"
    one_dtype_proves: ClassVar[bool] = False

    @abstractmethod
    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        """The probes to run on, in order."""

    @abstractmethod
    def run(self, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
        """A verdict per engine and quantity. PyTorch comes first: it sets the noise floor."""

    def check_size(self, arch: Architecture, size: tuple[int, int]) -> None:  # noqa: B027
        """Raise `ProbeError` if this check has no probe of that size, before frameworks load."""

    def unsupported_reason(
        self, engine: Engine, dtype: str, quantity: Quantity = "taps"
    ) -> str | None:
        """Why this engine cannot run this check on a probe of that dtype; None if it can."""
        return engine.adapter.unsupported_reason(engine.mode, self.name)

    def verdict(
        self,
        probe: Probe,
        dtype: str,
        quantity: Quantity,
        engine: Engine,
        arrays: Mapping[str, np.ndarray],
        measured: Measurement,
        waiver: str = "",
    ) -> Verdict:
        """The verdict on what an engine gave: pass, fail, or skipped if there is a waiver."""
        failed = "skipped" if waiver else "fail"
        return Verdict(
            check=self.name,
            probe=probe.kind,
            dtype=dtype,
            quantity=quantity,
            engine=engine.name,
            status=failed if first_divergence(measured.rows) else "pass",
            logits=arrays.get("logits"),
            reason=waiver,
            **vars(measured),
        )

    def skipped(
        self, probe: str, dtype: str, engine: str, reason: str, quantity: Quantity | None = None
    ) -> Verdict:
        """The verdict for an engine that did not run."""
        quantity = quantity or self.quantities[0]
        most = limit(self.name, quantity)
        return Verdict(self.name, probe, dtype, quantity, engine, "skipped", most, reason=reason)

    def no_probe(self, reason: str, dtype: str = "", engine: str = "every engine") -> Verdict:
        """The verdict where there is no probe of that size."""
        return self.skipped("none", dtype, engine, reason)

    def column(self, verdict: Verdict) -> str:
        """The title of the column of the matrix that this verdict belongs to."""
        title = self.dtype_title(verdict.dtype)
        if verdict.quantity == "gradients":
            return f"{title} gradients"
        return f"{title} {PHOTOGRAPHS}" if verdict.probe == PHOTOGRAPHS else title

    def dtype_title(self, dtype: str) -> str:
        """The name of the check in that dtype."""
        return self.name if self.name == dtype else f"{self.name} {dtype}"

    def probe_text(self, verdict: Verdict) -> str:
        """The words that tell this check's probes apart in a report."""
        return verdict.probe

    def layer_text(self, row: Row) -> str:
        """The cell of a table of layers."""
        return f"{row.error:.1e}"


def random_probes(dtype: str, request: ProbeRequest) -> Iterator[PlannedProbe]:
    """A random probe for taps, a training probe for gradients, and the photographs, if any."""
    from resnet_parity.probes import make_probe, random_probe, random_weights, training_probe

    arch, seed = request.arch, request.seed
    make = partial(random_probe, arch, seed, dtype, request.size)
    yield PlannedProbe(dtype, f"random probe in {dtype}", make)
    make = partial(training_probe, arch, seed, dtype, request.size)
    yield PlannedProbe(dtype, f"training probe in {dtype}", make)
    if (images := request.photographs) is not None:

        def photographs() -> Probe:
            weights = random_weights(arch, seed, dtype)
            return make_probe(arch, seed, weights, images.astype(dtype), kind=PHOTOGRAPHS)

        yield PlannedProbe(dtype, f"photographs in {dtype}", photographs)
