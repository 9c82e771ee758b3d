"""Writes the pytest file of an ejected file: the exact probe of `vectors`, drawn and compared."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from keyword import iskeyword

from resnet_spec import Architecture, AveragePool, Conv, make_plan

from resnet_parity.eject import keras_writer
from resnet_parity.eject.facts import number
from resnet_parity.eject.pytest_templates import KERAS, TORCH
from resnet_parity.eject.text import COLUMNS
from resnet_parity.errors import ParityError, ProbeError
from resnet_parity.probes import Probe, exact_probe
from resnet_parity.vectors import vector

_DIGITS = 32
"""Digits of a hash that the file states."""

_TAKEN = ("torch", "keras", "tensorflow", "jax", "numpy", "pytest")
"""What the files, and what they import, import by name."""


def pytest_file(arch: Architecture, framework: str, module: str) -> str:
    """The text of a pytest file for the module that holds the network in one framework.

    Raises `ParityError` if the name is no module, or the network is a backbone, and `ProbeError`
    if it has no exact probe.
    """
    check_module(module)
    if arch.out_indices is not None:
        raise ParityError("--with-tests compares logits or pooled features; leave --features out")
    probe = exact_probe(arch, 0, "float32")
    odd = _of_odd_size(arch, probe)
    values = _values(arch, probe, odd) | {"name": arch.name, "module": module}
    template = {"torch": TORCH, "keras": KERAS}[framework]
    text = "".join(_lines(template, _marks(arch, probe) | {"odd": odd is not None}))
    return re.sub(r"\$\(([a-z ]+)\)", lambda found: values[found[1]], text)


def check_module(name: str) -> None:
    """Raise `ParityError` if no file can be imported by that name."""
    if not name.isidentifier() or iskeyword(name):
        raise ParityError(f"{name}.py cannot be imported; give --out the name of a module")
    if name in _TAKEN or name in sys.stdlib_module_names:
        raise ParityError(f"{name}.py would hide the module {name!r}; give --out another name")


def _of_odd_size(arch: Architecture, probe: Probe) -> Probe | None:
    """The probe of the same weights on images whose maps are odd before each stride, if exact."""
    height, width = (extent - arch.reduction + 1 for extent in probe.images.shape[2:])
    try:
        odd = exact_probe(arch, 0, "float32", (height, width))
    except ProbeError:
        return None
    return odd if odd.density == probe.density else None


def _values(arch: Architecture, probe: Probe, odd: Probe | None) -> dict[str, str]:
    """The texts that the template leaves open."""
    plan = make_plan(arch)
    output = "logits" if plan.fc else "features"
    hashes = vector(probe, probe.expected, probe.gradients)
    if odd:
        hashes["odd"] = vector(odd, odd.expected, odd.gradients)[output]
    first = next(plan.blocks)
    names = [f"{kind}{index}" for index in (1, 2, 3) for kind in ("conv", "bn")]
    inside = sorted(names, key=lambda name: (name[-1], (name[:2] == "bn") != arch.preactivation))
    nonzeros, active, of = probe.density or (0, 1, 1)
    return {
        "shape": str(probe.images.shape),
        "odd shape": str(odd.images.shape) if odd else "",
        "eps": number(first.bn1.eps),
        "update": number(first.bn1.update),
        "decay": number(first.bn1.decay),
        "nonzeros": str(nonzeros),
        "active": str(active),
        "of": str(of),
        "groups": str(arch.groups),
        "averaged": _listed(_averaged(arch)),
        "expected": "".join(
            f'    "{key}": "{value[:_DIGITS]}",\n'
            for key, value in hashes.items()
            if isinstance(value, str)
        ),
        "last": f"bn{len(first.convs)}",
        "last conv": f"conv{len(first.convs)}",
        "places": "4" if arch.se else "32",
        "after stages": str(len(plan.stages) + 1),
        "inside": ", ".join(f'"{name}"' for name in inside),
        "output": output,
        "digits": str(_DIGITS),
        "names": keras_writer.NAMES,
    }


def _marks(arch: Architecture, probe: Probe) -> dict[str, bool]:
    """The marks of the template, and whether the network is of that kind."""
    convs = [layer for layer in make_plan(arch).layers if isinstance(layer, Conv)]
    biases, classes = any(conv.bias for conv in convs), arch.num_classes > 0
    of = (probe.density or (0, 1, 1))[2]
    return {
        "groups": arch.groups > 1,
        "basic": arch.groups > 1 and arch.block == "basic",
        "bottleneck": arch.groups > 1 and arch.block == "bottleneck",
        "gates": arch.se is not None,
        "gated norm": arch.se is not None and not arch.preactivation,
        "gated conv": arch.se is not None and arch.preactivation,
        "average": any(_averaged(arch)),
        "sparse": of > 1,
        "very sparse": of > 8,
        "biases": biases,
        "classes": classes,
        "any bias": biases or classes,
        "gradients": bool(probe.gradients),
    }


def _averaged(arch: Architecture) -> Iterator[str]:
    """The convolutions that follow an average over cells."""
    for block in make_plan(arch).blocks:
        if any(isinstance(layer, AveragePool) for layer in block.shortcut):
            yield f"{block.name}.downsample.1"


def _listed(names: Iterable[str]) -> str:
    """Names as a list on one line, or on a line for each where that is too long."""
    texts = [f'"{name}"' for name in names]
    whole = f"[{', '.join(texts)}]"
    if len(f"AVERAGED = {whole}") <= COLUMNS.get():
        return whole
    return "[\n" + "".join(f"    {text},\n" for text in texts) + "]"


def _lines(text: str, marks: Mapping[str, bool]) -> Iterator[str]:
    """The lines of a template for a network of these marks."""
    for line in text.splitlines():
        code, _, names = line.partition("  #: ")
        wanted = (
            marks[n.removeprefix("no ")] is not n.startswith("no ") for n in names.split(", ")
        )
        if not names or all(wanted):
            yield f"{code.rstrip()}\n"
