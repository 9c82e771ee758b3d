"""The modes in which PyTorch runs a model: two memory layouts, its compiler, a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_parity.adapters.protocol import NOISE_FLOOR_MODES

CPU = (*NOISE_FLOOR_MODES, "compile")
GPU = ("cuda", "cuda tf32")

_TF32_LIMIT = 2**11
"""TF32, whose significand has 11 bits, holds every integer up to this one."""


def modes() -> tuple[str, ...]:
    """The modes in which this framework can run a model, the default first."""
    return CPU + (GPU if torch.cuda.is_available() else ())


@cache
def unsupported_reason(mode: str, check: str) -> str | None:
    """Why this mode cannot run that check on this machine; None if it can."""
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
    """Why `torch.compile`, which needs a C++ compiler, fails here; found by compiling something."""
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.ones(8))
    except Exception as error:  # of torch.compile, the C++ compiler or the linker
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"torch.compile does not work here: {next(iter(lines), type(error).__name__)}"
    return None


def _tf32_rounds(mode: str) -> bool:
    """Whether a convolution or matrix product, large enough for tensor cores, rounds to TF32."""
    image = torch.full((8, 64, 16, 16), _TF32_LIMIT + 1.0, device="cuda")
    kernel = torch.eye(64, device="cuda")
    with torch.inference_mode(), float32_products(mode):
        convolved = nn.functional.conv2d(image, kernel[:, :, None, None])
        multiplied = image.flatten(2).mT @ kernel
    return bool((convolved != image).any() or (multiplied != image.flatten(2).mT).any())


def float64_unsupported_reason() -> str | None:
    """Why a float64 model does not compute in float64; None if it does."""
    return None


@cache
def norm_of_ones(mode: str, dtype: str) -> np.ndarray:
    """The output of a norm of variance 4 for ones (1, 64, 1, 1): halves, unless it rounds.

    PyTorch divides by a square root; a CPU rounds both to nearest, so halves are exact.
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
    """On a GPU, multiply float32 in float32, or in TF32 if the mode says so; restored at exit."""
    cudnn: Any = torch.backends.cudnn  # PyTorch's annotations lack `conv`
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
    """Pin the thread count while the float32 noise floor is measured; restored at exit.

    The count changes the order in which PyTorch sums, and the noise floor should not depend on
    the machine. With two threads PyTorch takes other kernels for grouped convolutions than with
    one; sums over all cells have the largest error with one. (TensorFlow's sums have the same
    bits with one and two.)
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count if mode in NOISE_FLOOR_MODES and dtype == "float32" else before)
        yield
    finally:
        torch.set_num_threads(before)


def device(mode: str) -> str:
    """The device of a mode."""
    return "cuda" if mode in GPU else "cpu"


def default_device() -> str:
    """The GPU, if there is one."""
    return device(modes()[-1])


def placed(value: Any, mode: str) -> Any:
    """Move a model or images (N, C, H, W) to the device and memory layout of a mode."""
    layout = torch.channels_last if mode == "channels_last" else torch.contiguous_format
    return value.to(device(mode), memory_format=layout)


def callable_in(model: nn.Module, mode: str) -> Callable[[Tensor], Any]:
    """The function to call in a mode: the model, or the model compiled with its present hooks."""
    if mode != "compile":
        return model
    torch.compiler.reset()  # else a cached graph, made with other hooks, might be used
    return torch.compile(model, fullgraph=True)
