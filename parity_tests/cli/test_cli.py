"""The command line: output, exit codes, and one clear message for each mistake."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from resnet_spec import ARCHITECTURES, GROUPS, Pool, parameter_count, taps

from parity_tests.support import ALL_NAMES, ROOT, TINY, light, python, steps
from resnet_parity import cli, streams
from resnet_parity.checks.engine import NOISE_FLOOR_MODES
from resnet_parity.errors import MissingFrameworkError, ParityError
from resnet_parity.verify import verify


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Keras runs eagerly where it can, because compiling takes most of the time."""
    monkeypatch.setattr("resnet_parity.adapters.keras.adapter.modes", lambda: ("eager", "xla"))


@pytest.fixture
def tiny(monkeypatch) -> str:
    """A registered small network; where eager mode rounds, XLA compiles it quickly."""
    monkeypatch.setitem(ARCHITECTURES, TINY.name, TINY)
    return TINY.name


DEFAULT_CHECKS = ("--check", "exact", "--check", "float32")


def test_verify_prints_pure_json(tiny, capfd):
    assert cli.main(["verify", tiny, *DEFAULT_CHECKS, "--layers", "--json", "--size", "32x64"]) == 0
    captured = capfd.readouterr()
    verified = json.loads(captured.out)
    progress = [line for line in captured.err.splitlines() if line.endswith(" ...")]
    assert len(progress) == 5, "a line of progress per probe"
    assert verified["passed"] is True
    assert verified["architecture"] == tiny
    assert set(verified["versions"]) == {"torch", "keras", "tensorflow"}
    assert {verdict["check"] for verdict in verified["verdicts"]} == {"exact", "float32"}
    for verdict in verified["verdicts"]:
        assert verdict["status"] == "pass"
        assert verdict["first_divergence"] is None
        some = {
            "taps": {"layer1.0.conv1", "fc", "logits"},
            "gradients": {"layer1.0.conv1.weight", "fc.bias", "image"},
        }[verdict["quantity"]]
        assert some <= {row["name"] for row in verdict[verdict["quantity"]]}
        if verdict["check"] == "exact":
            assert (verdict["value"], verdict["differing"]) == (0, 0)
            assert verdict["elements"] > 10_000


def test_verify_prints_a_table_and_progress_goes_to_stderr(tiny, capsys):
    arguments = ["verify", tiny, "--check", "exact", "--size", "32x64", "--seed", "5"]
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    assert "parity holds: 12 of 12 verdicts pass" in captured.out
    assert "0 of" in captured.out
    assert " differ" in captured.out
    assert "..." not in captured.out
    assert steps(captured.err) == [
        "loading the frameworks ...",
        "exact check, exact probe in float32 ...",
        "exact check, exact probe in float64 ...",
    ]


def test_where_float32_rounds_float64_proves_the_exact_check(rounding_and_fallback, capsys):
    """Nothing runs in float32 in the mode that rounds, and no other mode compiles."""
    arguments = ["verify", "resnet20", "--check", "exact", "--size", "32x64"]
    assert cli.main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["notes"] == [
        "exact check, keras: proven in float64; not in float32, because 1 / sqrt(4) is 0.49999994 "
        "in rough mode on this machine"
    ]
    statuses = {(v["dtype"], v["engine"]): v["status"] for v in data["verdicts"]}
    assert statuses.pop(("float32", "keras tensorflow rough")) == "skipped"
    assert statuses.pop(("float64", "keras tensorflow rough")) == "pass"
    assert set(statuses.values()) == {"pass"}
    assert {engine.partition(" ")[0] for _, engine in statuses} == {"torch"}
    assert set(rounding_and_fallback) == {("rough", "float64")}


def test_a_check_that_no_dtype_proves_is_not_proven(capsys):
    report = verify(TINY, checks=("exact",), size=(32, 64))
    assert report.passed and not report.notes
    skipped = [
        replace(v, status="skipped", reason="it rounds") if v.engine.startswith("keras") else v
        for v in report.verdicts
    ]
    assert not replace(report, verdicts=tuple(skipped)).passed
    one = [v if v.dtype == "float64" else s for v, s in zip(report.verdicts, skipped, strict=True)]
    assert replace(report, verdicts=tuple(one)).passed


