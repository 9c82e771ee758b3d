"""The memory that a training frees, kept for its next step."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, where glibc has the option, else do nothing.

    By default large blocks go back to the system, and each step waits for empty pages again
    (https://man7.org/linux/man-pages/man3/mallopt.3.html). In Python 3.11 TensorFlow even sets the
    limit to 128 KiB when it makes its first dataset from a generator, such as one of Keras.
    """
    with suppress(OSError, TypeError, AttributeError):  # no C library to ask, or none of GNU
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, -1)
