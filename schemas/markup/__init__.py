"""Qwen-VL's text interface: an example as one text with tags, and back.

`render` writes, `parse` reads what `render` wrote (or refuses), `parse_lenient` reads what a model wrote.
Formats: arXiv 2308.12966, appendix B; the published finetune script for ChatML.
"""

from schemas.markup.parse import Lenient, Parsed, parse, parse_lenient
from schemas.markup.reader import PROBLEMS, MarkupError, Problem
from schemas.markup.render import canonical, render
from schemas.markup.style import EVALUATION, STAGE1, STAGE2, TEMPLATES, Style
from schemas.markup.tags import (
    GRID,
    ImagePlace,
    Piece,
    Rendered,
    Size,
    Span,
    dequantise,
    escape,
    quantise,
    unescape,
)

__all__ = [
    "EVALUATION",
    "GRID",
    "PROBLEMS",
    "STAGE1",
    "STAGE2",
    "TEMPLATES",
    "ImagePlace",
    "Lenient",
    "MarkupError",
    "Parsed",
    "Piece",
    "Problem",
    "Rendered",
    "Size",
    "Span",
    "Style",
    "canonical",
    "dequantise",
    "escape",
    "parse",
    "parse_lenient",
    "quantise",
    "render",
    "unescape",
]
