"""Which tests run, and what several of them stand on."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slower proofs as well")
    parser.addoption("--screenshots", metavar="FOLDER", help="keep what the browser shows there")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("full") and not item.config.getoption("--full"):
        pytest.skip("one of the slower proofs; --full runs them")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no GPU that PyTorch can use")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Keras' models hold themselves, and a wide one a gigabyte, until Python looks for cycles."""
    if item.get_closest_marker("full") and item.config.getoption("--full"):
        gc.collect()


@pytest.fixture
def round_in(monkeypatch) -> Callable[..., None]:
    """A function that gives those modes of a hand a rough rsqrt in float32, and others none."""

    def rough(*modes: str, hand: str = "keras") -> None:
        monkeypatch.setattr(
            f"resnet_{hand}.adapter.norm_of_ones",
            lambda mode, dtype: np.full(
                1, 0.5 - 2**-24 * (dtype == "float32" and mode in modes), dtype
            ),
        )

    return rough
