"""Fonts are known by what they can draw, not by what they promise or where they lie."""

from pathlib import Path

import pytest

from schemas.errors import InputError
from synth.page import fonts
from tests.synth.page.made_fonts import font


def test_a_face_is_named_by_its_content(tmp_path: Path) -> None:
    """The same file in two folders is one font: name, version and digest say so, and no path does."""
    (tmp_path / "a").mkdir()
    font(tmp_path / "a" / "one.ttf")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "other.ttf").write_bytes((tmp_path / "a" / "one.ttf").read_bytes())
    found = fonts.find(tmp_path)
    assert [face.identity.name for face in found.faces] == ["Test"]
    assert found.faces[0].identity.version.endswith("1.5")
    assert found.faces[0].identity == fonts.find(tmp_path / "b").faces[0].identity


def test_the_order_of_faces_is_not_that_of_paths(tmp_path: Path) -> None:
    """Renaming files leaves the order of faces as it was."""
    for folder, names in (("x", ("1.ttf", "2.ttf")), ("y", ("2.ttf", "1.ttf"))):
        (tmp_path / folder).mkdir()
        for name, title in zip(names, ("Alpha", "Beta"), strict=True):
            font(tmp_path / folder / name, name=title)
    first, second = (fonts.find(tmp_path / folder).faces for folder in "xy")
    assert [face.identity.name for face in first] == ["Alpha", "Beta"]
    assert [face.identity.name for face in second] == ["Alpha", "Beta"]


def test_a_font_that_lies_is_found_out(tmp_path: Path) -> None:
    """A character that the map has but that draws nothing, or the box of missing ones, is not covered."""
    font(tmp_path / "liar.ttf", blank="k", tofu="q")
    face = fonts.find(tmp_path).faces[0]
    assert face.covers("abc xyz")
    assert not face.covers("k")
    assert not face.covers("q")
    assert not face.covers("é")


def test_files_of_no_use_are_passed_over(tmp_path: Path) -> None:
    """Damaged and hair-thin fonts are passed over; the rest serves."""
    good = font(tmp_path / "good.ttf").read_bytes()
    font(tmp_path / "thin.ttf", weight=100)
    (tmp_path / "cut.ttf").write_bytes(good[: len(good) // 2])
    (tmp_path / "noise.otf").write_bytes(b"OTTO" + bytes(range(256)) * 4)
    (tmp_path / "empty.ttc").write_bytes(b"")
    (tmp_path / "many.ttc").write_bytes(b"ttcf\x00\x01\x00\x00\xff\xff\xff\xff")
    found = fonts.find(tmp_path)
    assert len(found.faces) == 1


def test_no_font_for_a_script_is_one_clear_sentence(tmp_path: Path) -> None:
    """Text that no font covers, a folder without fonts and no folder at all are errors with a remedy."""
    with pytest.raises(InputError, match="no font"):
        fonts.find(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        fonts.find(tmp_path / "missing")
    font(tmp_path / "latin.ttf")
    for text, language, said in (
        ("清晨六点", "zh", "write Han, the script of language zh: apt-get install fonts-noto-cjk"),
        ("Χαίρετε", "el", "write Greek, the script of language el: apt-get install fonts-dejavu"),
        ("สวัสดี", "th", "write Thai, the script of language th: apt-get install fonts-noto-core"),
    ):
        with pytest.raises(InputError, match=said):
            fonts.find(tmp_path).for_text(text, language)


def test_a_font_of_boxes_is_no_font(tmp_path: Path) -> None:
    """A font whose letters are all empty, all the box for missing ones, or all one shape writes nothing."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for name in ("blank", "tofu", "alike"):
        (tmp_path / name).mkdir()
    font(tmp_path / "blank" / "liar.ttf", blank=letters)
    font(tmp_path / "tofu" / "liar.ttf", tofu=letters)
    font(tmp_path / "alike" / "liar.ttf", alike=letters)
    for name in ("blank", "tofu", "alike"):
        with pytest.raises(InputError, match="none of 1 fonts can write Latin"):
            fonts.find(tmp_path / name).for_text("the quick brown fox jumps", "en")


def test_letters_that_share_a_shape_are_not_drawn(tmp_path: Path) -> None:
    """Where some letters are one box that is not the font's own, those are not covered, the others are."""
    font(tmp_path / "liar.ttf", alike="vwxyz")
    (face,) = fonts.find(tmp_path).for_text("abcdefghijklmnopqrstuvwxyz", "en")
    assert face.covers("quick")
    assert not any(face.covers(letter) for letter in "vwxyz")
