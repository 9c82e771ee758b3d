"""The exit codes of the command: `--help` prints them, and `docs/commands.md` holds them."""

from __future__ import annotations

EXIT_CODES = {
    "0": "the command did what was asked, and no check failed",
    "1": "a check failed, or models or files are not the same; see the commands below",
    "2": "wrong usage or bad input; the message names the fix",
    "3": "an optional package is not installed; the message has the line that installs it",
    "70": "a fault of resnet-parity itself; --traceback shows where",
    "128 + n": "ended by signal n: 130 is Ctrl-C, 141 a closed pipe before the last result",
}

FAILURES = {
    "verify": "a check fails, or the only requested check passes in no mode of an implementation",
    "lockstep": "a step of training differs by more than the limit",
    "evaluate": "with --framework both, a photograph gets another class in each framework",
    "predict": "with --framework both, a photograph gets another class or map in each framework",
    "vectors": "with --verify, a hash differs",
    "matrix": "a check fails",
    "convert": "the written file does not compute what was read; nothing is kept",
    "diagnose": "the models differ",
    "export": "the graph does not pass its checks; no file is written",
    "inspect": "the graph of the ResNet is not canonical",
    "onnx-compare": "a check fails",
    "import": "the graph does not pass its checks; no file is written",
    "eject": "a file does not compute what this project does; nothing is written",
}
"""When a command exits with 1; the others never do."""


def help_text() -> str:
    """Both tables for the help of the command."""
    lines = ["exit codes:", *(f"  {code:<7}  {text}" for code, text in EXIT_CODES.items())]
    lines += ["", "exit code 1:", *(f"  {name:<12}  {text}" for name, text in FAILURES.items())]
    return "\n".join(lines)
