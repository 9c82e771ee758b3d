"""Renders templates with the values that all pages share."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from resnet_parity.site.chapters import CHAPTERS, DESCRIPTION, KEYS, MORE
from resnet_parity.site.definitions import FRAMEWORKS
from resnet_parity.site.markdown import documents

_PAGES = [*((chapter.id, chapter.title) for chapter in CHAPTERS), *MORE]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = _prose
    return environment


def _prose(text: str) -> Markup:
    """Escape a text and turn backticks into code elements."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def render(template: str, *, title: str, page: str = "", root: str = "", **values: Any) -> str:
    """Return a page; `root` is the relative path from it to the root of the site."""
    more = ((each.id, each.title) for each in documents())
    names = dict([("index", "Contents"), *_PAGES, *more])
    ids = list(names)
    place = ids.index(page) if page in ids else None
    before = None if not place else ids[place - 1]
    after = None if place is None or page == ids[-1] else ids[place + 1]
    return (
        _environment()
        .get_template(f"{template}.html")
        .render(
            title=title,
            page=page,
            root=root,
            pages=_PAGES,
            description=DESCRIPTION,
            before=before and (before, names[before]),
            after=after and (after, names[after]),
            FRAMEWORKS=FRAMEWORKS,
            keys=KEYS,
            **values,
        )
    )
