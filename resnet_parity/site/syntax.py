"""What the pages and the provenance of results ask of Python's syntax trees."""

from __future__ import annotations

import ast
from typing import Any


def is_text(node: Any) -> bool:
    """A text that stands by itself: a docstring, or what is said under a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
