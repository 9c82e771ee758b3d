"""The matrix: every engine on every check, each framework in its own process."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import pytest

from parity_tests.support import TINY, command, exact, random, steps
from resnet_parity import cli, matrix
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.remote import RemoteAdapter
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.checks.tap_check import quantities_of
from resnet_parity.errors import MissingFrameworkError, ParityError
from resnet_parity.machine import machine
from resnet_parity.matrix import ENGINES, MODES, run_matrix
from resnet_parity.reports.matrix import LEGEND, as_json, markdown

NOISE_FLOOR = [f"torch {mode}" for mode in NOISE_FLOOR_MODES]
KERAS = ["keras tensorflow graph", "keras torch eager"]


@pytest.fixture(scope="module")
def small() -> dict:
    """One small network in three processes; the full suite runs every engine."""
    steps: list[str] = []
    found = run_matrix(
        [TINY],
        engines=[*NOISE_FLOOR, *KERAS],
        checks=["exact", "half"],  # test_backends runs the others
        progress=lambda step, total: steps.append(step),
    )
    assert len(steps) == 1 + 3
    return as_json(found)


def test_engines_in_their_own_processes(small):
    check(small, [*NOISE_FLOOR, *KERAS], {"exact float32", "exact float64", "bfloat16", "float16"})


@pytest.mark.full
def test_every_engine_on_every_check():
    engines = [engine for engine in ENGINES if "cuda" not in engine]
    columns = {"exact float32", "exact float64", "float64", "float32", "bfloat16", "float16"}
    check(as_json(run_matrix([TINY], engines=engines)), engines, columns)


def check(data: dict, engines: list[str], columns: set[str]) -> None:
    (tiny,) = data["matrices"]
    assert columns <= set(tiny["columns"])
    assert [row["engine"] for row in tiny["rows"]] == engines
    assert data["passed"] is True
    for row in tiny["rows"]:
        assert list(row["cells"]) == tiny["columns"]
        for title, cell in row["cells"].items():
            where = (row["engine"], title)
            if cell["status"] != "skipped":
                assert cell["status"] == "pass", where
            elif row["engine"] in ("keras tensorflow graph", "keras tensorflow eager"):
                assert title.startswith("exact float32"), where
                assert "1 / sqrt(4) is 0.4999999" in cell["reason"]
            else:
                assert row["engine"] in ("keras jax jit", "keras torch eager"), where
                assert "float64" in title, where
                assert "computes parts of a float64 model in float32" in cell["reason"]
        exact = row["cells"]["exact float32"]
        if exact["status"] == "pass":
            assert exact["value"] == 0
            assert exact["elements"] > 10_000


def test_it_records_the_machine_and_the_versions(small):
    assert {"python", "numpy", "torch", "keras", "tensorflow"} <= set(small["versions"])
    assert small["machine"] == machine()
    assert small["machine"]["cores"] >= 1
    assert json.loads(json.dumps(small)) == small
    text = markdown(small)
    for word in (small["date"], machine()["cpu"], f"keras {small['versions']['keras']}", "GPU"):
        assert str(word) in text


def test_markdown_has_a_mark_and_a_figure_per_cell_and_the_details_below(small):
    text = markdown(small)
    lines = text.splitlines()
    (tiny,) = small["matrices"]
    row = next(line for line in lines if line.startswith("| torch nchw |"))
    assert row.count("| ✓ 0 ") >= 2, "taps in both dtypes"
    for line in lines:
        if line.startswith(("| torch ", "| keras ")):
            cells = [cell.strip() for cell in line.split("|")[2:-1]]
            assert all(re.fullmatch(r"(?:[✓✗-](?: [\d.,e+-]+x?)?)?", cell) for cell in cells), line
    assert LEGEND in text
    elements = f"{tiny['rows'][0]['cells']['exact float32']['elements']:,}"
    assert any(line.startswith("* compared elements: ") and elements in line for line in lines)
    statuses = {cell["status"] for row in tiny["rows"] for cell in row["cells"].values()}
    assert ("| - " in text) is ("skipped" in statuses)
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {2 + len(tiny["columns"])}


@contextmanager
def adapters_here(*frameworks: str):
    """The adapters of this process instead of workers, with TensorFlow for every backend."""
    yield {
        framework: torch_adapter() if framework == "torch" else OffByAMillionth()
        for framework in frameworks
    }


class OffByAMillionth:
    """Keras with one tap off by a millionth, in one of its modes."""

    def __getattr__(self, method):
        return getattr(keras_adapter(), method)

    def run(self, model, images, mode):
        arrays = keras_adapter().run(model, images, mode)
        if mode == "graph":
            arrays["layer2.0.bn1"] = arrays["layer2.0.bn1"] * type(images.flat[0])(1.000001)
        return arrays


def test_a_defect_is_shown_only_in_the_row_of_its_engine(monkeypatch):
    monkeypatch.setattr(matrix, "remote_adapters", adapters_here)
    engines = ["keras tensorflow eager", "keras tensorflow graph"]
    found = run_matrix([TINY], engines=engines, checks=["exact"])
    data = as_json(found)
    assert found.failed
    assert data["passed"] is False
    (tiny,) = data["matrices"]
    failing = set()
    for row in tiny["rows"]:
        for title, cell in row["cells"].items():
            # In float32 this CPU may round whatever Keras computes.
            may_round = row["engine"].startswith("keras") and title.startswith("exact float32")
            assert cell["status"] != "skipped" or may_round
            failing |= {row["engine"]} if cell["status"] == "fail" else set()
    assert failing == {"keras tensorflow graph"}
    assert "| ✗ " in markdown(data)
    (remark,) = (
        line for line in markdown(data).split("\n") if line.startswith("* keras tensorflow")
    )
    assert remark.startswith("* keras tensorflow graph in exact ")
    # And in float32, where this CPU does not round.
    assert "exact float64: first divergence at layer2.0.bn1" in remark


def test_the_command_fails_with_one(monkeypatch, capsys):
    monkeypatch.setattr(matrix, "remote_adapters", adapters_here)
    arguments = ["resnet20", "--engines", "keras tensorflow graph", "--check", "float64", "--json"]
    assert cli.main(["matrix", *arguments]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_it_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(matrix, "remote_adapters", adapters_here)
    arguments = ["resnet20", "--engines", "keras tensorflow eager", "--check", "float32"]
    assert cli.main(["matrix", *arguments]) == 0
    captured = capsys.readouterr()
    assert "resnet20, seed 0" in captured.out
    assert "no engine fails" in captured.out
    assert "keras tensorflow eager" in captured.out
    assert "keras tensorflow xla" not in captured.out
    assert steps(captured.err) == [
        "starting a worker for each framework ...",
        "resnet20: float32 check, random probe in float32 ...",
        "resnet20: float32 check, training probe in float32 ...",
    ]


def test_what_is_not_installed_is_reported(monkeypatch):
    """It is left out by default; asked for by name it is an error with its install line."""

    @contextmanager
    def without_jax(*frameworks: str):
        with adapters_here(*frameworks) as adapters:
            yield adapters | {"keras jax": Absent()}

    class Absent:
        def versions(self):
            raise MissingFrameworkError("jax is not installed; install it with: ...")

    monkeypatch.setattr(matrix, "remote_adapters", without_jax)
    monkeypatch.setattr(
        matrix,
        "ENGINES",
        {e: ENGINES[e] for e in (*NOISE_FLOOR, "keras jax jit", "keras torch eager")},
    )
    data = as_json(run_matrix([TINY], checks=["float64"]))
    assert data["absent"] == {"keras jax jit": "jax is not installed; install it with: ..."}
    assert "* keras jax jit: not run, jax is not installed" in markdown(data)
    assert len(data["matrices"][0]["rows"]) == 3
    with pytest.raises(MissingFrameworkError):
        run_matrix([TINY], engines=["keras jax"], checks=["float64"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet18", "--engines", "theano"], "unknown engine 'theano'; engines are: torch nchw"),
        (["resnet18", "--engines", "keras jax eager"], "unknown engine 'keras jax eager'"),
        (["resnet19"], "resnet19"),
    ],
)
def test_mistakes_are_reported_before_a_worker_starts(arguments, message):
    result = command("matrix", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "starting" not in result.stderr
    assert result.stdout == ""


def test_a_matrix_needs_architectures_and_known_checks():
    with pytest.raises(ParityError, match="at least one architecture"):
        run_matrix([], checks=["exact"])
    for checks in ([], ["best"]):
        with pytest.raises(ParityError, match=r"unknown checks .*; checks are: exact, float64"):
            run_matrix([TINY], checks=checks)


def test_the_modes_of_the_matrix_are_those_of_the_adapters():
    from resnet_parity.adapters.keras import modes as keras_modes
    from resnet_parity.adapters.torch import modes as torch_modes

    assert MODES["torch"] == torch_modes.CPU + torch_modes.GPU
    keras = {
        framework.removeprefix("keras "): m
        for framework, m in MODES.items()
        if framework != "torch"
    }
    assert keras == {"tensorflow": keras_modes.TENSORFLOW_MODES, **keras_modes.MODES}


def torch_engines(*modes: str) -> tuple[Engine, ...]:
    return tuple(Engine(f"torch {mode}", torch_adapter(), mode) for mode in modes)


@pytest.mark.full
def test_a_compiled_model_gives_the_same_bits():
    """One graph returns every tap and another the model's outputs; neither has a graph break."""
    probe = exact(TINY.name, "float32")
    taps, gradients = run_check("exact", probe, torch_engines("compile"))
    for verdict, expected in ((taps, probe.expected), (gradients, probe.gradients)):
        assert (verdict.status, verdict.value) == ("pass", 0), verdict.reason
        assert {row.name for row in verdict.rows} == set(expected)


