"""Fonts made on the spot, so that tests need none from the system."""

from pathlib import Path
from typing import Any

from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]

BOX = ((100, 0), (100, 700), (400, 700), (400, 0))


def glyph(points: tuple[tuple[int, int], ...] = ()) -> Any:
    """A glyph of one outline, or an empty one."""
    pen = TTGlyphPen(None)
    for at, point in enumerate(points):
        (pen.lineTo if at else pen.moveTo)(point)
    if points:
        pen.closePath()
    return pen.glyph()


def font(
    path: Path,
    *,
    name: str = "Test",
    version: str = "1.5",
    weight: int = 400,
    blank: str = "",
    tofu: str = "",
    alike: str = "",
) -> Path:
    """A font of the letters a to z and space; `blank` letters show nothing, `tofu` ones the missing box,
    `alike` ones another box."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    missing = glyph(((50, 0), (50, 800), (450, 800), (450, 0)))
    shapes = {
        letter: glyph(((100, 0), (100 + 9 * at, 700), (400, 700 - 11 * at), (350, 0)))
        for at, letter in enumerate(letters)
    }
    shapes |= dict.fromkeys(blank, glyph()) | dict.fromkeys(tofu, missing) | dict.fromkeys(alike, glyph(BOX))
    glyphs = {".notdef": missing, "space": glyph(), **shapes}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({32: "space"} | {ord(letter): letter for letter in letters})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (500, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    names = {"familyName": name, "styleName": "Regular", "fullName": name, "version": version}
    builder.setupNameTable(names)
    builder.setupOS2(usWeightClass=weight)
    builder.setupPost()
    builder.save(path)
    return path
