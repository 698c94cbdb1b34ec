"""Captions of a few characters that say something all the same: 고양이, ラーメン, แมว, 木耳, 碗 1."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import regex  # type: ignore[import-untyped]

from filters.chunks import chinese

MIN_LETTERS: Final = {
    **dict.fromkeys(("Hangul", "Hiragana", "Katakana"), 2),
    **dict.fromkeys(("Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Ethiopic"), 2),
    **dict.fromkeys(("Devanagari", "Bengali", "Gujarati", "Gurmukhi", "Oriya"), 2),
    **dict.fromkeys(("Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala"), 2),
    **dict.fromkeys(("Arabic", "Hebrew", "Syriac", "Thaana"), 3),
}
"""Scripts that write a word in a few letters (marks not counted), and how many of them are enough."""

_HAN: Final = 3
"""So many Han characters are enough where the recipe does not say."""
_NOTHING: Final = {
    "左边", "右边", "左侧", "右侧", "左右", "上下", "中央", "其他",
    "以上", "以下", "画面", "背景", "前景", "场景", "图像", "图片",
    "照片", "相片", "格子", "条纹", "圆点", "渐变", "斑驳",
}  # fmt: skip
"""Nouns that point into an image, to the image itself, or to the pattern of a ground."""
_GAPS: Final = regex.compile(r"[\s\p{P}\p{S}]+")


def says_enough(
    caption: str, letters: Mapping[str, int], min_han: int | None, least: Mapping[str, int]
) -> bool:
    """Returns whether a short caption has enough letters of the scripts that write a word in few of them.

    `letters` are counted by script, and `least` are so many that are enough alone: half of them of one script
    and half of another are enough too (お茶). Without `min_han`, a Chinese noun and one character or number more
    is enough, but not what only points or counts (这张, 图中).
    """
    enough = {**least, "Han": min_han or _HAN}
    parts = (Fraction(count, enough[script]) for script, count in letters.items() if script in enough)
    return sum(parts) >= 1 or (min_han is None and _names(caption))


def _names(caption: str) -> bool:
    """Returns whether a caption is one Chinese noun chunk of two characters or more."""
    text = _GAPS.sub("", caption)
    whole: Any = [(0, len(text))]
    return len(text) >= 2 and text not in _NOTHING and chinese(text) == whole
