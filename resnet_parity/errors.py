"""The errors that the command reports, each with its documented exit code."""

from __future__ import annotations


class ParityError(Exception):
    """A mistake or a limit that the user can act on; the message says how."""

    exit_code = 2


class ProbeError(ParityError):
    """A probe cannot exist: its numbers would overflow, or the size does not suit the net."""


class ImageError(ParityError):
    """A photograph cannot be read."""


class MissingFrameworkError(ParityError):
    """An optional framework is not installed; the message has the install line."""

    exit_code = 3
