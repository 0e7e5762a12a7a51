"""Markdown of the notebooks as HTML: everything escaped, formulas as MathML, which needs no script."""

from __future__ import annotations

import re
from html import escape, unescape

import mistune
from latex2mathml.converter import convert

__all__ = ["headings", "slug", "to_html"]


def slug(text: str) -> str:
    """A heading as the name of an anchor; the prefix keeps it apart from the page's own."""
    return "s-" + re.sub(r"\W+", "-", text.lower()).strip("-")


def _plain(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html))


class _Renderer(mistune.HTMLRenderer):
    def __init__(self) -> None:
        super().__init__(escape=True)

    def heading(self, text: str, level: int, **attributes: object) -> str:
        return f'<h{level} id="{escape(slug(_plain(text)))}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        return f'<div class="scroll" tabindex="0"><table>\n{text}</table></div>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"<em>{escape(text)}</em>"  # a page requests nothing: pictures come from results, not from links

    def inline_math(self, text: str) -> str:
        return _mathml(text, "inline")

    def block_math(self, text: str) -> str:
        return f'<div class="formula" tabindex="0">{_mathml(text, "block")}</div>\n'


def _mathml(latex: str, display: str) -> str:
    try:
        return convert(latex, display=display)
    except Exception:  # the converter raises many kinds; a formula it cannot read stays readable as it was written
        return f"<code>{escape(latex)}</code>"


def _math(markdown: mistune.Markdown) -> None:
    from mistune.plugins.math import math

    renderer = markdown.renderer
    inline, block = renderer.inline_math, renderer.block_math
    math(markdown)  # registers renderers of its own, which leave the formula to a script
    renderer.register("inline_math", lambda _, text: inline(text))
    renderer.register("block_math", lambda _, text: block(text))


_markdown = mistune.create_markdown(renderer=_Renderer(), plugins=["table", "strikethrough", _math])


def to_html(source: str) -> str:
    """Markdown as HTML; markup in the source shows as text."""
    return str(_markdown(source))


def headings(source: str) -> list[tuple[int, str, str]]:
    """(level, text, anchor) of every heading, in order; headings inside code fences are none."""
    found = re.findall(r'<h([1-6]) id="([^"]*)">(.*?)</h\1>', to_html(source))
    return [(int(level), _plain(text), anchor) for level, anchor, text in found]
