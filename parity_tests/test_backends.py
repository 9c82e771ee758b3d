"""Keras' three backends, each in a process of its own, through the command."""

from __future__ import annotations

import json

import pytest

from parity_tests.support import command


def verify(name: str, backend: str, *arguments: str) -> tuple[int, dict]:
    result = command("verify", name, "--keras-backend", backend, "--json", *arguments)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_every_rung(name, backend):
    """Exact and float32 hold; float64 says that it cannot, and why."""
    code, report = verify(name, backend)
    assert code == 0
    assert report["passed"]
    assert backend in report["versions"]
    statuses = {
        (verdict["rung"], verdict["dtype"]): verdict
        for verdict in report["verdicts"]
        if verdict["engine"].startswith("keras")
    }
    assert len(statuses) == 4
    assert statuses["exact", "float32"]["status"] == "pass"
    assert statuses["exact", "float32"]["differing"] == 0
    assert statuses["float32", "float32"]["status"] == "pass"
    # A limitation that vanished should be noticed: then the row of `float64_obstacle` can go.
    rounded = statuses["float64", "float64"]
    assert rounded["status"] == "cannot"
    assert f"on {backend} computes parts of a float64 model in float32" in rounded["reason"]
    assert rounded["value"] > rounded["limit"]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_rung_named_alone_must_hold(backend):
    code, report = verify("resnet18", backend, "--rung", "float64", "--size", "32x48")
    assert (code, report["passed"]) == (1, False)


def test_tensorflow_in_every_mode():
    code, report = verify("resnet18", "tensorflow", "--every-mode", "--size", "32x64")
    assert code == 0
    engines = {verdict["engine"] for verdict in report["verdicts"]}
    assert engines == {
        "torch nchw",
        "torch channels_last",
        "keras tensorflow eager",
        "keras tensorflow graph",
        "keras tensorflow xla",
    }
