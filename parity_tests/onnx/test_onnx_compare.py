"""Comparing frameworks and files: equal ones pass, others are named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from resnet_spec import get_architecture

from parity_tests.onnx.graphs import exported, tensor, without_metadata
from parity_tests.support import ALL_NAMES, TINY
from resnet_parity import cli
from resnet_parity.adapters.loading import keras_adapter
from resnet_parity.adapters.protocol import fallback_mode
from resnet_parity.checks import CHECKS
from resnet_parity.cli.options import console
from resnet_parity.errors import ParityError
from resnet_parity.limits import check_memory
from resnet_parity.onnx_io import metadata
from resnet_parity.onnx_io import participants as comparison
from resnet_parity.onnx_io.compare import ComparisonReport, compare_models
from resnet_parity.onnx_io.export import export
from resnet_parity.onnx_io.exporters import ExportOptions
from resnet_parity.onnx_io.participants import Participant
from resnet_parity.onnx_io.reading import read_files
from resnet_parity.onnx_io.runtimes import ORT_LEVELS, RUNTIMES, unsupported_reason
from resnet_parity.probes import random_weights
from resnet_parity.reports.onnx import as_json, markdown, print_comparison, summary
from resnet_parity.weights.files import write_weights

LEVELS = tuple(ORT_LEVELS)


def statuses(result) -> dict[str, set[str]]:
    """The statuses of all verdicts, by check."""
    found: dict[str, set[str]] = {}
    for verdict in result.verdicts:
        found.setdefault(verdict.check, set()).add(verdict.status)
    return found


def test_both_frameworks_and_their_exports_pass_in_every_runtime():
    """Both implementations and both exports, at three batches and two sizes."""
    mode, note = fallback_mode(keras_adapter(), "eager", "float32")
    result = compare_models(["torch", "keras", "torch.onnx", "keras.onnx"], {}, TINY)
    assert result.notes == ((f"keras: {note}",) if note else ())
    assert result.passed
    assert statuses(result) == {"exact": {"pass"}, "float32": {"pass"}}
    there = [runtime for runtime in RUNTIMES if unsupported_reason(runtime) is None]
    engines = {verdict.engine for verdict in result.verdicts}
    assert engines == {
        "torch nchw",
        "torch channels_last",
        f"keras {mode}",
        *(f"{export} {runtime}" for export in ("torch.onnx", "keras.onnx") for runtime in there),
    }
    sizes = ("exact 32x64", "exact 32x32", "random 32x48", "random 32x80")
    probes = {verdict.probe for verdict in result.verdicts}
    assert probes == {f"{size}, batch {batch}" for size in sizes for batch in (1, 2, 5)}


@pytest.mark.parametrize("kind", ["exact", "random"])
@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_row_fits_in_memory_at_two_areas(name, kind):
    arch = get_architecture(name)
    sizes = comparison._sizes(arch, kind)
    assert len({height * width for height, width in sizes}) == 2
    for size in sizes:
        check_memory(arch, max(comparison.BATCHES), size)


def test_a_model_without_an_exact_probe_needs_the_float32_check_alone():
    verdict = replace(
        CHECKS["exact"].no_probe("too deep"), check="float32", engine="net.onnx ort all"
    )
    held, missed = replace(verdict, status="pass"), replace(verdict, check="exact")
    verdicts = (CHECKS["exact"].no_probe("too deep"), held)
    report = ComparisonReport(TINY, ("net.onnx",), 0, {}, verdicts, {}, {})
    assert report.passed
    assert not replace(report, verdicts=verdicts[:1]).passed
    assert not replace(report, verdicts=(*verdicts, missed)).passed, "there was a probe"


def test_the_memory_check_counts_only_batches_that_run():
    """For a file of one image of 640x640, the float32 check runs one image."""
    arch = get_architecture("resnet50")
    participant = Participant("net.onnx", (), (), {"n": 1, "c": 3, "h": 640, "w": 640})
    assert list(comparison._own_shapes(arch, [participant], (1, 2, 5), 2)) == [((640, 640), (1,))]
    with pytest.raises(ParityError, match="5 images of 640x640"):
        comparison._own_shapes(
            arch, [replace(participant, shape={"h": 640, "w": 640})], (1, 2, 5), 2
        )


def test_the_error_of_a_runtime_names_the_file(tmp_path, capsys, monkeypatch):
    from resnet_parity.onnx_io import runtimes

    def start(runtime, content):
        raise ParityError(f"{runtime} cannot run the graph: no kernel")

    monkeypatch.setattr(runtimes, "start", start)
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(TINY.name, "torch"))
    assert cli.main(["onnx-compare", str(path), "--runtimes", "ort all"]) == 2
    error = capsys.readouterr().err
    assert f"{path}: ort all cannot run the graph: no kernel (an image of (1, 3, 32, 64))" in error


def test_a_file_with_other_values_fails_in_float32(tmp_path):
    """Even if they differ by 1e-5, in the bias of ten classes.

    The graph is right, so the exact check passes; the second file is compared with the first.
    """
    (tmp_path / "ours.onnx").write_bytes(exported(TINY.name, "torch"))
    proto = onnx.load_model_from_string(exported(TINY.name, "keras"))
    bias = tensor(proto, "fc.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1e-5, bias.name))
    (tmp_path / "theirs.onnx").write_bytes(metadata.add_checksum(proto))
    names = [str(tmp_path / "ours.onnx"), str(tmp_path / "theirs.onnx")]
    result = compare_models(names, read_files(names), runtimes=("ort all",))
    assert not result.passed
    failed = {v.engine for v in result.verdicts if v.status == "fail"}
    assert failed == {f"{names[1]} ort all"}
    assert {v.check for v in result.verdicts if v.status == "fail"} == {"float32"}


def test_a_file_of_a_fixed_size(tmp_path):
    """The float32 check runs at that size and batch, the exact check at all sizes."""
    weights = random_weights(TINY, 0, "float32")
    content = export(TINY, weights, ExportOptions(size=(48, 80), dynamic=()))
    (tmp_path / "net.onnx").write_bytes(content)
    names = [str(tmp_path / "net.onnx")]
    result = compare_models(names, read_files(names), runtimes=("ort all",))
    assert result.passed
    probes = [verdict.probe for verdict in result.verdicts if verdict.check == "float32"]
    assert probes == ["random 48x80, batch 1"]


def test_a_runtime_that_computes_something_else_fails(monkeypatch):
    """It rounds its images to bfloat16: exact, since small integers fit, but not float32."""
    from resnet_parity.onnx_io import runtimes

    original = runtimes.start

    def start(runtime, content):
        run = original(runtime, content)
        if runtime != "ort basic":
            return run
        return lambda image: run((image.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))

    monkeypatch.setattr(runtimes, "start", start)
    result = compare_models(["torch.onnx"], {}, TINY, runtimes=LEVELS)
    failed = {(v.engine, v.check) for v in result.verdicts if v.status == "fail"}
    assert failed == {("torch.onnx ort basic", "float32")}


def test_the_command(tmp_path, monkeypatch, capsys):
    """Prints a table, JSON and Markdown of the same verdicts; weights from a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(exported(TINY.name, "torch"))
    write_weights(tmp_path / "w", TINY, random_weights(TINY, 0, "float32"))
    arguments = ["onnx-compare", "torch", "net.onnx", "--runtimes", "ort all"]
    assert cli.main([*arguments, "--weights", "w"]) == 0
    printed = capsys.readouterr().out
    assert "net.onnx ort all" in printed
    assert "parity holds" in printed
    assert cli.main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["architecture"], data["passed"]) == (TINY.name, True)
    assert {status for _, checks in summary(data) for status, _ in checks.values()} == {"pass"}
    assert cli.main([*arguments, "--markdown"]) == 0
    assert "| net.onnx ort all | 0 of " in capsys.readouterr().out
    write_weights(tmp_path / "v", TINY, random_weights(TINY, 1, "float32"))
    assert cli.main([*arguments, "--weights", "v"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_mode_that_rounds_is_replaced_and_that_is_reported(
    exact_dtypes_here, rounding_and_fallback, capsys
):
    result = compare_models(["keras"], {}, TINY)
    note = (
        "keras: other mode runs instead of rough, because 1 / sqrt(4) is 0.49999994 in rough mode "
        "on this machine"
    )
    exact = {"pass"} if "float32" in exact_dtypes_here else {"fail"}
    assert statuses(result) == {"exact": exact, "float32": {"pass"}}
    assert result.notes == (note,)
    assert {verdict.engine for verdict in result.verdicts} == {"keras other"}
    assert set(rounding_and_fallback) == {("other", "float32")}
    data = as_json(result)
    assert markdown(data).endswith(f"\n\n{note}")
    print_comparison(console(), data)
    assert f"note: {note}" in capsys.readouterr().out


def test_a_participant_that_rounds_in_every_mode_does_not_pass(make_modes_round, monkeypatch):
    make_modes_round("eager")
    monkeypatch.setattr("resnet_parity.adapters.keras.adapter.modes", lambda: ("eager",))
    result = compare_models(["torch", "keras"], {}, TINY)
    assert statuses(result) == {"exact": {"pass", "skipped"}, "float32": {"pass"}}
    assert not result.passed


BAD = {
    "nothing says": (["torch", "keras"], "add --architecture NAME"),
    "no file": (["torch", "nowhere.onnx"], "'nowhere.onnx' is not an existing file"),
    "twice": (["torch", "torch", "--architecture", "resnet20"], "a name is given twice"),
    "runtime": (["torch", "--architecture", "resnet20", "--runtimes", "ort"], "runtimes are: ort"),
    "unknown": (["torch", "--architecture", "resnet21"], "did you mean"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, tmp_path, monkeypatch, capsys):
    arguments, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["onnx-compare", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_another_architecture(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(without_metadata(exported("resnet20", "torch")).SerializeToString())
    assert cli.main(["onnx-compare", str(path), "--architecture", "resnet32"]) == 2
    error = capsys.readouterr().err
    assert "it is not resnet32: layer3.2.conv1: weight of shape (64, 32, 3, 3) instead" in error
