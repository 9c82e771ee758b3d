"""A wrong option is refused at once, before a framework is loaded."""

from __future__ import annotations

import json
import os

from parity_tests.support import ROOT, python

FRAMEWORKS = ("torch", "keras", "tensorflow", "jax")

STUB = "raise BaseException(f'{__name__} is loaded')"  # no handler of errors catches it

RUN = """
import contextlib, io, json, sys
from resnet_parity import cli
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(line)
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        code = str(error)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
"""Runs commands in one process, where a framework says that it is loaded."""

WRONG = {
    "export resnet18 --opset 99": "opset 99 is not supported; choose 18 to 23",
    "export resnet18 --opset ٢٠": "'٢٠' is no whole number",
    "export resnet18 --size 0x1": "'0x1' is no size",
    "export resnet18 --size 90000x90000": "take a smaller size or fewer images",
    "export resnet18 --dynamic nothing": "'nothing' is not batch, size, batch,size or none",
    "export resnet18 --input-layout hwcn": "invalid choice: 'hwcn'",
    "export resnet18 --weights absent": "absent does not exist",
    "export resnet18 --weights text": "text is not a safetensors file",
    "export resnet18 --weights folder": "folder is not a file",
    "export resnet18 --out folder": "folder is a folder; name a file",
    "export resnet18 --out absent/out": "there is no folder",
    "export resnet18 --framework keras --no-fold": "leave --no-fold out, or use --framework torch",
    "export resnet18 --framework keras --keras-backend jax": "set KERAS_BACKEND=tensorflow",
    "export resnet18 --framework kears": "invalid choice: 'kears'",
    "export resnet18 --num-classes 99999999999999999999": "is no whole number of at most nine",
    "export resnet18 --num-classes 999999999": "take fewer classes or channels",
    "onnx-compare torch --architecture resnet18 --runtimes nonsense": "unknown runtime 'nonsense'",
    "onnx-compare torch --architecture resnet5": "unknown architecture 'resnet5'",
    "onnx-compare torch": "no file names the architecture; add --architecture NAME",
    "onnx-compare torhc --architecture resnet18": "'torhc' is not an existing file",
    "onnx-compare text": "text is not an ONNX file",
    "onnx-compare torch torch --architecture resnet18": "a name is given twice",
    "onnx-compare torch --architecture resnet18 --weights absent": "absent does not exist",
    "onnx-compare torch --architecture resnet18 --weights text": "is not a safetensors file",
    "onnx-compare torch --architecture resnet18 --seed -1": "'-1' is no seed",
    "onnx-compare keras.onnx --architecture resnet18 --keras-backend jax": "Keras on jax",
    "import absent": "absent does not exist",
    "import text": "text is not an ONNX file",
    "import text --out out.onnx": "must end in .safetensors",
    "import folder": "folder is not a file",
    "inspect absent": "absent does not exist",
    "inspect text": "text is text, and no checkpoint; readable are",
    "convert absent --to keras": "absent does not exist",
    "convert folder --to keras": "folder is a folder that holds no checkpoint; name a file",
    "convert text": "the following arguments are required: --to",
    "convert text --to kears": "invalid choice: 'kears' (did you mean ",
    "convert . --to keras": ". has no name that OUT could have; name one with --out",
    "convert text --to onnx --no-prove": "--to onnx does not take --no-prove; leave that out",
    "convert text --to onnx --dtype float16": "--to onnx does not take --dtype",
    "convert x.onnx --to torch --prefix a --no-ema": "does not take --prefix, --no-ema",
    "diagnose net.pth resnet18": "resnet-parity convert net.pth --to keras",
    "diagnose resnet5 resnet18": "unknown architecture 'resnet5'",
    "diagnose resnet18 absent.keras": "absent.keras does not exist",
    "diagnose resnet18 resnet18 --size 64": "'64' is no size",
    "verify resnet18 --size ٣٢x٣٢": "'٣٢x٣٢' is no size",
    "verify resnet18 --seed ٣": "'٣' is no seed",
    "verify resnet18 --features ٣": "'٣' is no list of indices",
    "verify resnet18 --in-channels ٣": "'٣' is no whole number",
    "verify resnet18 --output-stride 1_6": "'1_6' is no whole number",
    "verify resnet18 --check nope": "invalid choice: 'nope'",
    "verify resnet18 --check exact --size 96x96": "power-of-two area",
    "verify resnet18 --size 90000x90000": "take a smaller size or fewer images",
    "verify resnet18 --image absent": "absent: no such file",
    "verify resnet18 --image text": "not an image that Pillow can read",
    "verify resnet18 --in-channels 4 --image text": "photographs have 3 channels",
    "lockstep resnet18 --steps -1": "'-1' is no count",
    "lockstep resnet18 --batch ٣": "'٣' is no count",
    "lockstep resnet18 --batch 1": "at least two images",
    "lockstep resnet18 --batch 99999999": "take a smaller size or fewer images",
    "lockstep resnet18 --steps 0 --single-steps 0": "take at least one step",
    "lockstep resnet18 --learning-rate nan": "learning_rate must be positive and finite",
    "lockstep resnet18 --learning-rate ٣": "'٣' is no number, such as 0.1",
    "lockstep resnet18 --momentum 1.2.3": "'1.2.3' is no number, such as 0.1",
    "lockstep resnet18 --period 0": "period must be at least 1 step",
    "lockstep resnet18 --plot out.txt": "choose a name that ends in .png",
    "lockstep resnet18 --plot absent/out.png": "there is no folder",
    "lockstep resnet18 --steps 0 --plot out.png": "--steps 0 takes none",
    "lockstep resnet18 --num-classes 0": "it needs classes",
    "matrix resnet5": "unknown architecture 'resnet5'",
    "matrix resnet18 --engines theano": "unknown engine 'theano'",
    "matrix resnet18 --check nope": "invalid choice: 'nope'",
    "vectors resnet5": "unknown architecture 'resnet5'",
    "vectors --file folder": "folder is a folder",
    "vectors --verify --file text": "text holds no conformance vectors",
    "show resnet18 --num-classes 99999999999999999999": "is no whole number of at most nine",
}


def test_a_wrong_option_is_refused_before_a_framework_is_loaded(tmp_path):
    for name in FRAMEWORKS:
        (tmp_path / "stubs" / name).mkdir(parents=True)
        (tmp_path / "stubs" / name / "__init__.py").write_text(STUB)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("text")
    lines = [line.split() for line in [*WRONG, "verify resnet18", "export resnet18"]]
    path = os.pathsep.join([str(tmp_path / "stubs"), str(ROOT)])
    result = python("-c", RUN, json.dumps(lines), cwd=tmp_path, PYTHONPATH=path)
    assert not result.stderr
    *wrong, (verify, *_), (export, *_) = map(json.loads, result.stdout.splitlines())
    assert (verify, export) == ("torch is loaded",) * 2, "the stub is what a right command loads"
    for (line, message), (code, out, err) in zip(WRONG.items(), wrong, strict=True):
        assert (code, out) == (2, ""), (line, code, out, err)
        assert message in err, (line, err)
    assert {each.name for each in tmp_path.iterdir()} == {"stubs", "folder", "text"}
