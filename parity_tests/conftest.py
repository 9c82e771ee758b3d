"""Which tests run, and what several of them stand on."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from resnet_parity.checks.engine import Engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slower proofs as well")
    parser.addoption("--screenshots", metavar="FOLDER", help="keep what the browser shows there")


def pytest_collection_finish() -> None:
    _set_aside()


@pytest.fixture(scope="module", autouse=True)
def _what_a_file_leaves() -> Iterator[None]:
    yield
    _set_aside()


def _set_aside() -> None:
    """Spare Python the search for garbage in what is imported and kept.

    It took 78 of 317 seconds of three files of tests (backbone, cli, export; two cores, one busy
    with other work).
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def nothing_set_aside() -> Iterator[None]:
    """As in a user's process, in which what is exported may set aside what was there."""
    gc.unfreeze()
    yield
    _set_aside()


def pytest_unconfigure() -> None:
    """Let modules go in good order, or jax's bindings (nanobind) report leaks on stderr."""
    gc.unfreeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("full") and not item.config.getoption("--full"):
        pytest.skip("one of the slower proofs; --full runs them")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no GPU that PyTorch can use")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A wide net's probe holds a gigabyte, and its Keras model another until cycles are sought."""
    if item.get_closest_marker("full") and item.config.getoption("--full"):
        from parity_tests import support

        for kept in (support.exact, support.random, support.training):
            kept.cache_clear()
        gc.collect()


@pytest.fixture
def keras_elsewhere(monkeypatch) -> Iterator[None]:
    """Keras in a process that ends with the test, and with it what was compiled there."""
    from parity_tests import support
    from resnet_parity.adapters.remote import remote_adapters

    framework = "keras tensorflow"
    with remote_adapters(framework) as adapters:
        monkeypatch.setattr(support, "keras_adapter", lambda: adapters[framework])
        yield


@pytest.fixture
def torch_engines() -> list[Engine]:
    """Both layouts of PyTorch, which never has to compile."""
    from resnet_parity.adapters.loading import torch_adapter
    from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine

    return [Engine(f"torch {mode}", torch_adapter(), mode) for mode in NOISE_FLOOR_MODES]


@pytest.fixture
def held() -> tuple[str, ...]:
    """The dtypes in which this CPU holds exact probes, asked before a test makes it rough."""
    from parity_tests.support import exact_dtypes

    return exact_dtypes()


@pytest.fixture
def round_in(monkeypatch) -> Callable[..., None]:
    """A function that gives those modes of an implementation a rough rsqrt in float32, and others none."""

    def rough(*modes: str, framework: str = "keras") -> None:
        monkeypatch.setattr(
            f"resnet_parity.adapters.{framework}.adapter.norm_of_ones",
            lambda mode, dtype: np.full(
                1, 0.5 - 2**-24 * (dtype == "float32" and mode in modes), dtype
            ),
        )

    return rough


@pytest.fixture
def rough_and_other(held, round_in, monkeypatch) -> list[tuple[str, str]]:
    """Keras with a mode that rounds in float32 and one that stands in: eager by other names.

    So it is on a CPU with a rough rsqrt, but for what has to be compiled there. Returns what ran:
    modes, and the dtypes of the images.
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

    round_in("rough")
    monkeypatch.setattr(framework, "modes", lambda: ("rough", "other"))
    monkeypatch.setattr(framework, "unsupported_reason", lambda mode, check: None)
    monkeypatch.setattr(framework, "run", run_eagerly)
    monkeypatch.setattr(framework, "gradients", differentiate_eagerly)
    return ran
