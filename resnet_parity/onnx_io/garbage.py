"""Memory that Keras' exporter leaves to Python's garbage collector, taken back in time."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected() -> Iterator[None]:
    """Collect garbage before each of tf2onnx's optimisers, and at the end.

    Each works on a copy of the whole graph, and the copies before it wait in cycles. Python looks
    for cycles when there are many objects, and these are few, of megabytes each: resnet34, of 87
    megabytes, took 6.3 gigabytes to export, and so takes 2.9. What tf2onnx logs before each copy is
    the one place where it lets others in. What was there before is not looked through each time.
    """

    def collect(record: logging.LogRecord) -> bool:
        gc.collect()
        return False  # and say nothing

    logger = logging.getLogger("tf2onnx.optimizer")
    level = logger.level
    logger.addFilter(collect)
    logger.setLevel(1)  # or what is logged there would not be filtered
    gc.collect()
    if is_first := not gc.get_freeze_count():  # else somebody else has set something aside
        gc.freeze()
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeFilter(collect)
        if is_first:
            gc.unfreeze()
        gc.collect()
