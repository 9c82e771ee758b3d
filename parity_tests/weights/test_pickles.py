"""Pickles are read as data: plain objects as themselves, all others as names and states."""

from __future__ import annotations

import argparse
import io
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from pathlib import PurePosixPath
from typing import Any

import pytest

from resnet_parity.weights.formats import pickles


def read(content: bytes) -> Any:
    return pickles.load(io.BytesIO(content))


PLAIN = {
    "numbers": [0, -1, 2**31, -(2**63), 1.5, float("inf"), True, None],
    "text": ["", "a", "\u00e4\u20ac\n'\\", "x" * 300],
    "bytes": (b"", b"\x00\xff", b"y" * 300),
    "nested": {"a": ({"b": [[], {}, ()]},)},
    "tuples": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_objects_are_themselves(protocol):
    found = read(pickle.dumps(PLAIN, protocol))
    if protocol < 3:  # there bytes are text in Latin-1, as those of Python 2 are
        texts = (
            item if isinstance(item, str) else item.decode("latin-1") for item in found["bytes"]
        )
        found["bytes"] = tuple(text.encode("latin-1") for text in texts)
    assert found == PLAIN
    shared = [1]
    first, second = read(pickle.dumps([shared, shared], protocol))
    assert first is second


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_of_python_are_plain_ones(protocol):
    made = {
        "ordered": OrderedDict(b=1, a=2),
        "default": defaultdict(list, x=[1]),
        "counter": Counter("aab"),
        "set": {3},
        "frozen": frozenset([4]),
        "array": bytearray(b"ab"),
    }
    found = read(pickle.dumps(made, protocol))
    assert [*found["ordered"].items()] == [("b", 1), ("a", 2)]
    assert found["default"] == {"x": [1]} and found["counter"] == {"a": 2, "b": 1}
    assert [*found["set"]] == [3] and [*found["frozen"]] == [4]
    assert found["array"] in (b"ab", "ab")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_are_inert(protocol):
    made = [argparse.Namespace(lr=0.1), PurePosixPath("a/b"), ValueError("no")]
    found = read(pickle.dumps(made, protocol))
    assert all(isinstance(each, pickles.Instance) for each in found)
    assert found[0].attributes == {"lr": 0.1}
    names = [each.name for each in found]
    assert names[0] == "argparse.Namespace" and names[2].endswith(".ValueError")


def test_other_keys_than_text_are_shown_in_brackets():
    made = {1: "a", 1.5: "b", None: "c", (1, "x"): "d", b"k": "e", int: "f", ((),): "g", "1": "h"}
    assert read(pickle.dumps(made, 4)) == {
        "[1]": "a",
        "[1.5]": "b",
        "[None]": "c",
        "[(1, 'x')]": "d",
        "[b'k']": "e",
        "[builtins.int]": "f",
        "[tuple]": "g",
        "1": "h",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "pickle exhausted before seeing STOP"),
        (b"NN.", "does not end with one object"),
        (b"(N.", "does not end with one object"),
        (b"\x8b" + struct.pack("<i", 17) + b"\x7f" * 17 + b".", "an integer of more than 128 bits"),
        (b"NI100\n00Np100\n.", "memo with gaps"),
        (b"g7\n.", "has not put into its memo"),
        (b"cos\nsystem\n0" * 30_000 + b"N.", "has more than 524,288 steps"),
        (b"N0" * 300_000 + b"N.", "has more than 524,288 steps"),
        (b"c" + b"a" * 2000 + b"\nb\n.", "names a class by too long a text"),
        (b"NN\x93.", "names a class by an object that is no text"),
        (
            b"}X" + struct.pack("<I", 70_000) + b"k" * 70_000 + b"Ns.",
            "has a key of 70,000 characters",
        ),
        (b"N}b.", "sets the state of an object that has none"),
        (b"NNa.", "appends to an object that is no list"),
        (b"NNNs.", "sets items of an object that is no dict"),
        (b"}(Nu.", "sets items of an object that is no dict"),
        (b"NNR.", "calls a function with an object that is no tuple"),
        (b"0.", "ends a list that was not begun"),
        (b"a.", "takes an object from an empty stack"),
        (b"N\x86.", "takes an object from an empty stack"),
        (b"K\1Q.", "refers to data that are not in it"),
        (b"\x82\1.", "the opcode EXT1, which is not supported"),
        (b"c__builtin__\nset\n(K\1tR.", "makes a list of an object that is none"),
        (b"c__builtin__\nbytearray\n(K\1tR.", "makes bytes of an object that is no text"),
    ],
)
def test_what_is_no_pickle_of_data_is_refused(content, reason):
    with pytest.raises(ValueError, match=reason):
        read(content)


def test_text_with_unknown_escapes_is_read_without_a_warning():
    assert read(rb"S'\q'" + b"\n.") == r"\q"
    assert read(b"c__builtin__\nset\n(](K\1K\2etR.") == [1, 2]
