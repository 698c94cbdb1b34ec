"""Pages say what they show, where they show it, and say so again whenever they are asked."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filters.text_area import text_mask
from schemas.errors import InputError
from synth.page import fonts
from synth.page.layout import DEFAULT, draw
from synth.page.maker import Page, PageMaker, PageSettings
from synth.seeds import generator
from tests import needs
from tests.synth.page.made_fonts import font

LATIN = ("the quick brown fox jumps over the lazy dog and then sleeps in the sun until noon",)
Make = Callable[..., PageMaker]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makers whose only font is a made one, so that any machine can run them."""
    font(tmp_path / "made.ttf")

    def maker(**options: object) -> PageMaker:
        settings = PageSettings(seed=1, language="en")
        return PageMaker(replace(settings, **options), LATIN, found=fonts.find(tmp_path))  # type: ignore[arg-type]

    return maker


def _maker(language: str, direction: str = "auto") -> PageMaker:
    """Returns a maker of pages with the system's fonts."""
    found = needs.fonts(language)
    return PageMaker(PageSettings(1, language, direction=direction, characters=True), found=found)


def _dark_outside(page: Page, level: int) -> int:
    """How many pixels darker than `level` no line's quad holds."""
    grey = np.asarray(Image.open(BytesIO(page.image)).convert("L"))
    inside = text_mask([line.quad for line in page.lines], page.width, page.height)
    return int(((grey < level) & ~inside).sum())


def test_a_page_is_a_function_of_its_index(make: Make) -> None:
    """Whoever makes page 3, after whatever other pages, makes the same bytes and the same truth."""
    first, second = make(), make()
    wanted = first.page(3)
    for index in (9, 0, 5):
        second.page(index)
    assert second.page(3) == wanted
    assert second.page(4) != wanted


def test_every_quad_lies_within_the_page(make: Make) -> None:
    """Lines, words and characters alike, over pages of both settings."""
    for setting in ("default", "mild"):
        maker = make(setting=setting, characters=True)
        for index in range(8):
            page = maker.page(index)
            assert page.lines
            regions = [*page.lines, *(word for line in page.lines for word in line.words)]
            letters = [letter for line in page.lines for word in line.words for letter in word.characters]
            assert letters
            for region in (*regions, *letters):
                assert region.text.strip()
                assert all(0 <= x <= page.width and 0 <= y <= page.height for x, y in region.quad)


def test_lines_words_and_characters_say_the_same(make: Make) -> None:
    """A line is its words with spaces between them; a word is its characters."""
    page = make(characters=True).page(0)
    for line in page.lines:
        assert line.text == " ".join(word.text for word in line.words)
        for word in line.words:
            assert word.text == "".join(letter.text for letter in word.characters)


def test_all_ink_lies_within_the_quads(make: Make) -> None:
    """On a sheet that fills the page and stays as bright as paper, what is dark is text, and told of."""
    maker = make()
    plain = replace(
        DEFAULT,
        full_screen=1,
        margin=(0.03, 0.1),
        shadow=(0, 0),
        noise=(0, 0),
        brightness=(0, 0),
        tint=0,
        quality=(95, 95),
        background_sigma=(9, 10),
    )
    flat = replace(plain, perspectives=plain.perspectives[-1:])
    for index in range(6):
        page = maker.render(draw(generator(index, "ink"), flat))
        assert _dark_outside(page, 110) == 0


def test_parameters_are_plain_and_name_the_fonts(make: Make) -> None:
    """What a page was made from can be written as JSON, with each font's name, version and digest."""
    record = make().page(0).parameters
    assert json.loads(json.dumps(record))["drawn"]["width"] > 0
    (used,) = record["fonts"]
    assert used["name"] == "Test"
    assert len(used["digest"]) == 64
    assert record["shaping"] in ("raqm", "basic")


