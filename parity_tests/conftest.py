"""Options, fixtures and garbage collection for all tests."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from resnet_parity.checks.engine import Engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slower proofs as well")
    parser.addoption(
        "--screenshots", metavar="FOLDER", help="save screenshots of the browser there"
    )


def pytest_collection_finish() -> None:
    _freeze()


@pytest.fixture(scope="module", autouse=True)
def _freeze_after_each_file() -> Iterator[None]:
    yield
    _freeze()


def _freeze() -> None:
    """Exclude all live objects from garbage collection.

    Collection took 78 of 317 seconds of three test files (backbone, cli, export; two cores, one of
    them busy with other work).
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """Nothing is excluded from garbage collection, as in a user's process."""
    gc.unfreeze()
    yield
    _freeze()


def pytest_unconfigure() -> None:
    """Make all objects collectable again, or jax's bindings (nanobind) report leaks on stderr."""
    gc.unfreeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("full") and not item.config.getoption("--full"):
        pytest.skip("one of the slower proofs; --full runs them")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("PyTorch finds no GPU")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Free memory: the probe of a wide network takes a gigabyte, its Keras model another."""
    if item.get_closest_marker("full") and item.config.getoption("--full"):
        from parity_tests import support

        for cached in (support.exact, support.random, support.training):
            cached.cache_clear()
        gc.collect()


@pytest.fixture
def keras_in_another_process(monkeypatch) -> Iterator[None]:
    """Keras in another process, which ends with the test and frees what was compiled there."""
    from parity_tests import support
    from resnet_parity.adapters.remote import remote_adapters

    framework = "keras tensorflow"
    with remote_adapters(framework) as adapters:
        monkeypatch.setattr(support, "keras_adapter", lambda: adapters[framework])
        yield


@pytest.fixture
def torch_engines() -> list[Engine]:
    """Both layouts of PyTorch, in modes that do not compile."""
    from resnet_parity.adapters.loading import torch_adapter
    from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine

    return [Engine(f"torch {mode}", torch_adapter(), mode) for mode in NOISE_FLOOR_MODES]


@pytest.fixture
def exact_dtypes_here() -> tuple[str, ...]:
    """The dtypes of the exact probes that this CPU can run, before a test patches its rounding."""
    from parity_tests.support import exact_dtypes

    return exact_dtypes()


@pytest.fixture
def make_modes_round(monkeypatch) -> Callable[..., None]:
    """A function that makes the given modes look as if they round rsqrt in float32."""

    def patch(*modes: str, framework: str = "keras") -> None:
        monkeypatch.setattr(
            f"resnet_parity.adapters.{framework}.adapter.norm_of_ones",
            lambda mode, dtype: np.full(
                1, 0.5 - 2**-24 * (dtype == "float32" and mode in modes), dtype
            ),
        )

    return patch


@pytest.fixture
def rounding_and_fallback(
    exact_dtypes_here, make_modes_round, monkeypatch
) -> list[tuple[str, str]]:
    """Keras with two modes, "rough" that rounds in float32 and "other" as its fallback.

    Both run eagerly, so that the case of a CPU with a rough rsqrt is tested without compiling.
    Returns what ran: modes, and the dtypes of the images.
    """
    import resnet_parity.adapters.keras.adapter as framework

    run, gradients = framework.run, framework.gradients
    ran: list[tuple[str, str]] = []

    def run_eagerly(model, images, mode):
        ran.append((mode, str(images.dtype)))
        return run(model, images, "eager")

    def differentiate_eagerly(model, images, cotangents, mode, *, training):
        ran.append((mode, str(images.dtype)))
        return gradients(model, images, cotangents, "eager", training=training)

    make_modes_round("rough")
    monkeypatch.setattr(framework, "modes", lambda: ("rough", "other"))
    monkeypatch.setattr(framework, "unsupported_reason", lambda mode, check: None)
    monkeypatch.setattr(framework, "run", run_eagerly)
    monkeypatch.setattr(framework, "gradients", differentiate_eagerly)
    return ran


@pytest.fixture
def eagerly():
    """Run TensorFlow without graphs, which take longer to make than a few steps of a small net."""
    tensorflow = import_module("tensorflow")
    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)
