"""Text of untrusted files, such as the names of tensors, as a terminal may show it."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Escape, as `repr` does, every character that does not print; those in `keep` stay.

    Control characters would move the cursor or send commands to a terminal, line breaks would
    forge further lines, and bidirectional marks would reorder a line.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )
