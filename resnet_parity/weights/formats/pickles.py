"""Read a pickle as data: no class of it is imported, and nothing in it is called.

The opcodes are those that `pickletools` lists. Containers, text and numbers become themselves; an
object becomes an `Instance`, which names its class and holds its state. The few functions that
files of weights need, such as that of an `OrderedDict`, are in a table here or of the caller.
"""

from __future__ import annotations

import pickletools
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

_MAX_STEPS = 2**19
"""The largest number of opcodes; a resnet1202 with its optimizer has 386,000."""

_NAME_STEPS = 20
"""The name of a class takes as long as this number of other opcodes."""

_MAX_BITS = 128
"""The largest integer, in bits; no number in a file of weights has more than 80."""

_MAX_NAME = 2**10
"""The longest name of a class or function, or text in a key that is no text."""


_MAX_TEXT = 2**16
"""The longest key of a dict. Longer text is the bytes of an array, as Python 2 wrote them."""


class Stream(Protocol):
    """The file, or mapped memory, that a pickle is read from."""

    def read(self, size: int = ..., /) -> bytes: ...
    def readline(self) -> bytes: ...


class Name(NamedTuple):
    """A class or function that a pickle names, by its place in Python 3."""

    path: str


@dataclass(eq=False, repr=False)
class Instance:
    """An object, or the result of a call, that was not made."""

    of: Any
    """The `Name` of the class or function."""
    args: Any = ()
    state: Any = None
    entries: dict[str, Any] = field(default_factory=dict)
    """The content of a class made from dict."""
    elements: list[Any] = field(default_factory=list)
    """The content of a class made from list or set."""

    @property
    def name(self) -> str:
        return self.of.path if isinstance(self.of, Name) else "an object"

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes by name, if its state is the usual one."""
        state = self.state
        if isinstance(state, tuple) and len(state) == 2:  # attributes, and those of slots
            state = state[0] if isinstance(state[0], dict) else state[1]
        return state if isinstance(state, dict) else {}


class Ordered(dict[str, Any]):
    """An OrderedDict, whose attributes are beside its entries."""

    attributes: Mapping[str, Any] = {}


class Buildable(ABC):
    """An object that takes its state after it was made."""

    @abstractmethod
    def build(self, state: Any) -> None:
        """Take the state."""


Table = Mapping[str, Callable[..., Any]]
"""Functions that may be called, by their path in the pickle. Each checks its arguments."""


def load(
    stream: Stream, table: Table | None = None, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Return the data of the pickle at the place of the stream, which is left at its end.

    `persistent` returns the object that an identifier of the pickle stands for. Raises `ValueError`
    for what is no pickle, and whatever the functions of the table raise.
    """
    with warnings.catch_warnings():  # an escape of text that Python does not know
        warnings.simplefilter("ignore")
        return _Machine(table or {}, persistent).run(stream)


def key(value: Any) -> str:
    """The key of a dict as text; another than text in brackets. Text cannot be made to collide."""
    if isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise ValueError(f"its pickle has a key of {len(value):,} characters")
        return value
    if isinstance(value, Name):
        return f"[{value.path}]"
    parts = value if isinstance(value, tuple) else (value,)
    if len(parts) <= 8 and all(map(_is_short, parts)):
        return f"[{value!r}]"
    return f"[{type(value).__name__}]"


def _is_short(value: Any) -> bool:
    """Whether a value is a number or a short text."""
    if isinstance(value, bytes | str):
        return len(value) <= _MAX_NAME
    return isinstance(value, int | float | None)


def path_of(module: str, name: str) -> str:
    """The path of a class or function by the module where it is today."""
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    module = re.sub(r"^numpy[.]core\b", "numpy._core", module)
    return f"{module}.{name}"


