"""What can go wrong, each with the exit code that the command documents."""

from __future__ import annotations


class ParityError(Exception):
    """A mistake or a limit that the user can do something about; the message says what."""

    exit_code = 2


class ProbeError(ParityError):
    """A probe that cannot exist: it would overflow, or the size does not suit the net."""


class ImageError(ParityError):
    """A photograph that cannot be read."""


class MissingFrameworkError(ParityError):
    """An optional framework that is not installed."""

    exit_code = 3
