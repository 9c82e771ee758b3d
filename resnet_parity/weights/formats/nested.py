"""The state dicts in the nested data of a checkpoint, and a line on all else that is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.errors import ParityError
from resnet_parity.files import reading, shown
from resnet_parity.weights.formats.pickled_arrays import PickledArray, Refused
from resnet_parity.weights.formats.pickles import Instance, Name
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor, Tensors

_MAX_NODES = 2**19
"""The largest number of objects that are looked at; one may be at several places."""

_MAX_DEPTH = 50
"""How deep objects may be nested."""

_MAX_LINES = 1000
"""The largest number of state dicts, of facts and of lines on the rest."""

_MAX_TEXT = 500
"""The longest place of an object."""

_MAX_FACT = 2000
"""The longest text among the facts; the spec of this project has 800 characters."""

_TRAINING = re.compile(
    r"(.*_)?(optim|optimi[sz]ers?|opt|solver|sgd|adamw?|(amp_?|grad_?|loss_)?scaler|amp"
    r"|(lr_?)?schedulers?|criterion|callbacks|loops|.*rng_?states?)(_states?|_(state_?)?dicts?)?",
    re.IGNORECASE,
)
"""Keys of the state of training, which is no state dict of a network."""


def checkpoint(path: Path, format: str, root: Any) -> Checkpoint:
    """Return what is in the data of a file. Raises `ParityError` if that is no state dict."""
    search = _Search(path)
    search.visit(root, "", 0)
    if not search.groups:
        raise ParityError(_no_state_dict(path, root, search))
    return Checkpoint(path, format, search.groups, search.facts, tuple(search.contents))


class _Search:
    """The state dicts and the rest, as they are found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.groups: dict[str, Tensors] = {}
        self.facts: dict[str, object] = {}
        self.contents: list[str] = []
        self.modules: dict[str, Instance] = {}
        self.nodes = 0

    def visit(self, value: Any, where: str, depth: int) -> None:
        """Look at an object and all in it. `where` are the keys that lead to it."""
        self.count(value, depth)
        name = where.rpartition(".")[2]
        if _TRAINING.fullmatch(name) and (self.note_training(where, value) or name != "opt"):
            return
        if isinstance(value, Instance):
            self.visit_instance(value, where, depth)
        elif isinstance(value, Mapping):
            if "state" in value and "param_groups" in value:
                self.note_training(where, value)
            else:
                self.visit_mapping(value, where, depth)
        elif isinstance(value, list | tuple):
            self.visit_list(value, where, depth)
        elif where and len(self.facts) < _MAX_LINES and (fact := _fact(value)) is not None:
            self.facts[where] = fact

    def count(self, value: Any, depth: int) -> None:
        """Count the work, which is bounded: one container may be at many places."""
        self.nodes += 1 + (len(value) if isinstance(value, Mapping | list | tuple) else 0)
        problem = ""
        if depth > _MAX_DEPTH:
            problem = f"is nested more than {_MAX_DEPTH} deep, or holds itself"
        elif self.nodes > _MAX_NODES:
            problem = f"holds more than {_MAX_NODES:,} objects"
        elif len(self.groups) > _MAX_LINES:
            problem = f"holds more than {_MAX_LINES:,} state dicts"
        if problem:
            raise ParityError(f"{self.path} {problem}; save the state dict of the network alone")

    def note(self, line: str) -> None:
        if len(self.contents) < _MAX_LINES:
            self.contents.append(line)

    def visit_mapping(self, value: Mapping[str, Any], where: str, depth: int) -> None:
        """Take the tensors of a mapping as a group, unless they are single numbers of a log."""
        tensors: dict[str, StoredTensor | Refused] = {}
        for name, item in value.items():
            if (tensor := _tensor(item)) and not _TRAINING.fullmatch(name):
                tensors[name] = tensor
            else:
                self.visit(item, _joined(where, name), depth + 1)
        if any(isinstance(tensor, Refused) or tensor.shape for tensor in tensors.values()):
            self.groups[where] = _readable(self.path, where, tensors)
            return
        for name, tensor in tensors.items():
            if isinstance(tensor, StoredTensor) and len(self.facts) < _MAX_LINES:
                self.facts[_joined(where, name)] = tensor.read().item()

    def visit_instance(self, value: Instance, where: str, depth: int) -> None:
        """Take what a class made from dict or list holds, and the attributes of a namespace."""
        attributes = value.attributes
        self.count(attributes, depth)
        if "_parameters" in attributes and "_modules" in attributes:
            self.modules[where] = value
            self.note(f"{where}: a whole module of class {shown(value.name)}, not read")
            return
        public = {name: item for name, item in attributes.items() if not name.startswith("_")}
        settings = [attributes[name] for name in _CONFIG if name in attributes]
        for held in (value.entries, value.elements, *(settings or [public])):
            self.visit(held, where, depth + 1)

    def visit_list(self, value: Any, where: str, depth: int) -> None:
        if tensors := sum(_tensor(item) is not None for item in value):
            self.note(f"{where or 'a list'}: {tensors} tensor{'s' * (tensors > 1)} without names")
        for index, item in enumerate(value):
            if isinstance(item, Mapping | Instance | list | tuple):
                self.visit(item, _joined(where, str(index)), depth + 1)

    def note_training(self, where: str, value: Any) -> int:
        """Count the tensors in the state of an optimizer or the like."""
        tensors, waiting = 0, [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            self.count(item, depth)
            if isinstance(item, Instance):
                waiting += [(item.entries, depth + 1), (item.attributes, depth + 1)]
            elif isinstance(item, Mapping):
                waiting += [(inner, depth + 1) for inner in item.values()]
            elif isinstance(item, list | tuple):
                waiting += [(inner, depth + 1) for inner in item]
            elif _tensor(item):
                tensors += 1
        if tensors:
            self.note(f"{where}: {tensors} tensor{'s' * (tensors > 1)}")
        return tensors


def _joined(where: str, name: str) -> str:
    """The place of an object in another; a long one is cut, since it is for reading."""
    return (f"{where}.{name[:_MAX_TEXT]}" if where else name)[:_MAX_TEXT]


_CONFIG = ("_content", "_val")
"""The attributes of OmegaConf that hold the settings."""


def _tensor(value: Any) -> StoredTensor | Refused | None:
    tensor = value.tensor if isinstance(value, PickledArray) else value
    return tensor if isinstance(tensor, StoredTensor | Refused) else None


def _readable(path: Path, where: str, tensors: Mapping[str, StoredTensor | Refused]) -> Tensors:
    for name, tensor in tensors.items():
        if isinstance(tensor, Refused):
            raise ParityError(f"{path}: {shown(_joined(where, name))} {tensor.reason}")
    return {
        name: replace(tensor, read=partial(_read, path, _joined(where, name), tensor.read))
        for name, tensor in tensors.items()
        if isinstance(tensor, StoredTensor)
    }


def _read(path: Path, name: str, read: Callable[[], np.ndarray]) -> np.ndarray:
    """The numbers of a tensor; whatever is wrong with its bytes becomes one `ParityError`."""
    with reading(path, f"whole at {shown(name)}", "copy it again, or save it again"):
        return read()


def _fact(value: Any) -> object | None:
    """A text, number or flag that is worth a line."""
    if isinstance(value, str):
        return value if len(value) <= _MAX_FACT and value.isprintable() else None
    if isinstance(value, Name):
        return value.path
    return value if isinstance(value, bool | int | float) else None


def _no_state_dict(path: Path, root: Any, search: _Search) -> str:
    """Why nothing in a file can be read, and what to do."""
    if search.modules:
        where, module = next(iter(search.modules.items()))
        picked = "".join(f"[{shown(key)!r}]" for key in where.split(".") if key)
        new = path.with_name(f"{path.stem}-state-dict.pth")
        return (
            f"{path} holds a whole module of class {shown(module.name)}, which is code as well as "
            "weights; if you trust the file, write in the project that defines the class:\n"
            f"    model = torch.load({str(path)!r}, weights_only=False){picked}\n"
            f"    torch.save(model.state_dict(), {str(new)!r})"
        )
    save = "save the state dict: torch.save(model.state_dict(), ...)"
    if _tensor(root):
        return f"{path} holds one tensor without a name; {save}"
    if search.contents:
        return f"{path} holds no state dict, but {'; '.join(search.contents[:5])}; {save}"
    return f"{path} holds no tensors; {save}"