def test_verdicts_are_printed_as_they_come(tiny, monkeypatch, capsys):
    """The first verdict is on stdout before the last engine runs."""
    import resnet_parity.adapters.keras.adapter as framework

    run = framework.run
    printed: list[str] = []

    def listen(model, images, mode):
        printed.append(capsys.readouterr().out)
        return run(model, images, mode)

    monkeypatch.setattr(framework, "run", listen)
    assert cli.main(["verify", tiny, "--check", "float64", "--size", "32x48"]) == 0
    lines = printed[0].splitlines()
    assert lines[0].startswith("tiny: ") and lines[2].split()[:2] == ["check", "probe"]
    assert [line.split()[3:6] for line in lines[3:]] == [
        ["torch", "nchw", "pass"],
        ["torch", "channels_last", "pass"],
    ]
    assert capsys.readouterr().out.splitlines()[-1].startswith("parity holds: ")


def test_a_single_check_is_proven_if_one_mode_of_each_implementation_passes(
    tiny, make_modes_round, monkeypatch, capsys
):
    make_modes_round("eager")
    monkeypatch.setattr("resnet_parity.adapters.torch.adapter.modes", lambda: NOISE_FLOOR_MODES)
    arguments = ["verify", tiny, "--check", "exact", "--size", "32x64", "--every-mode"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "parity holds" in printed
    assert "2 skipped" in printed


def test_verify_fails_with_one(tiny, monkeypatch, capsys):
    """A fault in one norm: exit 1, and the first divergence by name."""
    import resnet_parity.adapters.keras.adapter as framework

    run = framework.run

    def faulty(model, images, mode):
        taps = run(model, images, mode)
        return taps | {"layer2.0.bn1": taps["layer2.0.bn1"] * 1.001}

    monkeypatch.setattr(framework, "run", faulty)
    assert cli.main(["verify", tiny, "--check", "exact", "--size", "32x64", "--layers"]) == 1
    output = capsys.readouterr().out
    assert "parity FAILED" in output
    assert "first divergence at layer2.0.bn1" in output


def test_verify_takes_other_classes_and_channels(capsys):
    arguments = ["--num-classes", "7", "--in-channels", "1", "--check", "float64", "--json"]
    assert cli.main(["verify", "resnet20", "--size", "32x48", "--layers", *arguments]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)["verdicts"]
    assert first["taps"][-1] | {"error": 0, "max_abs": 0} == {
        "name": "logits",
        "shape": [2, 7],
        "elements": 14,
        "differing": first["taps"][-1]["differing"],
        "max_abs": 0,
        "error": 0,
        "limit": 1e-12,
        "status": "ok",
    }


def test_list_and_show_need_no_framework(capsys):
    assert cli.main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ALL_NAMES
    assert [row["parameters"] for row in rows] == [
        parameter_count(arch) for arch in ARCHITECTURES.values()
    ]
    for name in ALL_NAMES:
        assert cli.main(["show", name]) == 0
        output = capsys.readouterr().out
        assert f"{parameter_count(ARCHITECTURES[name]):,} parameters" in output
        size = ARCHITECTURES[name].image_size
        assert f"3x{size}x{size}" in output
        assert f"{size}x{size}x3" in output


def test_list_prints_the_groups(capsys):
    assert cli.main(["list"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    for group, rows in GROUPS.items():
        start = lines.index(group)
        shown = [line.split()[0] for line in lines[start + 1 : start + 1 + len(rows)]]
        assert shown == [row.name for row in rows]


def test_show_prints_every_layer_in_both_layouts(capsys):
    assert cli.main(["show", "seresnet50", "--layers"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["layer2.0.conv2", "128x28x28", "28x28x128", "147,456", "115.61"] in rows
    assert ["layer1.0.se.fc1", "16x1x1", "1x1x16", "4,112", "0.00"] in rows
    names = [row[0] for row in rows if row]
    assert [tap.name for tap in taps(ARCHITECTURES["seresnet50"], 224, 224)] == [
        name for name in names if "." in name or name in TOP_LEVEL
    ]


TOP_LEVEL = {"conv1", "bn1", "relu", "maxpool", "avgpool", "fc"}


def test_show_takes_a_backbone(capsys):
    arguments = ["--features", "1,3", "--output-stride", "8", "--size", "64x96", "--json"]
    assert cli.main(["show", "resnet50", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["taps"][-1]["name"] == "layer3.5"
    assert shown["taps"][-1]["shape"] == [1024, 8, 12]


def test_compare_prints_what_differs(capsys):
    assert cli.main(["compare", "resnet50", "resnet50_v1"]) == 0
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines()]
    assert ["stride_in_1x1", "False", "True"] in rows
    assert ["parameters", "25,557,032", "25,557,032"] in rows
    assert ["GMACs", "4.09", "at", "224x224", "3.86", "at", "224x224"] in rows
    assert "weights of resnet50 load into resnet50_v1, and give other logits" in output
    assert cli.main(["compare", "resnet18", "seresnet18", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["fields"] == {"se": [None, {"ratio": 0.0625, "divisor": 8}]}
    assert len(data["tensors"]["only in the second"]) == 8 * 4
    assert data["tensors"]["equal"] == 102
    assert cli.main(["compare", "resnet50d", "resnet50d"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(r"\w+ and \w+ are the same architecture\n", out)


REPR = re.compile(r"True|False|None|'.*'|\(.*\)|\[.*\]|[A-Z]\w*\(.*\)")
"""A string that is the repr of a Python object."""


def strings(data) -> list[str]:
    """Every string in JSON data, keys included."""
    if isinstance(data, dict):
        return [*data, *(each for value in data.values() for each in strings(value))]
    if isinstance(data, list):
        return [each for value in data for each in strings(value)]
    return [data] if isinstance(data, str) else []


JSON = {
    "list": ["list"],
    "show": ["show", "keras_resnet50v2"],
    "compare": ["compare", "resnet50", "keras_resnet50v2"],
    "verify": ["verify", "tiny", "--check", "exact", "--layers", "--size", "32x64"],
    "lockstep": ["lockstep", "tiny", "--steps", "1", "--single-steps", "0", "--size", "32x48"],
    "diagnose": ["diagnose", "torch:tiny", "keras:tiny"],
    "vectors": ["vectors", "tiny"],
    "code": ["code", "Bottleneck"],
}


@pytest.mark.parametrize("kind", light(list(JSON), sorted({*JSON} - {"lockstep"})))
def test_json_holds_values_and_no_python_reprs(kind, tiny, capsys):
    cli.main([*JSON[kind], "--json"])
    found = strings(json.loads(capsys.readouterr().out))
    assert found
    assert not [each for each in found if REPR.fullmatch(each)]


def test_a_python_repr_in_json_is_found():
    reprs = [repr(value) for value in (True, None, "lowest", (1, 2), Pool(), [3])]
    assert all(REPR.fullmatch(each) for each in strings({"fields": reprs})[1:])


@pytest.mark.parametrize(
    ("first", "second"),
    [("resnet50", "keras_resnet50v2"), ("resnet18", "resnet20"), ("resnet50", "resnet50c")],
)
def test_compare_names_every_field_that_differs(first, second, capsys):
    assert cli.main(["compare", first, second, "--json"]) == 0
    named = json.loads(capsys.readouterr().out)["fields"]
    pair = ARCHITECTURES[first], ARCHITECTURES[second]
    for field in dataclasses.fields(pair[0]):
        if field.name not in ("name", "source"):
            differs = getattr(pair[0], field.name) != getattr(pair[1], field.name)
            assert any(re.split(r"[.\[]", name)[0] == field.name for name in named) == differs


def test_verify_takes_a_backbone(tiny, capsys):
    arguments = ["--features", "0,2", "--output-stride", "4", "--check", "exact", "--json"]
    assert cli.main(["verify", tiny, *arguments, "--layers"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)["verdicts"]
    assert [tap["name"] for tap in first["taps"]][-2:] == ["features.0", "features.1"]


def test_show_prints_both_layouts_of_every_tensor(capsys):
    assert cli.main(["show", "resnet18", "--tensors"]) == 0
    output = capsys.readouterr().out
    assert "layer2.0.conv2.weight" in output
    assert "layer2_0_conv2/kernel" in output
    assert cli.main(["show", "resnet18", "--json", "--size", "64x96", "--num-classes", "5"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["tensors"][0]["keras"] == {"name": "conv1/kernel", "shape": [7, 7, 3, 64]}
    assert shown["taps"][-1]["shape"] == [5]


def test_show_prints_the_eps_of_the_norms(capsys):
    assert cli.main(["show", "keras_resnet50"]) == 0
    assert "norms with eps 1.001e-05" in capsys.readouterr().out
    assert cli.main(["show", "keras_resnet50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bn_eps"] == 1.001e-5


LIGHT = [
    ["--help"],
    ["verify", "--help"],
    ["list"],
    ["show", "resnet50"],
    ["compare", "resnet18", "plain18"],
]


@pytest.mark.parametrize("arguments", LIGHT)
def test_light_commands_import_no_framework(arguments):
    code = (
        "import sys\nfrom resnet_parity.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'jax', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


MISTAKES = {
    "unknown name": (["verify", "resnet5"], "unknown architecture 'resnet5' (did you mean"),
    "unknown name in show": (["show", "renset50"], "did you mean resnet50"),
    "bad classes": (["verify", "resnet18", "--num-classes", "-1"], "num_classes must be at least"),
    "unknown option": (
        ["verify", "resnet20", "--checks", "exact"],
        "resnet-parity verify: error: unrecognized arguments: --checks exact "
        "(did you mean --check?)",
    ),
    "bad stride": (
        ["verify", "resnet20", "--output-stride", "8"],
        "output_stride 8 cannot be reached: the stem has stride 1, the whole network 4, "
        "so it may be 1, 2",
    ),
    "bad features": (["show", "resnet50", "--features", "1,9"], "some of (0, 1, 2, 3, 4)"),
    "features that are none": (["show", "resnet50", "--features", "a"], "'a' is no list of"),
    "unknown name to compare": (["compare", "resnet50", "resnet5"], "did you mean"),
    "absurd classes": (["verify", "resnet18", "--num-classes", "100000000"], "take fewer classes"),
    "bad channels": (["show", "resnet18", "--in-channels", "-3"], "in_channels must be at least"),
    "bad size": (["verify", "resnet18", "--size", "64"], "'64' is no size"),
    "empty size": (["verify", "resnet18", "--size", "0x64"], "'0x64' is no size"),
    "absurd size": (["verify", "resnet18", "--size", "90000x90000"], "take a smaller size"),
    "odd area": (["verify", "resnet18", "--check", "exact", "--size", "96x96"], "power-of-two"),
    "bad seed": (["verify", "resnet18", "--seed", "-1"], "'-1' is no seed"),
    "bad check": (["verify", "resnet18", "--check", "float16"], "invalid choice: 'float16'"),
    "misspelt check": (["verify", "resnet18", "--check", "exct"], "'exct' (did you mean exact?)"),
    "misspelt command": (["lst"], "invalid choice: 'lst' (did you mean list?); choose from list, "),
    "misspelt definition": (["code", "Botleneck"], "'Botleneck'; did you mean Bottleneck or"),
    "misspelt net": (["code", "resnet50_v2.Bottleneck"], "(did you mean resnetv2_50 or"),
    "misspelt module": (["code", "layrs.relu"], "(did you mean layers?)"),
    "no command but a name": (["resnet50"], "'resnet50' (did you mean show resnet50?)"),
    "misspelt option with a value": (["show", "resnet18", "--sise=9x9"], "(did you mean --size?)"),
    "bad steps": (["lockstep", "resnet20", "--steps", "-1"], "argument --steps: '-1' is no count"),
    "bad batch": (
        ["lockstep", "resnet20", "--batch", "two"],
        "argument --batch: 'two' is no count",
    ),
    "no steps": (
        ["lockstep", "resnet20", "--steps", "0", "--single-steps", "0"],
        "steps and single_steps are both 0",
    ),
    "no image": (["verify", "resnet18", "--image", "absent.jpg"], "absent.jpg: no such file"),
    "image that is none": (["verify", "resnet18", "--image", "README.md"], "not an image"),
    "image for exact": (
        ["verify", "resnet18", "--check", "exact", "--image", "absent.jpg"],
        "no check that was named runs on photographs",
    ),
    "no command": ([], "required: COMMAND"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_gets_one_message_and_exit_code_two(kind, capsys, monkeypatch):
    arguments, message = MISTAKES[kind]
    monkeypatch.chdir(ROOT)
    try:
        code = cli.main(arguments)
    except SystemExit as stop:  # argparse
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("missing", ["torch", "keras", "tensorflow"])
def test_a_missing_framework_gives_the_install_line_and_exit_code_three(
    missing, capsys, monkeypatch
):
    from resnet_parity.adapters import loading as frameworks

    find_spec = frameworks.find_spec
    monkeypatch.setattr(
        frameworks, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    extra = {"tensorflow": "keras"}.get(missing, missing)
    for origin, line in ((EDITABLE, f"-e '/a checkout[{extra}]'"), ("{}", f"'{missing}>=")):
        monkeypatch.setattr(frameworks, "distribution", lambda _, text=origin: Installed(text))
        assert cli.main(["verify", "resnet18"]) == 3
        captured = capsys.readouterr()
        message = f"{missing} is not installed; install it with: python -m pip install {line}"
        assert message in captured.err
        assert captured.out == ""


EDITABLE = '{"url": "file:///a%20checkout", "dir_info": {"editable": true}}'


class Installed:
    """This project's metadata, installed in another way."""

    requires = (
        *("numpy>=2.1", "jax>=0.7; extra == 'all'", "jax>=0.7; extra == 'jax'"),
        *(f"{name}>=1; extra == 'onnx'" for name in ("onnx", "onnxruntime", "onnxscript")),
        *("keras>=3.12; extra == 'jax'", "keras>=3.12; extra == 'keras'"),
        *("tensorflow>=2.20; extra == 'keras'", "torch>=2.11; extra == 'torch'"),
    )

    def __init__(self, origin: str) -> None:
        self.read_text = {"direct_url.json": origin}.get


@pytest.mark.parametrize(
    ("modules", "extras"),
    [
        (("onnx", "onnxruntime", "onnxscript"), "onnx"),
        (("onnx", "onnxruntime", "torch"), "onnx,torch"),
        (("torch", "keras", "tensorflow"), "torch,keras"),
        (("keras", "jax"), "jax"),
        (("keras", "torch"), "keras,torch"),
    ],
)
def test_one_message_names_all_that_is_missing_and_the_extras(modules, extras, monkeypatch):
    from resnet_parity.adapters import loading as frameworks

    monkeypatch.setattr(frameworks, "find_spec", lambda name: None)
    monkeypatch.setattr(frameworks, "distribution", lambda _: Installed(EDITABLE))
    with pytest.raises(MissingFrameworkError) as caught:
        frameworks.require(*modules)
    listed = ", ".join(modules)
    line = f"{listed} are not installed; install them with: python -m pip install"
    assert str(caught.value) == f"{line} -e '/a checkout[{extras}]'"
    monkeypatch.setattr(frameworks, "distribution", lambda _: Installed("{}"))
    with pytest.raises(MissingFrameworkError) as caught:
        frameworks.require(*modules)
    assert all(f"'{module}>=" in str(caught.value) for module in modules)


def test_keras_on_another_backend_is_refused(capsys):
    """Keras runs on TensorFlow in this process; another backend needs another process."""
    verify(TINY, checks=("float64",))
    assert cli.main(["verify", "resnet20", "--keras-backend", "jax"]) == 2
    assert "Keras already runs on tensorflow" in capsys.readouterr().err


WITH_KERAS = [
    ["verify", "resnet18"],
    ["lockstep", "resnet20"],
    ["vectors", "resnet20", "--verify"],
    ["diagnose", "resnet20", "resnet20"],
    ["export", "resnet20", "--framework", "keras", "--out", "absent.onnx"],
    ["onnx-compare", "keras", "torch", "--architecture", "resnet20"],
]


@pytest.mark.parametrize("arguments", WITH_KERAS, ids=lambda arguments: arguments[0])
def test_an_unknown_backend_in_the_environment_is_refused(arguments, monkeypatch, capsys):
    """In one line, before any work begins."""
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == (
        "resnet-parity: error: unknown Keras backend 'theano'; "
        "it is one of: tensorflow, jax, torch\n"
    )


PIPE = """
import subprocess, sys
p = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, stderr=-1)
p.stdout.close()
error = p.stderr.read().decode()
sys.exit(error or f"code {p.wait()}")
"""


@pytest.mark.parametrize("option", ["", "--json"])
@pytest.mark.parametrize("failed", [False, True])
def test_a_closed_pipe_changes_no_exit_code(option, failed):
    arguments = ["list", *([option] if option else [])]
    script = (
        "import sys\nfrom resnet_parity import cli\nfrom resnet_parity.cli import show\n"
        "list_ = show._list\n"
        f"show._list = lambda arguments: ({int(failed)}, list_(arguments)[1])\n"
        f"sys.exit(cli.main({arguments!r}))"
    )
    assert python("-c", PIPE, script).stderr.strip() == f"code {int(failed)}"


def test_a_full_disk_is_reported():
    script = "import sys\nfrom resnet_parity import cli\nsys.exit(cli.main(['list']))"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_size_with_blind_spots_gives_a_warning(capsys):
    assert cli.main(["verify", "resnet20", "--check", "float64", "--size", "33x33", "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert warnings[0] == "height equals width, so swapping them may go unseen"
    assert warnings[1].startswith("odd extents before layer2.0.conv1")


def test_a_size_without_an_exact_probe_leaves_the_other_checks(capsys):
    assert cli.main(["verify", "resnet20", "--size", "32x96"]) == 0
    output = capsys.readouterr().out
    assert "the map of layer3.2 in 'resnet20' is 8x24" in output
    assert "parity holds: 12 of 14 verdicts pass, 2 skipped" in output


def test_checks_add_up(tiny, capsys):
    arguments = ["--check", "float32", "--check", "exact", "--size", "32x64", "--json"]
    assert cli.main(["verify", tiny, *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["checks"] == ["exact", "float32"]


def test_tables_fit_eighty_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(streams, "is_terminal", lambda: True)
    for arguments in (["list"], ["show", "wide_resnet101_2", "--layers"]):
        assert cli.main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert sum("resnext101_64x4d" in line for line in lines) == (arguments == ["list"])


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "resnet-parity 0.1.0\n"


def test_a_verbose_version_says_what_a_report_needs(make_modes_round, capsys):
    assert cli.main(["--version", "--verbose"]) == 0
    printed = capsys.readouterr().out
    for line in ("torch 2", "keras 3", "tensorflow 2", "cpu: ", "cores: ", "gpu: ", "rounding: "):
        assert f"\n{line}" in printed
    make_modes_round("eager")
    assert cli.main(["--version", "--verbose"]) == 0
    assert "rounding: 1 / sqrt(4) is 0.49999994 in eager mode" in capsys.readouterr().out


def test_a_verbose_version_is_printed_whatever_keras_says(monkeypatch, capsys):
    def fails():
        raise ParityError("keras.json makes no sense")

    monkeypatch.setattr("resnet_parity.adapters.loading.keras_adapter", fails)
    assert cli.main(["--version", "--verbose"]) == 0
    assert "rounding: unknown; keras.json makes no sense" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--version", "list"], ["--verbose"]])
def test_a_version_takes_no_command(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_a_command_is_required(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    assert "required: COMMAND" in capsys.readouterr().err


def test_an_error_that_nothing_expected_is_one_line_with_its_own_code(monkeypatch, capsys):
    def fails(*_):
        raise ZeroDivisionError("out of order\nsecond line")

    monkeypatch.setattr("resnet_parity.reports.show.list_json", fails)
    assert cli.main(["list", "--json"]) == 70
    error = capsys.readouterr().err
    assert error == (
        "resnet-parity: error: a fault of resnet-parity itself, ZeroDivisionError: out of order; "
        "run the command again with --traceback, and report what that prints\n"
    )
    assert cli.main(["list", "--json", "--traceback"]) == 70
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert "in fails" in error
    assert error.splitlines()[-1].endswith("report it with the traceback above")