class _Machine:
    """The stack of a pickle, and one method for each kind of opcode."""

    def __init__(self, table: Table, persistent: Callable[[Any], Any] | None) -> None:
        self.table = {
            "builtins.dict": self.mapping,
            "builtins.list": self.sequence,
            "builtins.set": self.sequence,
            "builtins.frozenset": self.sequence,
            "builtins.tuple": lambda items=(): tuple(self.sequence(items)),
            "builtins.bytes": _data,
            "builtins.bytearray": _data,
            "_codecs.encode": _data,
            "collections.Counter": self.mapping,
            "collections.OrderedDict": self.mapping,
            "collections.defaultdict": lambda factory=None, items=(): self.mapping(items),
            "copyreg._reconstructor": _reconstructed,
            **table,
        }
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self, stream: Stream) -> Any:
        for opcode, arg, _ in pickletools.genops(stream):  # type: ignore[arg-type]
            self.steps += 1
            if self.steps > _MAX_STEPS:
                raise ValueError(f"its pickle has more than {_MAX_STEPS:,} steps")
            if method := _METHODS.get(opcode.name):
                method(self, arg)
            elif opcode.name == "STOP":
                break
            else:
                raise ValueError(f"its pickle has the opcode {opcode.name}, which is not supported")
        if len(self.stack) != 1 or self.marked:
            raise ValueError("its pickle does not end with one object")
        return self.stack.pop()

    def pop(self) -> Any:
        if not self.stack:
            raise ValueError("its pickle takes an object from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise ValueError("its pickle takes an object from an empty stack")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_value(self, value: Any) -> None:
        """Push a number or bytes, within bounds, or text, without half a character."""
        if isinstance(value, str):
            if len(value) <= _MAX_TEXT and not value.isascii():
                value = value.encode("utf-8", "replace").decode()
        elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise ValueError(f"its pickle has an integer of more than {_MAX_BITS} bits")
        self.stack.append(value)

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        if not self.marked:
            raise ValueError("its pickle ends a list that was not begun")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def drop(self) -> None:
        """POP removes an object, or the mark where there is none above it."""
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("its pickle takes an object from an empty stack")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def put(self, index: int) -> None:
        if not 0 <= index <= self.steps:  # picklers count from 0
            raise ValueError("its pickle has a memo with gaps")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError("its pickle takes an object that it has not put into its memo")
        self.push(self.memo[index])

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Instance):
            target = target.elements
        if not isinstance(target, list):
            raise ValueError("its pickle appends to an object that is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Instance):
            target = target.entries
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("its pickle sets items of an object that is no dict")
        target.update(zip(map(key, items[::2]), items[1::2], strict=True))

    def make_dict(self) -> None:
        items = self.pop_mark()
        self.push({})
        self.set_items(items)

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Buildable):
            target.build(state)
        elif isinstance(target, Instance):
            target.state = state
        elif isinstance(target, Ordered) and isinstance(state, dict):
            target.attributes = state
        elif isinstance(target, Name | str | int | float | bytes | tuple | None):
            raise ValueError("its pickle sets the state of an object that has none")

    def named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("its pickle names a class by an object that is no text")
        if len(module) + len(name) > _MAX_NAME:
            raise ValueError("its pickle names a class by too long a text")
        self.steps += _NAME_STEPS
        self.push(Name(path_of(module, name)))

    def stack_named(self) -> None:
        name, module = self.pop(), self.pop()
        self.named(module, name)

    def call(self, function: Any, args: Any) -> None:
        """Push the result of a function of the table, or an inert object."""
        if not isinstance(args, tuple):
            raise ValueError("its pickle calls a function with an object that is no tuple")
        known = self.table.get(function.path) if isinstance(function, Name) else None
        self.push(known(*args) if known else Instance(function, args))

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        self.call(function, args)

    def make_with_names(self) -> None:
        names, args, function = self.pop(), self.pop(), self.pop()
        if names:
            self.push(Instance(function, args))
        else:
            self.call(function, args)

    def make_marked(self) -> None:
        function, *args = self.pop_mark() or [None]
        self.call(function, tuple(args))

    def make_named(self, text: str) -> None:
        args = tuple(self.pop_mark())
        self.named(*_split(text))
        self.call(self.pop(), args)

    def persist(self, identifier: Any) -> None:
        if self.persistent is None:
            raise ValueError("its pickle refers to data that are not in it")
        self.push(self.persistent(identifier))

    def mapping(self, items: Any = ()) -> Ordered:
        """The dict of another, or of pairs."""
        self.steps += len(items)
        pairs = items.items() if isinstance(items, dict) else items
        return Ordered({key(name): value for name, value in pairs})

    def sequence(self, items: Any = ()) -> list[Any]:
        if not isinstance(items, list | tuple):
            raise ValueError("its pickle makes a list of an object that is none")
        self.steps += len(items)
        return list(items)


def _data(data: Any = b"", *encoding: Any) -> Any:
    """Bytes. Those of Python 2 are text in Latin-1 to `pickletools`; they are left so."""
    if not isinstance(data, str | bytes | bytearray):
        raise ValueError("its pickle makes bytes of an object that is no text")
    return data


def _reconstructed(of: Any, base: Any, state: Any) -> Any:
    """An object in the first protocols: its class, the class of Python that it extends, content."""
    made = Instance(of)
    if isinstance(state, dict):
        made.entries = state
    elif isinstance(state, list | tuple):
        made.elements = list(state) if len(state) <= _MAX_NAME else []
    return made


def _split(text: str) -> tuple[str, str]:
    module, _, name = text.partition(" ")
    return module, name


_NUMBERS = "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT"
_TEXTS = "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
_BYTES = "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"

_METHODS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(f"{_NUMBERS} {_TEXTS} {_BYTES}".split(), _Machine.push_value),
    **dict.fromkeys(["PROTO", "FRAME"], lambda m, _: None),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.drop(),
    "POP_MARK": lambda m, _: m.pop_mark(),
    "DUP": lambda m, _: m.push(m.top()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push([]),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "FROZENSET": lambda m, _: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "DICT": lambda m, _: m.make_dict(),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.pop_mark()),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": lambda m, text: m.named(*_split(text)),
    "STACK_GLOBAL": lambda m, _: m.stack_named(),
    "REDUCE": lambda m, _: m.reduce(),
    "NEWOBJ": lambda m, _: m.reduce(),
    "NEWOBJ_EX": lambda m, _: m.make_with_names(),
    "OBJ": lambda m, _: m.make_marked(),
    "INST": _Machine.make_named,
    "BUILD": lambda m, _: m.build(),
    "PERSID": _Machine.persist,
    "BINPERSID": lambda m, _: m.persist(m.pop()),
}
