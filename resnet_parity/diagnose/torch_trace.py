"""The record of a PyTorch module: every function that it calls, inside its layers or between."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import OPAQUE, Array, Record, RecordedStep
from resnet_parity.diagnose.recorder import Call, Recorder
from resnet_parity.diagnose.torch_operations import TRANSLATIONS, constant, numbers_of
from resnet_parity.errors import ParityError


def trace(model: Any, images: Array, *, prove: bool = True) -> Record:
    """Run the module, in evaluation mode, over images (N, C, H, W) and record what it computes.

    Raises `ParityError` when its output is no single tensor, or does not come from the images.
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
    recorder = Recorder("torch", image, numbers_of(image), "nchw", prove=prove)
    names: list[tuple[str, bool]] = []

    class Mode(overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            note = _prepare(recorder, function, args, kwargs or {}, names)
            result = function(*args, **(kwargs or {}))
            if note is not None and isinstance(result, torch.Tensor):
                note(result)
            return result

    with torch.no_grad(), _named(model, names), Mode():
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
            f"what {type(model).__name__} returns cannot be followed back to the images, as where "
            "it is traced or NumPy comes between; give the module itself, in torch alone"
        )
    return recorder.finish(output)


@contextmanager
def _named(model: Any, names: list[tuple[str, bool]]) -> Iterator[None]:
    """While it lasts, `names` ends with the module that is running."""
    hooks = []
    for name, module in model.named_modules():
        text = f"{name or 'forward'} ({type(module).__name__})"
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
    """What to do with the result of a call; None for a call that touches no tensor of the net.

    Tensors are read before the call, for it may overwrite them.
    """
    known = [each for each in (*args, *kwargs.values()) if _is_known(recorder, each)]
    lists = [each for each in args if isinstance(each, list | tuple)]
    known += [each for group in lists for each in group if _is_known(recorder, each)]
    if not known:
        return None
    name = getattr(function, "__name__", str(function))
    module, is_leaf = names[-1]
    place = module if is_leaf else f"{module}: {name}"
    operands, chain = _words(recorder, name, args, kwargs, known)
    chain = [replace(step, place=place) for step in chain]
    call = _caller(function, args, kwargs, operands)

    def note(result: Any) -> None:
        if (
            any(result is each for each in known)
            and not name.endswith("_")
            and not kwargs.get("inplace")
        ):
            return  # nothing was computed
        recorder.add(chain, operands, (result, numbers_of(result), "nchw"), call)

    return note


def _is_known(recorder: Recorder, value: Any) -> bool:
    return hasattr(value, "shape") and recorder.knows(value)


def _words(
    recorder: Recorder, name: str, args: Sequence[Any], kwargs: Any, known: Sequence[Any]
) -> tuple[Sequence[Any], Sequence[RecordedStep]]:
    """The operands and the neutral words of one call."""
    opaque = known, [RecordedStep(OPAQUE, "", {"operation": name})]
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
            value = numbers_of(others[0]) if hasattr(others[0], "detach") else others[0]
            step = constant(chain[0].kind, value, first=others[0] is operands[0])
            return opaque if step is None else (known[:1], [step])
    return operands, chain


def _caller(function: Any, args: Sequence[Any], kwargs: Any, operands: Sequence[Any]) -> Call:
    """The call again, with other numbers for its operands."""

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
        array = numbers_of(result)
        return array[:, :, None, None] if array.ndim == 2 else array

    return call
