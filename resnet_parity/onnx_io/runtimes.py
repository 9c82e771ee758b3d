"""Run a graph in ONNX Runtime at each optimization level, ONNX's reference, or OpenVINO.

Each gets the bytes of a graph, never a path, and images in the layout that the graph takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from resnet_parity.adapters.loading import require
from resnet_parity.errors import MissingFrameworkError, ParityError

ORT_LEVELS = {
    "ort disabled": "ORT_DISABLE_ALL",
    "ort basic": "ORT_ENABLE_BASIC",
    "ort extended": "ORT_ENABLE_EXTENDED",
    "ort all": "ORT_ENABLE_ALL",
}
RUNTIMES = (*ORT_LEVELS, "reference", "openvino")

Run = Callable[[np.ndarray], list[np.ndarray]]
"""A function from images to the outputs of a graph."""


def unsupported_reason(runtime: str) -> str | None:
    """Why a runtime is not available here; None if it is."""
    try:
        require("openvino" if runtime == "openvino" else "onnxruntime")
    except MissingFrameworkError as error:
        return str(error)
    return None


def versions() -> dict[str, str]:
    """The versions of the installed packages, by name."""
    names = ("onnx", "onnxruntime", "onnxscript", "openvino")
    return {name: import_module(name).__version__ for name in names if find_spec(name)}


def start(runtime: str, content: bytes) -> Run:
    """Parse and compile a graph once, and return a function that runs it.

    Both raise `ParityError` where the runtime fails.
    """
    with _failures_reported(runtime):
        if runtime in ORT_LEVELS:
            run = _onnxruntime(ORT_LEVELS[runtime], content)
        else:
            run = {"reference": _reference, "openvino": _openvino}[runtime](content)

    def run_reporting(image: np.ndarray) -> list[np.ndarray]:
        with _failures_reported(runtime):
            return run(image)

    return run_reporting


@contextmanager
def _failures_reported(runtime: str) -> Iterator[None]:
    """Raise `ParityError` for any error, because the runtimes' errors share no base class."""
    try:
        yield
    except Exception as error:
        line = str(error).strip().partition("\n")[0][:300]
        raise ParityError(f"{runtime} cannot run the graph: {line}") from error


def _onnxruntime(level: str, content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4  # errors are raised, too
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (image,) = (value.name for value in session.get_inputs())
    return lambda array: list(map(np.asarray, session.run(None, {image: array})))


def _reference(content: bytes) -> Run:
    from onnx import load_model_from_string
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(load_model_from_string(content))
    (image,) = map(str, evaluator.input_names)
    return lambda array: [np.asarray(value) for value in evaluator.run(None, {image: array})]


def _openvino(content: bytes) -> Run:
    import openvino

    # The default precision is narrower on some CPUs.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled: Any = openvino.compile_model(openvino.Core().read_model(content, b""), "CPU", options)
    return lambda array: [np.array(value) for value in compiled(array).values()]
