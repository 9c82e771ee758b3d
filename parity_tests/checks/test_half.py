"""The half check: both implementations in bfloat16 and float16, compared with PyTorch's error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resnet_spec import outputs

from parity_tests.support import EVERYTHING, KINDS, TINY, engines, quick_engines, random
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import Engine
from resnet_parity.checks.half import DTYPES, is_refusal
from resnet_parity.cli.options import console
from resnet_parity.probes import random_probe
from resnet_parity.reports.verify import VerdictLines
from resnet_parity.tolerances import limit
from resnet_parity.verify import verify


@pytest.mark.parametrize("name", [EVERYTHING.name, *(arch.name for arch in KINDS)])
def test_every_engine_stays_near_the_noise_floor(name):
    verdicts = list(run_check("half", random(name, "float32"), quick_engines("half", "float32")))
    assert [(v.dtype, v.status) for v in verdicts] == [(d, "pass") for d in DTYPES for _ in "123"]
    for verdict in verdicts:
        assert [row.name for row in verdict.rows] == ["logits"]
        assert 0 < verdict.value <= verdict.limit
    # A mode that stayed in float32 would err by 1e-7.
    assert all(v.value > limit("half", f"least noise floor in {v.dtype}") / 8 for v in verdicts)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"out_indices": (1, 2)}])
def test_a_backbone(options):
    arch = replace(TINY, **options)
    probe = random_probe(arch, 0, "float32")
    for verdict in run_check("half", probe, quick_engines("half", "float32")):
        assert verdict.status == "pass"
        assert [row.name for row in verdict.rows] == list(outputs(arch))


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "seresnet50", "resnetv2_50", "plain56"])
def test_architectures_in_every_mode(name):
    for verdict in run_check("half", random(name, "float32"), engines()):
        assert verdict.status == "pass", verdict.figure


def test_numbers_beyond_float16_are_skipped():
    """The feature maps of a deep network exceed it; bfloat16 has the range of float32."""
    probe = random("resnet110", "float32")
    verdicts = list(run_check("half", probe, engines(every_mode=False)[:2]))
    assert [v.status for v in verdicts] == ["pass", "pass", "skipped", "skipped"]
    assert "float16 ends at 65,504" in verdicts[-1].reason


class Answering:
    """An adapter that returns the given logits, or raises the given error."""

    def __init__(self, answer) -> None:
        self._answer = answer

    def unsupported_reason(self, mode, check):
        return None

    def mixed_precision(self, *arguments):
        if isinstance(self._answer, Exception):
            raise self._answer
        return {"logits": self._answer}


def beside_torch(answer) -> tuple[Engine, ...]:
    other = Engine("other", Answering(answer), "eager")  # pyright: ignore[reportArgumentType]
    return (*engines(every_mode=False)[:2], other)


@pytest.mark.parametrize(("share", "status"), [(2.9, "pass"), (3.1, "fail")])
def test_three_noise_floors_are_the_limit(share, status):
    probe = random(TINY.name, "float32")
    want = probe.expected["logits"]
    first = list(run_check("half", probe, engines(every_mode=False)[:2]))[:2]
    noise_floor = max(
        limit("half", "least noise floor in bfloat16"), *(verdict.value for verdict in first)
    )
    size = max(np.linalg.norm(want), probe.scales.get("logits", 0.0))
    wrong = want + share * noise_floor * size / np.sqrt(want.size)
    verdict = list(run_check("half", probe, beside_torch(wrong)))[2]
    assert (verdict.engine, verdict.status) == ("other", status)
    assert f"{share:.2f}x noise floor" in verdict.figure


@pytest.mark.parametrize("answer", [np.full((2, 10), np.nan), np.zeros((2, 11))])
def test_nan_and_a_wrong_shape_fail(answer):
    assert (
        list(run_check("half", random(TINY.name, "float32"), beside_torch(answer)))[2].status
        == "fail"
    )


def test_a_pytorch_that_errs_too_much_sets_no_noise_floor():
    probe = random(TINY.name, "float32")
    framework = Answering(1.1 * probe.expected["logits"])
    other = [Engine("torch", framework, "nchw"), Engine("keras", framework, "eager")]  # pyright: ignore
    assert {verdict.status for verdict in run_check("half", probe, tuple(other))} == {"fail"}


def test_a_refusal_is_skipped_with_its_message():
    message = "\"slow_conv2d_cpu\" not implemented for\n'Half'"
    engines = beside_torch(RuntimeError(message))
    verdict = list(run_check("half", random(TINY.name, "float32"), engines))[2]
    assert (verdict.status, verdict.reason) == ("skipped", " ".join(message.split()))


def test_any_other_error_is_raised():
    assert is_refusal(NotImplementedError("so"))
    assert not is_refusal(ValueError("shapes do not match"))
    with pytest.raises(ValueError, match="shapes"):
        list(run_check("half", random(TINY.name, "float32"), beside_torch(ValueError("shapes"))))


def test_verify_takes_the_check(capsys):
    lines = VerdictLines(TINY, 0)
    report = verify(TINY, checks=("half",), found=lambda each: lines.add(console(), each))
    printed = capsys.readouterr().out
    assert all(dtype in printed for dtype in DTYPES), "the rows name their dtype"
    assert report.passed
    assert [v.dtype for v in report.verdicts] == ["bfloat16"] * 3 + ["float16"] * 3
    assert len({v.engine for v in report.verdicts}) == 3
