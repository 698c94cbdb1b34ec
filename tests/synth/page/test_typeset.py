"""Text stands where its bounds say, in every direction."""

from itertools import pairwise
from pathlib import Path

import pytest

from schemas.errors import InputError
from synth.page import fonts, typeset
from synth.page.layout import Block, Box, Cell
from synth.seeds import generator
from synth.text import Reader
from tests import needs
from tests.synth.page.made_fonts import font

BLOCK = Block(0.0, (Box(Cell(20, 10, 300, 40, "left"), 1.0, (0, 0, 0)),))


def _line(face: fonts.Face, text: str, direction: str) -> typeset.Line:
    setter = typeset.Setter([face], direction, True, document=(400, 500))
    return next(setter.lines([BLOCK], Reader((text,), generator(1, "typeset"))))


@pytest.fixture
def made(tmp_path: Path) -> fonts.Face:
    """The only face of a made font."""
    font(tmp_path / "made.ttf")
    return fonts.find(tmp_path).faces[0]


def test_characters_follow_each_other(made: fonts.Face) -> None:
    """Along a line no character begins before the one before it, and all lie within their word."""
    for word in _line(made, "quick brown fox", "ltr").words:
        lefts = [bounds[0] for _, bounds in word.characters]
        assert lefts == sorted(lefts)
        assert word.bounds[0] <= lefts[0]
        assert all(bounds[2] <= word.bounds[2] for _, bounds in word.characters)


@pytest.mark.skipif(fonts.shaping() != "raqm", reason="columns need raqm")
def test_columns_keep_every_character_in_its_square() -> None:
    """Set vertically, each character, stops too, lies in a square of its own below the one before, in any font."""
    for face in needs.fonts("zh").for_text("清晨六点，船离开。", "zh"):
        line = _line(face, "清晨六点，第一班船离开。", "vertical")
        bounds = [place for word in line.words for _, place in word.characters]
        assert len(bounds) > 4
        tops = [word.pieces[0].bounds[1] for word in line.words]
        assert tops == sorted(tops)
        for upper, lower in pairwise(bounds):
            assert upper[3] <= lower[1] + 0.2 * line.size, face.identity.name


def test_the_direction_of_a_language_is_its_own() -> None:
    """`auto` is right to left for Arabic; a direction that is none is refused."""
    assert typeset.direction("auto", "en") == "ltr"
    if fonts.shaping() == "raqm":
        assert typeset.direction("auto", "ar") == "rtl"
    with pytest.raises(InputError, match="ltr, rtl, vertical"):
        typeset.direction("up", "en")
