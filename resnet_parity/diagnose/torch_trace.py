"""Record a PyTorch module: every function that it calls, inside its layers and between them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import (
    Array,
    Call,
    Kind,
    Record,
    RecordedStep,
    affine_step,
    canonical,
)
from resnet_parity.diagnose.recorder import Recorder, Trusted
from resnet_parity.diagnose.torch_operations import TRANSLATIONS, Translation, to_array
from resnet_parity.errors import ParityError


def trace(model: Any, images: Array, *, trusted: Trusted = frozenset()) -> Record:
    """Run the module, in evaluation mode, on images (N, C, H, W) and record its steps.

    Steps of the kinds in `trusted` are not checked. Compiled modules run uncompiled.
    Raises `ParityError` when its output is not one tensor or cannot be traced to the images.
    """
    torch = importlib.import_module("torch")
    overrides = importlib.import_module("torch.overrides")
    model.eval()
    first = next(model.parameters(), None)
    if first is not None and first.dtype in (torch.float16, torch.bfloat16):
        model.float()
    image = torch.from_numpy(images.copy())
    if first is not None:
        image = image.to(first.device, first.dtype)
    recorder = Recorder("torch", image, to_array(image), "nchw", trusted=trusted)
    names: list[tuple[str, bool]] = []

    class Mode(overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            record_result = _prepare(recorder, function, args, kwargs or {}, names)
            result = function(*args, **(kwargs or {}))
            if record_result is not None and isinstance(result, torch.Tensor):
                record_result(result)
            return result

    compiles = "torch._dynamo" in sys.modules  # importing it takes seconds
    eager = torch.compiler.set_stance("force_eager") if compiles else nullcontext()
    with torch.no_grad(), eager, _module_names(model, names), Mode():
        output = model(image)
    while isinstance(output, list | tuple) and len(output) == 1:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise ParityError(
            f"{type(model).__name__} returns {type(output).__name__}, not one tensor; wrap it in a "
            "module that returns its logits"
        )
    if not recorder.knows(output):
        raise ParityError(
            f"the output of {type(model).__name__} cannot be followed back to the images: it is "
            "traced, or uses NumPy; pass the module itself, written in torch alone"
        )
    return recorder.finish(output)


@contextmanager
def _module_names(model: Any, names: list[tuple[str, bool]]) -> Iterator[None]:
    """Keep the running module as the last entry of `names`: its text, and whether it is a leaf."""
    hooks = []
    for name, module in model.named_modules():
        path = name.replace("_orig_mod.", "").removesuffix("_orig_mod")  # of a compiled module
        text = f"{path or 'forward'} ({type(module).__name__})"
        entry = (text, not list(module.children()))
        hooks.append(module.register_forward_pre_hook(lambda *_, entry=entry: names.append(entry)))
        hooks.append(module.register_forward_hook(lambda *_: names.pop() and None))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _prepare(
    recorder: Recorder,
    function: Any,
    args: Sequence[Any],
    kwargs: Any,
    names: Sequence[tuple[str, bool]],
) -> Callable[[Any], None] | None:
    """Return a function that records the result of a call; None if no operand is recorded.

    Tensors are read before the call, because it may overwrite them.
    """
    known = [each for each in (*args, *kwargs.values()) if _is_known(recorder, each)]
    lists = [each for each in args if isinstance(each, list | tuple)]
    known += [each for group in lists for each in group if _is_known(recorder, each)]
    if not known:
        return None
    name = getattr(function, "__name__", str(function))
    module, is_leaf = names[-1]
    place = module if is_leaf else f"{module}: {name}"
    operands, chain = _translate(recorder, name, args, kwargs, known)
    chain = [replace(step, place=place) for step in chain]
    call = _caller(function, args, kwargs, operands)

    def record_result(result: Any) -> None:
        array, in_place = to_array(result), any(result is each for each in known)
        is_named = name.endswith("_") or kwargs.get("inplace")
        if in_place and not is_named and _equal(recorder.value(result), array):
            return  # it computed nothing
        if chain[0].settings.get("training"):  # the call has updated them
            for each in {"mean", "variance"} & {*chain[0].assign}:
                chain[0].assign[each](chain[0].tensors[each])
        steps = [replace(step, in_place=in_place) for step in chain]
        recorder.add(steps, operands, (result, array, "nchw"), call)

    return record_result


def _equal(recorded: Array, array: Array) -> bool:
    return np.array_equal(recorded, canonical(array, "nchw"), equal_nan=True)


def _is_known(recorder: Recorder, value: Any) -> bool:
    return hasattr(value, "shape") and recorder.knows(value)


def _translate(
    recorder: Recorder, name: str, args: Sequence[Any], kwargs: Any, known: Sequence[Any]
) -> Translation:
    """Return the operands and the steps of one call."""
    opaque = known, [RecordedStep(Kind.OPAQUE, "", {"operation": name})]
    translate = TRANSLATIONS.get(name.strip("_").removeprefix("i")) or TRANSLATIONS.get(
        name.strip("_")
    )
    if translate is None:
        return opaque
    try:
        operands, chain = translate(*args, **kwargs)
    except TypeError:
        return opaque
    if len(operands) == 2:
        others = [each for each in operands if not _is_known(recorder, each)]
        if others:
            value = to_array(others[0]) if hasattr(others[0], "detach") else others[0]
            step = affine_step(chain[0].kind, value, value_first=others[0] is operands[0])
            return opaque if step is None else (known[:1], [step])
    return operands, chain


def _caller(function: Any, args: Sequence[Any], kwargs: Any, operands: Sequence[Any]) -> Call:
    """Return a function that repeats the call with other values for its operands."""

    def call(arrays: Sequence[Array]) -> Array:
        torch = importlib.import_module("torch")
        fresh = {}
        for operand, array in zip(operands, arrays, strict=True):
            value = array.reshape(array.shape[: operand.dim()])
            fresh[id(operand)] = torch.from_numpy(np.ascontiguousarray(value)).to(operand)

        def swap(value: Any) -> Any:
            if isinstance(value, list | tuple) and any(id(each) in fresh for each in value):
                return type(value)(swap(each) for each in value)
            return fresh.get(id(value), value)

        with torch.no_grad():
            keywords = {name: swap(value) for name, value in kwargs.items()}
            result = function(*map(swap, args), **keywords)
        array = to_array(result)
        return array[:, :, None, None] if array.ndim == 2 else array

    return call
