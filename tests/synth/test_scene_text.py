"""Words on natural pictures stand where the truth says."""

from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filters.text_area import text_mask
from synth.page import fonts
from synth.page.maker import PageSettings
from synth.scene_text import SceneMaker
from tests.synth.page.made_fonts import font

TEXT = ("open every day until late and closed on holidays",)


@pytest.fixture
def maker(tmp_path: Path) -> SceneMaker:
    """A maker with a made font and one even picture."""
    out = BytesIO()
    Image.new("RGB", (900, 700), (128, 128, 128)).save(out, "PNG")
    font(tmp_path / "made.ttf")
    return SceneMaker(PageSettings(1, "en"), TEXT, [out.getvalue()], fonts.find(tmp_path))


def test_a_picture_is_a_function_of_its_index(maker: SceneMaker) -> None:
    """In whatever order pictures are made, each comes out the same."""
    wanted = maker.page(2)
    maker.page(7)
    assert maker.page(2) == wanted


def test_signs_lie_within_the_picture_and_apart(maker: SceneMaker) -> None:
    """Every picture has text; no quad leaves the picture or touches another."""
    for index in range(8):
        page = maker.page(index)
        assert page.lines
        masks = [text_mask([line.quad], page.width, page.height) for line in page.lines]
        assert not any((a & b).any() for a, b in combinations(masks, 2))
        for line in page.lines:
            assert all(0 <= x <= page.width and 0 <= y <= page.height for x, y in line.quad)


def test_letters_differ_from_what_lies_behind_them(maker: SceneMaker) -> None:
    """Inside each line's quad the picture varies far more than an even ground does."""
    for index in range(6):
        page = maker.page(index)
        grey = np.asarray(Image.open(BytesIO(page.image)).convert("L"), np.float32)
        for line in page.lines:
            part = grey[text_mask([line.quad], page.width, page.height)]
            assert part.max() - part.min() > 60
