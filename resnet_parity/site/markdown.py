"""Reads the Markdown documents: their order, titles and headings, and their HTML for the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from resnet_parity.site.colour import coloured_text
from resnet_parity.site.results import BESIDE, ROOT

INDEX = "docs/index.md"

_GENERATED = re.compile(r"<!-- .*? -->\n?")


@dataclass(frozen=True)
class Document:
    """A Markdown file, with the path of its page in the site, its title and its headings.

    A heading is its level, its anchor and its text.
    """

    file: str
    page: str
    title: str
    headings: tuple[tuple[int, str, str], ...]

    @property
    def id(self) -> str:
        return self.page.removesuffix(".html")


@cache
def documents() -> tuple[Document, ...]:
    """Return the documents in the order of `docs/index.md`, then those outside of `docs`."""
    names = re.findall(r"\]\((\w+\.md)\)", _text(INDEX))
    return tuple(map(_document, (INDEX, *(f"docs/{name}" for name in names), *BESIDE)))


def _document(file: str) -> Document:
    name = posixpath.basename(file).removesuffix(".md").lower()
    found = _headings(_parse(_text(file)))
    headings = tuple((int(token.tag[1]), slug(text), text) for token, text in found)
    return Document(file, f"docs/{name}.html", headings[0][2], headings)


def _text(file: str) -> str:
    """The text of a document without the comments around generated tables."""
    return _GENERATED.sub("", (ROOT / file).read_text(encoding="utf-8"))


def _parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": False}).enable("table").parse(text)


def _headings(tokens: Sequence[Token]) -> Iterator[tuple[Token, str]]:
    """Yield the opening token of each heading, and its text."""
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            yield token, re.sub(r"[`*]", "", inline.content)


def slug(heading: str) -> str:
    """Return the anchor that public forges give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def html(document: Document) -> str:
    """Return the HTML of a document below its title."""
    tokens = _parse(_text(document.file))
    for heading, text in _headings(tokens):
        heading.attrSet("id", slug(text))
    pages = {each.file: each.page for each in documents()}
    for token in tokens:
        if token.type == "inline":
            token.children = _relinked(token.children or [], document, pages)
    end = next(i for i, token in enumerate(tokens) if token.type == "heading_close")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)
    return markdown.renderer.render(tokens[end + 1 :], markdown.options, {})


def _relinked(tokens: Sequence[Token], document: Document, pages: dict[str, str]) -> list[Token]:
    """Point links at pages of the site; a file without a page is named without a link.

    Screenshots are left out, because the site shows what they picture; drawings (SVG) stay.
    """
    found: list[Token] = []
    linked = True
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrGet("href") or "")
            new = _target(target, document, pages)
            linked = new is not None
            if new is not None:
                token.attrSet("href", new)
        is_screenshot = token.type == "image" and not str(token.attrGet("src")).endswith(".svg")
        if is_screenshot or (token.type.startswith("link_") and not linked):
            continue
        found.append(token)
    return found


def _target(target: str, document: Document, pages: dict[str, str]) -> str | None:
    """The link on a page of the site for a link in a document; None if there is none."""
    if target.startswith(("https://", "http://", "#")):
        return target
    path, _, anchor = target.partition("#")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(document.file), path))
    page = pages.get(file)
    return page and posixpath.basename(page) + (anchor and f"#{anchor}")


def _fence(self: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    """A block of code, with a button that copies it."""
    token = tokens[index]
    text = token.content.rstrip("\n")
    lines = coloured_text(text) if token.info == "python" else _plain(text)
    body = "\n".join(f'<span class="line"><code>{line or " "}</code></span>' for line in lines)
    button = '<button type="button" class="copy" aria-label="Copy the code">copy</button>'
    return f'<pre class="side">{button}\n{body}\n</pre>\n'


def _plain(text: str) -> list[str]:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.split("\n")


def _table_open(*_: object) -> str:
    return '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>\n'


def _table_close(*_: object) -> str:
    return "</table></div>\n"