@pytest.mark.full
@pytest.mark.parametrize(("check", "dtype"), [("exact", "float64"), ("float32", "float32")])
@pytest.mark.parametrize("name", [TINY.name, "preact", "gated", "zero-padding", "deep-stem"])
def test_other_nets_compiled(name, check, dtype):
    probe = (exact if check == "exact" else random)(name, dtype)
    verdicts = list(run_check(check, probe, torch_engines(*NOISE_FLOOR_MODES, "compile")))
    assert {verdict.status for verdict in verdicts} == {"pass"}
    assert len(verdicts) == 3 * len(quantities_of(probe))


@pytest.mark.full
def test_without_a_compiler_its_mode_is_skipped(tmp_path):
    """On a machine without a C++ compiler and without cached code."""
    environment = {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    adapter = RemoteAdapter("torch", environment)
    reason = adapter.unsupported_reason("compile", "exact")
    adapter.close()
    assert reason.startswith("torch.compile does not work here: ")
    assert "compiler" in reason.lower()


def test_without_a_gpu_its_modes_are_skipped():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    verdicts = run_check("exact", exact(TINY.name, "float32"), torch_engines("cuda", "cuda tf32"))
    reasons = {(v.engine, v.quantity): (v.status, v.reason) for v in verdicts}
    for engine in ("torch cuda", "torch cuda tf32"):
        assert reasons[engine, "taps"] == ("skipped", "PyTorch finds no GPU here")


@pytest.mark.gpu
def test_tf32_is_off_and_proven_off():
    """An integer beyond TF32's precision is exact in one mode and rounded in the other."""
    from resnet_parity.adapters.torch.modes import _tf32_rounds, unsupported_reason

    assert not _tf32_rounds("cuda")
    assert _tf32_rounds("cuda tf32")
    assert unsupported_reason("cuda", "exact") is None
    assert "11 bits" in str(unsupported_reason("cuda tf32", "exact"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "seresnet50", "resnetv2_50"])
@pytest.mark.parametrize(("check", "dtype"), [("exact", "float32"), ("float64", "float64")])
def test_a_gpu_without_tf32(name, check, dtype):
    probe = (exact if check == "exact" else random)(name, dtype)
    for verdict in run_check(check, probe, torch_engines("cuda")):
        assert verdict.status == "pass", verdict.divergence


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_tf32_has_its_own_tolerance(name):
    engines = torch_engines(*NOISE_FLOOR_MODES, "cuda", "cuda tf32")
    found = {v.engine: v for v in run_check("float32", random(name, "float32"), engines)}
    assert {verdict.status for verdict in found.values()} == {"pass"}
    assert found["torch cuda tf32"].value > found["torch nchw"].limit, "TF32 was not on"
