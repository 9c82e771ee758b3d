"""The three backends of Keras; jax and torch each run in their own process."""

from __future__ import annotations

import json

import pytest

from parity_tests.support import TINY, light, python
from resnet_parity.verify import verify

# One process per backend, because Keras takes seconds to start: a network on every check, other
# networks on the supported checks, a single check, and the first network with a wrong epsilon. Each
# gives a JSON document.
SCRIPT = """
import json, sys
from dataclasses import replace
from parity_tests.support import TINY
from resnet_parity.reports.verify import as_json
from resnet_parity.verify import verify
for arguments in (
    {"architecture": TINY},
    *({"architecture": name, "checks": ("exact", "float32")} for name in sys.argv[2:]),
    {"architecture": TINY, "checks": ("float64",), "size": (32, 48)},
    {"architecture": TINY, "checks": ("exact",), "size": (32, 64)},
):
    if arguments.get("size") == (32, 64):
        import resnet_parity.adapters.keras.adapter as implementation
        build = implementation.build
        implementation.build = lambda arch, *rest: build(replace(arch, bn_eps=1.001e-5), *rest)
    report = verify(**arguments, keras_backend=sys.argv[1])
    print(json.dumps(as_json(report, layers=False)))
"""


KINDS = [
    "resnet18",
    "resnet50",
    "keras_resnet50",
    "keras_resnet50v2",
    "resnetv2_18",
    "resnet20",
    "plain18",
    "resnet18d",
    "seresnet18",
]


@pytest.mark.parametrize("backend", light(["torch", "jax"], ["torch"]))
@pytest.mark.parametrize("names", [[], pytest.param(KINDS, marks=pytest.mark.full)])
def test_every_check(backend, names):
    """The exact and float32 checks pass; the float64 check is skipped with its reason."""
    arguments = [backend, *names]
    result = python("-c", SCRIPT, *arguments, KERAS_BACKEND="tensorflow")  # the argument wins
    assert result.returncode == 0, result.stderr
    *complete, alone, mutant = (json.loads(line) for line in result.stdout.splitlines())
    for report in complete:
        assert report["passed"]
        assert backend in report["versions"]
        check_float32(report["verdicts"])
    check_float64(complete[0]["verdicts"], backend)
    assert not alone["passed"], "a single check must pass"
    assert alone["skipped"][0]["check"] == "float64"
    noticed = {(v["check"], v["dtype"]) for v in mutant["verdicts"] if v["status"] == "fail"}
    assert ("exact", "float32") in noticed, "a wrong epsilon was taken for float32 rounding"


def keras_verdicts(verdicts: list[dict]) -> dict[tuple[str, str], dict]:
    return {(v["check"], v["dtype"]): v for v in verdicts if v["engine"].startswith("keras")}


def check_float32(verdicts: list[dict]) -> None:
    found = keras_verdicts(verdicts)
    assert found["exact", "float32"]["status"] == "pass"
    assert found["exact", "float32"]["differing"] == 0
    assert found["float32", "float32"]["status"] == "pass"


def check_float64(verdicts: list[dict], backend: str) -> None:
    found = keras_verdicts(verdicts)
    assert found["exact", "float64"]["status"] in ("pass", "skipped")
    # If the limitation vanishes, `float64_unsupported_reason` is out of date.
    rounded = found["float64", "float64"]
    assert rounded["status"] == "skipped"
    assert f"on {backend} computes parts of a float64 model in float32" in rounded["reason"]
    assert rounded["value"] > rounded["limit"]


@pytest.mark.full
def test_tensorflow_and_pytorch_in_every_mode():
    report = verify(TINY, keras_backend="tensorflow", every_mode=True)
    assert report.passed
    unproven = {(v.check, v.dtype, v.engine) for v in report.skipped if "cuda" not in v.engine}
    modes = ("graph", "eager")
    assert unproven <= {("exact", "float32", f"keras tensorflow {mode}") for mode in modes}
    assert {verdict.engine for verdict in report.verdicts if "cuda" not in verdict.engine} == {
        "torch nchw",
        "torch channels_last",
        "torch compile",
        "keras tensorflow eager",
        "keras tensorflow graph",
        "keras tensorflow xla",
    }
