"""The processes that `torchrun` starts: all run the same command, and the first one reports."""

from __future__ import annotations

import os
from time import sleep

_PATIENCE = 10.0
"""The seconds that another process leaves the first one to report an error that both have."""


def process() -> int:
    """The number of this process among those that `torchrun` started; 0 without it."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def processes() -> int:
    """The number of processes that `torchrun` started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def let_first_report() -> None:
    """Wait in any process but the first: `torchrun` ends it once the first one has failed.

    So what all processes find is reported once, and what one alone finds is reported too.
    """
    if process():
        sleep(_PATIENCE)
