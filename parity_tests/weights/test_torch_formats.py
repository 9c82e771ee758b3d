"""Files of torch.save, safetensors and NumPy are read to the last bit, and written for others."""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from resnet_parity.errors import ParityError
from resnet_parity.weights.formats import open_checkpoint
from resnet_parity.weights.formats.archives import members
from resnet_parity.weights.formats.arrays import as_stored
from resnet_parity.weights.formats.bfloat16 import rounded, widened
from resnet_parity.weights.formats.numpy_files import (
    open_npz,
    open_pickle,
    write_detectron2,
    write_npz,
)
from resnet_parity.weights.formats.safetensors_files import open_safetensors, write_safetensors
from resnet_parity.weights.formats.stored import Tensors
from resnet_parity.weights.formats.torch_files import open_torch, write_torch

ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Net(torch.nn.Module):
    """Layers of all ranks, and counters; H != W, so that no axes can be swapped unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, (5, 3), groups=3)
        self.bn = torch.nn.BatchNorm2d(6)
        self.fc = torch.nn.Linear(6, 37)


class Callback:
    """A class that a reader elsewhere has not got."""

    def __init__(self) -> None:
        self.best = torch.tensor(2.0)


class Settings(dict[str, Any]):
    """A class made from dict, as configurations are."""


class Config:
    """Settings as OmegaConf holds them: nodes that know their parent."""

    def __init__(self, content: Any, parent: Any = None) -> None:
        self._parent, self._flags = parent, {"readonly": True}
        if isinstance(content, dict):
            self._content = {name: Config(value, self) for name, value in content.items()}
        else:
            self._val = content


def test_arrays_in_a_file_of_torch_may_be_large(tmp_path):
    """They are in its pickle, as text of two bytes for each byte above 127."""
    arrays = {"weight": np.random.default_rng(0).standard_normal((2**12, 2**12), "float32")}
    torch.save(arrays, tmp_path / "net.pth")
    found = open_torch(tmp_path / "net.pth").groups[""]["weight"].read()
    assert found.tobytes() == arrays["weight"].tobytes()


def network() -> Net:
    torch.manual_seed(3)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net.fc(net.bn(net.conv(torch.randn(4, 3, 9, 7))).mean((2, 3))).square().sum().backward()
    optimizer.step()
    net.optimizer = optimizer  # type: ignore[assignment]
    return net


def same(found: Tensors, expected: dict[str, torch.Tensor]) -> None:
    """Assert that names, shapes, dtypes and all bits are equal."""
    assert {*found} == {*expected}
    for name, tensor in expected.items():
        stored, numbers = found[name], found[name].read()
        wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert stored.shape == numbers.shape == tuple(tensor.shape), name
        assert f"torch.{stored.dtype}" == str(tensor.dtype), name
        assert numbers.dtype == wide.numpy().dtype and numbers.flags.c_contiguous, name
        assert numbers.tobytes() == wide.contiguous().numpy().tobytes(), name


def saved(path: Path, data: Any, zipped: bool, protocol: int = 2) -> Path:
    torch.save(data, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return path


@ZIPPED
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_training_checkpoint_is_taken_apart(zipped, protocol, tmp_path):
    net: Any = network()
    state = net.state_dict()
    data = {
        "epoch": 12,
        "arch": "resnet18",
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "state_dict_ema": OrderedDict((name, tensor.half()) for name, tensor in state.items()),
        "teacher": {"backbone": {name: tensor.bfloat16() for name, tensor in state.items()}},
        "optimizer": net.optimizer.state_dict(),
        "second": {"state": {0: {"m": torch.ones(3)}}, "param_groups": []},
        "amp_scaler": {"scale": torch.tensor([65536.0])},
        "rng_state": torch.get_rng_state(),
        "best_prec1": torch.tensor(71.25),
        "metric": np.float64(0.5),
        "args": argparse.Namespace(model="resnet18", num_classes=37, lr=0.1, extra=[1, None]),
        "hyper_parameters": Settings(width=2),
        "cfg": Config({"model": {"depth": 50, "name": "r50"}}),
        "opt": argparse.Namespace(in_channels=1),
        "callbacks": {"early": Callback()},
        "meter": defaultdict(list, {"loss": [0.1]}),
        "shadow": [torch.zeros(2), torch.zeros(3)],
    }
    found = open_torch(saved(tmp_path / "last.pth.tar", data, zipped, protocol))
    assert [*found.groups] == ["state_dict", "state_dict_ema", "teacher.backbone"]
    same(found.groups["state_dict"], data["state_dict"])
    same(found.groups["state_dict_ema"], data["state_dict_ema"])
    same(found.groups["teacher.backbone"], data["teacher"]["backbone"])
    assert found.metadata == {
        "epoch": 12,
        "arch": "resnet18",
        "best_prec1": 71.25,
        "metric": 0.5,
        "args.model": "resnet18",
        "args.num_classes": 37,
        "args.lr": 0.1,
        "hyper_parameters.width": 2,
        "cfg.model.depth": 50,
        "cfg.model.name": "r50",
        "opt.in_channels": 1,
    }
    assert found.contents == (
        "optimizer: 6 tensors",
        "second: 1 tensor",
        "amp_scaler: 1 tensor",
        "rng_state: 1 tensor",
        "callbacks: 1 tensor",
        "shadow: 2 tensors without names",
    )


READ = [
    *(torch.float64, torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64),
]


@ZIPPED
def test_views_are_read_as_they_are(zipped, tmp_path):
    whole = torch.randn(7, 5, 4)
    data = {
        "whole": whole,
        "part": whole[2:5, 1:],
        "transposed": whole.transpose(0, 2),
        "every second": whole[::2, :, 1],
        "expanded": whole[0, 0].expand(3, 4),
        "number": whole[3, 2, 1],
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(whole[1]),
        "channels last": torch.randn(2, 3, 5, 4).to(memory_format=torch.channels_last),
        **{str(dtype): torch.arange(6).to(dtype) for dtype in READ},
    }
    found = open_torch(saved(tmp_path / "views.pt", data, zipped))
    same(found.groups[""], {name: tensor.detach() for name, tensor in data.items()})


def test_big_endian_numbers_are_read(tmp_path):
    """The archive of such a machine says so."""
    path = saved(tmp_path / "big.pth", {"a": torch.arange(5.0), "b": torch.arange(4)}, True)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {"big/byteorder": b"big"}
    for name, numbers in (("big/data/0", np.arange(5, dtype=">f4")), ("big/data/1", np.arange(4))):
        members[name] = numbers.astype(numbers.dtype.newbyteorder(">")).tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    same(open_torch(path).groups[""], torch.load(path, weights_only=True))


@ZIPPED
def test_half_a_character_in_a_name_is_replaced(zipped, tmp_path):
    """Such a name could not be printed."""
    found = open_torch(saved(tmp_path / "net.pth", {"a\ud800": torch.ones(2)}, zipped))
    assert [*found.groups[""]] == ["a?"]


@ZIPPED
def test_nothing_in_a_pickle_runs(zipped, tmp_path):
    """A file with a call of os.system beside weights is read, and the call stays data."""
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return subprocess.call, (["touch", str(marker)],)

    data = {"state_dict": {"w": torch.ones(3)}, "x": Evil(), "y": [Evil()], "w": {"v": Evil()}}
    found = open_torch(saved(tmp_path / "evil.pth", data, zipped))
    same(found.groups["state_dict"], data["state_dict"])
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil()))
    assert marker.exists()


@ZIPPED
@pytest.mark.parametrize(
    ("wrap", "picked"),
    [(lambda net: net, ""), (lambda net: {"ema": {"model": net}}, "['ema']['model']")],
)
def test_a_whole_module_is_refused_with_the_lines_that_save_it_again(
    zipped, wrap, picked, tmp_path
):
    path = saved(tmp_path / "net.pt", wrap(network()), zipped)
    with pytest.raises(ParityError) as refusal:
        open_torch(path)
    load, save = str(refusal.value).splitlines()[1:]
    assert f"class {__name__}.Net" in str(refusal.value)
    assert load.strip() == f"model = torch.load({str(path)!r}, weights_only=False){picked}"
    scope: dict[str, Any] = {"torch": torch}
    exec(f"{load.strip()}\n{save.strip()}", scope)
    same(open_torch(tmp_path / "net-state-dict.pth").groups[""], scope["model"].state_dict())


@pytest.mark.filterwarnings("ignore")
def test_a_script_is_refused_with_the_line_that_saves_it_again(tmp_path):
    path = tmp_path / "net.pt"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    torch.export.save(
        torch.export.export(net, (torch.zeros(1, 3, 5, 5),)), path.with_suffix(".pt2")
    )
    torch.jit.save(torch.jit.script(net), path)
    for file, kind in ((path, "TorchScript"), (path.with_suffix(".pt2"), "torch.export")):
        with pytest.raises(ParityError, match=f"is a program of {kind}") as refusal:
            open_torch(file)
        exec(str(refusal.value).splitlines()[1].strip(), {"torch": torch})
        same(open_torch(tmp_path / "net-state-dict.pth").groups[""], net.state_dict())


UNREAD: dict[str, tuple[Any, str]] = {
    "sparse": (lambda: torch.eye(3).to_sparse(), r"is sparse; save it as to_dense\(\)"),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "is quantised; save it as",
    ),
    "complex": (lambda: torch.ones(3).to(torch.complex64), "is of dtype complex64; save it as"),
    "float8": (lambda: torch.ones(3).to(torch.float8_e5m2), "is of dtype float8_e5m2; save it as"),
    "meta": (lambda: torch.ones(3, device="meta"), "is on the meta device"),
    "negated": (
        lambda: (torch.ones(3) * 1j).conj().imag,
        r"is a lazily negated view; save a clone\(\)",
    ),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "is a nested"),
}
"""A tensor of each kind that is not read, and what is said."""


@pytest.mark.parametrize("kind", UNREAD)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_is_not_read_is_named(kind, tmp_path):
    make, fix = UNREAD[kind]
    data = {"state_dict": {"a": torch.ones(2), "b.w": make()}}
    path = saved(tmp_path / "net.pth", data, True)
    with pytest.raises(ParityError, match=rf"{path}: state_dict\.b\.w {fix}"):
        open_torch(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (torch.ones(3), "holds one tensor without a name"),
        (
            [torch.ones(3), torch.ones(2)],
            "holds no state dict, but a list: 2 tensors without names",
        ),
        ({"epoch": 3}, "holds no tensors"),
        (7, "holds no tensors"),
    ],
)
def test_tensors_without_names_are_refused(data, reason, tmp_path):
    with pytest.raises(ParityError, match=reason):
        open_torch(saved(tmp_path / "net.pth", data, True))


TENSORS = {
    "conv.weight": np.random.default_rng(4).standard_normal((6, 3, 5, 3), np.float32),
    "bn.num_batches_tracked": np.array(40_001),
    "fc.weight": np.random.default_rng(5).standard_normal((37, 6)).T,
    "scale": np.array(1.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}
FACTS = {"architecture": "resnet18", "proof": "none"}

WRITERS: dict[str, tuple[Any, Any, Any]] = {
    "pth": (
        lambda path, dtype: write_torch(path, TENSORS, FACTS, dtype),
        open_torch,
        lambda path: torch.load(path, weights_only=True),
    ),
    "safetensors": (
        lambda path, dtype: write_safetensors(path, TENSORS, FACTS, dtype),
        open_safetensors,
        safetensors.torch.load_file,
    ),
    "npz": (
        lambda path, dtype: write_npz(path, TENSORS, dtype),
        open_npz,
        lambda path: {name: torch.from_numpy(value) for name, value in np.load(path).items()},
    ),
    "pkl": (
        lambda path, dtype: write_detectron2(path, TENSORS, FACTS, dtype),
        open_pickle,
        lambda path: {
            name: torch.from_numpy(value)
            for name, value in pickle.loads(path.read_bytes(), encoding="latin1")["model"].items()
        },
    ),
}


@pytest.mark.parametrize("dtype", [None, "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_written_file_opens_here_and_in_its_library(suffix, dtype, tmp_path):
    write, read, load = WRITERS[suffix]
    path = tmp_path / f"net.{suffix}"
    if dtype == "bfloat16" and suffix in ("npz", "pkl"):
        with pytest.raises(ParityError, match="NumPy has no bfloat16; choose float16"):
            write(path, dtype)
        assert not path.exists()
        return
    write(path, dtype)
    content = path.read_bytes()
    write(path, dtype)
    assert path.read_bytes() == content
    expected = {
        name: torch.from_numpy(values.copy()).to(getattr(torch, dtype or "", None))
        if values.dtype.kind == "f"
        else torch.from_numpy(values)
        for name, values in TENSORS.items()
    }
    found = read(path)
    same(next(iter(found.groups.values())), expected)
    theirs = load(path)
    assert {*theirs} == {*expected}
    for name, tensor in expected.items():
        assert theirs[name].dtype == tensor.dtype and torch.equal(theirs[name], tensor), name
        stored = as_stored(name, TENSORS[name], dtype)
        assert np.array_equal(stored, next(iter(found.groups.values()))[name].read()), name
    assert FACTS.items() <= found.metadata.items() or suffix == "npz"


def test_the_state_dict_loads_strictly(tmp_path):
    net, path = network(), tmp_path / "net.pth"
    write_torch(path, {name: tensor.numpy() for name, tensor in net.state_dict().items()}, FACTS)
    Net().load_state_dict(torch.load(path, weights_only=True))


def test_numbers_begin_where_libraries_map_them(tmp_path):
    path = tmp_path / "net.safetensors"
    for name in ("a", "ab", "abc"):
        write_safetensors(path, {name: np.ones(3)})
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    path = tmp_path / "net.pth"
    write_torch(path, TENSORS)
    places = {member.start() % 64 for member in members(path, "").values()}
    assert places == {0}
    mapped = torch.load(path, weights_only=True, mmap=True)
    assert np.array_equal(mapped["conv.weight"].numpy(), TENSORS["conv.weight"])


def test_numbers_beyond_float16_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(ParityError, match="big has numbers beyond the range of float16; choose"):
        write_safetensors(path, {"big": np.array([1e5, 1], np.float32)}, dtype="float16")
    assert not path.exists()


def test_bfloat16_is_rounded_as_pytorch_rounds():
    bits = np.random.default_rng(6).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (bits[:1000] & 0xFFFF0000) | 0x8000
    edges = np.array([0, -0.0, np.inf, -np.inf, 3.4e38, 1e-40, 1e-45], np.float32)
    values = np.concatenate([bits.view(np.float32), ties.view(np.float32), edges])
    theirs = torch.from_numpy(values).bfloat16().float().numpy()
    ours = widened(rounded(values))
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    numbers = ~np.isnan(ours)
    assert np.array_equal(ours.view(np.uint32)[numbers], theirs.view(np.uint32)[numbers])


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays_are_read(protocol, tmp_path):
    draw = np.random.default_rng(7)
    blobs = {
        "res2_0_branch2a_w": draw.standard_normal((4, 3, 3, 2), np.float32),
        "columns": np.asfortranarray(draw.standard_normal((3, 5))),
        "axes": draw.standard_normal((2, 3, 4, 5), np.float32).transpose(2, 0, 3, 1),
        "big": np.arange(5, dtype=">i4"),
        "half": np.ones((2, 2), np.float16),
        "number": np.array(3),
    }
    momentum = {"res2_0_branch2a_w_momentum": np.zeros(3, np.float32)}
    data = {
        "blobs": blobs | momentum,
        "cfg": "MODEL: 1",
        "scale": np.float32(0.5),
        "who": Settings(),
    }
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(data, protocol))
    found = open_pickle(path)
    same(
        found.groups["blobs"],
        {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="))) for k, v in blobs.items()},
    )
    assert found.metadata == {"cfg": "MODEL: 1", "scale": 0.5}
    assert found.contents == ("momentum of the optimizer: 1 tensors",)


def test_a_pickle_of_python_2_is_read(tmp_path):
    """Its arrays are byte strings, and its names too."""
    numbers = np.array([1, -2.5, 1e-30], np.float32)
    state = b"(I1\n(I3\nt" + b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state
    content = b"I00\nU\x0c" + numbers.tobytes() + b"tb"
    path = tmp_path / "R-50.pkl"
    path.write_bytes(b"\x80\x02}U\x05blobs}U\x07conv1_w" + array + content + b"ss.")
    same(open_pickle(path).groups["blobs"], {"conv1_w": torch.from_numpy(numbers)})
    theirs = pickle.loads(path.read_bytes(), encoding="latin1")["blobs"]["conv1_w"]
    assert np.array_equal(theirs, numbers)


def test_the_content_decides_not_the_name(tmp_path):
    data = {"w": torch.ones(3)}
    for name in ("net.pkl", "net.pth", "net"):
        for zipped in (True, False):
            same(open_checkpoint(saved(tmp_path / name, data, zipped)).groups[""], data)
        (tmp_path / name).write_bytes(pickle.dumps({"w": data["w"].numpy()}))
        same(open_checkpoint(tmp_path / name).groups[""], data)
        safetensors.torch.save_file(data, tmp_path / name)
        same(open_checkpoint(tmp_path / name).groups[""], data)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_arrays_are_read(save, tmp_path):
    path = tmp_path / "net.npz"
    arrays = {
        "params/conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(5, dtype=">f8"),
        "number": np.array(3),
        "zeros": np.zeros((300, 400), np.float32),
        "noise": np.random.default_rng(8).integers(0, 256, 3_000_000, np.uint8),
    }
    objects = np.array([{"epoch": 3}], dtype=object)
    save(path, **arrays, config=objects, names=np.array(["a", "bc"]))
    found = open_npz(path)
    same(
        found.groups[""],
        {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="))) for k, v in arrays.items()},
    )
    assert found.contents == (
        "config: an array of dtype |O, not read",
        "names: an array of dtype <U2, not read",
    )


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_one_state_dict(kind, tmp_path):
    net: Any = network().state_dict()
    parts = [dict([*net.items()][:3]), dict([*net.items()][3:])]
    stem, suffix = kind.rsplit(".", 1)
    places = {}
    for number, part in enumerate(parts):
        file = f"{stem}-{number + 1:05}-of-00002.{suffix}"
        save = torch.save if suffix == "bin" else safetensors.torch.save_file
        save(part, tmp_path / file)
        places |= dict.fromkeys(part, file)
    index = tmp_path / f"{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    found = open_checkpoint(index)
    same(found.groups[""], net)
    assert "2 shards" in found.format
    assert {each.name for each in found.files} == {index.name, *places.values()}


def test_reading_takes_no_framework(tmp_path):
    path = saved(tmp_path / "net.pth", {"w": torch.ones(3)}, True)
    code = (
        "import sys; from pathlib import Path; "
        "from resnet_parity.weights.formats import numpy_files, safetensors_files, shards; "
        "from resnet_parity.weights.formats.torch_files import open_torch; "
        f"open_torch(Path({str(path)!r})).groups['']['w'].read(); "
        "sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
