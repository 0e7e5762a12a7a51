"""The words in pictures: in the language of the process where a font has its glyphs, else in English."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any

import matplotlib as mpl

from .texts import LANGUAGES, current_language, label

__all__ = ["CJK_FONTS", "cjk_font", "drawn", "figure_language", "use_font"]

CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Heiti SC",
    "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP",
    "Noto Sans CJK TC", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip
"""Fonts with Chinese glyphs, the simplified ones first: of a collection, matplotlib may know only the first face."""
_PLAIN = "DejaVu Sans"  # comes with matplotlib


@cache
def cjk_font() -> str | None:
    """The first of :data:`CJK_FONTS` that is installed, also where matplotlib's list of fonts is older than it."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    def listed() -> str | None:
        names = {font.name for font in fontManager.ttflist}
        return next((name for name in CJK_FONTS if name in names), None)

    if listed() is None:  # the list is a file that matplotlib wrote once: a font installed since is not in it
        for path in sorted(set(findSystemFonts()) - {font.fname for font in fontManager.ttflist}):
            with suppress(Exception):  # as matplotlib does: a file that it cannot read takes no other font away
                fontManager.addfont(path)
    return listed()


def figure_language() -> str:
    """The language that pictures can be lettered in: that of the process, or English when no font has its glyphs."""
    lang = current_language()
    return lang if lang == LANGUAGES[0] or cjk_font() is not None else LANGUAGES[0]


def drawn(text: Any) -> Any:
    """A title, a name or a label as a picture shows it."""
    return label(text, figure_language())


def use_font() -> None:
    """Let every picture made from now on fall back to a Chinese font where its own has no glyph, if it needs one."""
    family = list(mpl.rcParams["font.family"])
    if figure_language() != LANGUAGES[0]:
        mpl.rcParams["font.family"] = [_PLAIN, cjk_font()]
    elif family[0] == _PLAIN and family[1:] == [cjk_font()]:  # what this function set; else no font is looked for
        mpl.rcParams["font.family"] = mpl.rcParamsDefault["font.family"]