def test_drawn_parameters_replay_the_page(make: Make) -> None:
    """Rendering the parameters of an index gives the page of that index."""
    maker = make()
    drawn = draw(generator(1, "page en", 2), DEFAULT)
    assert maker.render(drawn) == maker.page(2)


def test_a_changed_font_changes_what_is_told_of_it(make: Make, tmp_path: Path) -> None:
    """The digest in the record is that of the font's file."""
    before = make().page(0).parameters["fonts"][0]["digest"]
    (tmp_path / "made.ttf").unlink()
    font(tmp_path / "made.ttf", name="Test", blank="z")
    assert make().page(0).parameters["fonts"][0]["digest"] != before


def test_what_no_font_can_write_is_left_out(tmp_path: Path) -> None:
    """Words with a character that the font only promises are passed over: no box is ever drawn."""
    font(tmp_path / "liar.ttf", tofu="q", blank="j")
    text = (" ".join(["abc def quick jump fox"] * 40),)
    page = PageMaker(PageSettings(1, "en"), text, found=fonts.find(tmp_path)).page(0)
    assert "fox" in page.text
    assert not set("qj") & set(page.text)


def test_wrong_wishes_are_refused(make: Make) -> None:
    """An unknown setting or direction, a language without text, and text that is empty, each with a sentence."""
    with pytest.raises(InputError, match="default or mild"):
        make(setting="wild")
    with pytest.raises(InputError, match="direction"):
        make(direction="up")
    with pytest.raises(InputError, match="no text for language tlh"):
        PageMaker(PageSettings(1, "tlh"))


def test_pictures_serve_as_backgrounds(make: Make, tmp_path: Path) -> None:
    """A picture lies behind the sheet; bytes that are none do no harm."""
    out = BytesIO()
    Image.new("RGB", (300, 200), (255, 0, 0)).save(out, "PNG")
    maker = make()
    red = PageMaker(maker.settings, LATIN, [out.getvalue()], fonts.find(tmp_path))
    odd = PageMaker(maker.settings, LATIN, [b"no picture"], fonts.find(tmp_path))
    index = next(at for at in range(50) if maker.page(at) != odd.page(at) or _is_red(red.page(at)))
    assert _is_red(red.page(index))
    assert odd.page(index).lines == maker.page(index).lines


def _is_red(page: Page) -> bool:
    pixels = np.asarray(Image.open(BytesIO(page.image)).convert("RGB"), np.int16)
    return bool(((pixels[..., 0] - pixels[..., 1]) > 120).mean() > 0.05)


def test_chinese_pages_are_set() -> None:
    """Han text comes out as Han text, every character drawn by a font that has it."""
    maker = _maker("zh")
    page = maker.page(0)
    assert sum("\u4e00" <= char <= "\u9fff" for char in page.text) > 20
    assert all(any(face.covers(char) for face in maker.faces) for char in page.text if char != "\n")


def test_right_to_left_lines_begin_on_the_right() -> None:
    """The first word of an Arabic line stands to the right of its second."""
    page = _maker("ar").page(1)
    lines = [line for line in page.lines if len(line.words) > 1]
    assert lines
    assert all(line.words[0].quad[0][0] > line.words[1].quad[0][0] for line in lines)


def test_vertical_lines_are_columns_from_the_right() -> None:
    """Set vertically, a line is higher than wide and the next one of its block stands to its left."""
    page = _maker("zh", "vertical").page(0)
    long = [line for line in page.lines if len(line.text) > 3]
    assert long
    for line in long:
        (left, top), _, (right, bottom), _ = line.quad
        assert bottom - top > right - left
    assert long[0].quad[0][0] > long[-1].quad[0][0]


def test_only_pictures_lie_behind(make: Make, tmp_path: Path) -> None:
    """What Pillow would hand to another program (EPS), and damaged pictures, leave the drawn background."""
    maker = make()
    plain = maker.page(1)
    for data in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"BM" + bytes(60),
    ):
        assert PageMaker(maker.settings, LATIN, [data], fonts.find(tmp_path)).page(1) == plain
