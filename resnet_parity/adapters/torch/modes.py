"""The ways in which PyTorch can run a model: two memory layouts, its compiler, a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

NOISE_FLOOR = ("nchw", "channels_last")
"""Those of which the larger error is the noise floor that other engines are held against."""

CPU = (*NOISE_FLOOR, "compile")
GPU = ("cuda", "cuda tf32")

_TF32_LIMIT = 2**11
"""The integers that TF32, whose significand has 11 bits, holds without a gap."""


def modes() -> tuple[str, ...]:
    """The ways in which this framework can run the model, the usual one first."""
    return CPU + (GPU if torch.cuda.is_available() else ())


@cache
def unsupported_reason(mode: str, check: str) -> str | None:
    """Why this mode cannot stand on that check, on this machine; None where it can."""
    if mode == "compile":
        return _compiler_unsupported_reason()
    if mode not in GPU:
        return None
    if not torch.cuda.is_available():
        return "PyTorch finds no GPU here"
    rounds = _tf32_rounds(mode)
    if mode == "cuda":
        return "TF32 is on although it was turned off" if rounds else None
    if not rounds:
        return "this GPU does not round to TF32"
    return "TF32 rounds what it multiplies to 11 bits" if check == "exact" else None


@cache
def _compiler_unsupported_reason() -> str | None:
    """The compiler writes C++; whether it works is known when it has compiled something."""
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.ones(8))
    except Exception as error:  # the compiler's own, the C++ compiler's, the linker's
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"torch.compile does not work here: {next(iter(lines), type(error).__name__)}"
    return None


def _tf32_rounds(mode: str) -> bool:
    """Whether a convolution or a matrix product, large enough for tensor cores, loses a bit."""
    image = torch.full((8, 64, 16, 16), _TF32_LIMIT + 1.0, device="cuda")
    kernel = torch.eye(64, device="cuda")
    with torch.inference_mode(), float32_products(mode):
        convolved = nn.functional.conv2d(image, kernel[:, :, None, None])
        multiplied = image.flatten(2).mT @ kernel
    return bool((convolved != image).any() or (multiplied != image.flatten(2).mT).any())


def float64_unsupported_reason() -> str | None:
    """Why a float64 model does not compute in float64; None where it does."""
    return None


@cache
def norm_of_ones(mode: str, dtype: str) -> np.ndarray:
    """What a norm with a variance of 4 makes of ones (1, 64, 1, 1): halves, unless it rounds.

    It divides by a square root, and a CPU rounds both to the nearest.
    """
    channels = 64  # enough for vector instructions
    norm = nn.BatchNorm2d(channels, eps=0.0, dtype=getattr(torch, dtype)).eval()
    nn.init.constant_(norm.get_buffer("running_var"), 4.0)
    ones = torch.ones(1, channels, 1, 1, dtype=getattr(torch, dtype))
    with torch.inference_mode():
        normed = callable_in(placed(norm, mode), mode)(placed(ones, mode))
    return normed.numpy(force=True)


@contextmanager
def float32_products(mode: str) -> Iterator[None]:
    """On a GPU, float32 products in float32, or in TF32 where the mode says so; put back after."""
    cudnn: Any = torch.backends.cudnn  # PyTorch's annotations leave `conv` out
    switches = (torch.backends.cuda.matmul, cudnn.conv) if mode in GPU else ()
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "tf32" if mode == "cuda tf32" else "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


@contextmanager
def threads(count: int, mode: str, dtype: Any) -> Iterator[None]:
    """So many threads where float32 sums make the checker's noise floor; put back after.

    In which order PyTorch sums depends on how many there are, and a noise floor should not depend on the
    machine: on two threads it takes other kernels for grouped convolutions than on one, and sums
    over all cells err the most on one. (TensorFlow's have the same bits on one and on two.)
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count if mode in NOISE_FLOOR and dtype == "float32" else before)
        yield
    finally:
        torch.set_num_threads(before)


def device(mode: str) -> str:
    """Where that mode runs."""
    return "cuda" if mode in GPU else "cpu"


def placed(value: Any, mode: str) -> Any:
    """A model or images (N, C, H, W), on the device and in the memory layout of that mode."""
    layout = torch.channels_last if mode == "channels_last" else torch.contiguous_format
    return value.to(device(mode), memory_format=layout)


def callable_in(model: nn.Module, mode: str) -> Callable[[Tensor], Any]:
    """The model as it is called in that mode, with the hooks that it has now."""
    if mode != "compile":
        return model
    torch.compiler.reset()  # or a graph that was made with other hooks might be taken
    return torch.compile(model, fullgraph=True)
