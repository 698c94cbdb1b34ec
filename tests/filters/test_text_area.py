"""How much of a picture is text, without asking who found it."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filters.picture import Pictures, PictureSettings
from filters.pixels import decode
from filters.signals import Measurer
from filters.table import SignalSettings
from filters.text_area import TextArea, TextSettings, masked, repeats, text_mask, text_share
from schemas.sample import Quad
from tests.filters.pictures import encoded


def _quad(x: float, y: float, width: float, height: float) -> Quad:
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
def test_an_upright_quads_share_is_its_area(x: int, y: int, width: int, height: int) -> None:
    """On whole pixels the share is exactly that of the rectangle."""
    assert text_share([_quad(x, y, width, height)], 100, 100) == pytest.approx(width * height / 10_000)


def test_what_overlaps_counts_once() -> None:
    """Two quads on one place cover as much as one; none cover nothing; a huge one covers all."""
    quad = _quad(10, 10, 30, 20)
    assert text_share([quad, quad], 100, 100) == text_share([quad], 100, 100)
    assert text_share([], 100, 100) == 0
    assert text_share([_quad(-50, -50, 1000, 1000)], 100, 100) == 1


def test_a_slanted_quad_covers_its_own_area() -> None:
    """A diamond of half the picture covers about half of it."""
    diamond = ((50.0, 0.0), (100.0, 50.0), (50.0, 100.0), (0.0, 50.0))
    assert text_share([diamond], 100, 100) == pytest.approx(0.5, abs=0.02)


def test_masking_hides_the_text_and_nothing_else() -> None:
    """Under the quad stands the colour around it; every other pixel, and the original, stay as they were."""
    pixels = np.full((60, 80, 3), (200, 100, 50), np.uint8)
    pixels[20:30, 20:50] = 0
    quad = _quad(20, 20, 30, 10)
    hidden = masked(pixels, [quad])
    assert (hidden == (200, 100, 50)).all()
    assert (pixels[20:30, 20:50] == 0).all()
    outside = ~text_mask([quad], 80, 60)
    assert (hidden[outside] == pixels[outside]).all()


def test_masking_a_picture_that_is_all_text_does_not_fail() -> None:
    """Where nothing surrounds the text its own mean serves; quads off the picture change nothing."""
    pixels = np.full((20, 20, 3), 90, np.uint8)
    assert (masked(pixels, [_quad(-5, -5, 50, 50)]) == 90).all()
    assert (masked(pixels, [_quad(100, 100, 5, 5)]) == 90).all()


@pytest.mark.parametrize(
    ("caption", "texts", "share"),
    [
        ("Summer Sale 2024", ["SUMMER", "sale 2024!"], 1.0),
        ("a red car on a road", ["STOP"], 0.0),
        ("夏季大促", ["夏季", "开始"], 0.5),
        ("sale sale", ["sale"], 0.5),
        ("", ["sale"], 0.0),
    ],
)
def test_a_caption_that_repeats_the_text_is_found_out(caption: str, texts: list[str], share: float) -> None:
    """The share counts the caption's words, Han by character, each as often as it stands there."""
    assert repeats(caption, texts) == share


def picture(image: Image.Image, name: str = "PNG") -> Any:
    """The image as filters see it."""
    return Pictures(PictureSettings()).open(encoded(image, name))


@dataclass(frozen=True)
class Planted:
    """A reader that gives what it is told, and keeps the sizes of what it was shown."""

    lines: tuple[tuple[str, Quad, float], ...]
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def read(self, pixels: np.ndarray[Any, Any]) -> list[Any]:
        self.sizes.append((pixels.shape[1], pixels.shape[0]))
        return [SimpleNamespace(text=text, quad=quad, score=score) for text, quad, score in self.lines]


def test_only_trusted_lines_count() -> None:
    """A line below min_score is neither area nor text."""
    reader = Planted((("SALE", _quad(0, 0, 50, 20), 0.9), ("shadow", _quad(0, 50, 100, 50), 0.3)))
    image = Image.new("RGB", (100, 100), "white")
    found = TextArea(TextSettings(), reader).measure(picture(image))
    assert found == {"text_area": 0.1, "texts": ["SALE"]}
    found = TextArea(TextSettings(min_score=0.2), reader).measure(picture(image))
    assert found == {"text_area": 0.6, "texts": ["SALE", "shadow"]}


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_large_pictures_of_any_mode_are_read_smaller(mode: str) -> None:
    """The reader sees RGB of at most 1600 pixels a side; the share is that of what it saw."""
    reader = Planted((("all", _quad(0, 0, 1600, 400), 1.0),))
    large = picture(Image.new(mode, (3200, 1600)), "TIFF")
    assert TextArea(TextSettings(), reader).measure(large)["text_area"] == 0.5
    assert reader.sizes == [(1600, 800)]


def test_hidden_text_is_gone_from_the_picture() -> None:
    """`hidden` paints trusted lines over and leaves the rest."""
    image = Image.new("RGB", (60, 40), (10, 200, 10))
    image.paste((0, 0, 0), (10, 10, 30, 20))
    reader = Planted((("word", _quad(10, 10, 20, 10), 1.0),))
    assert (TextArea(TextSettings(), reader).hidden(picture(image)) == (10, 200, 10)).all()


def test_the_ocr_reads_the_image_that_was_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All filters of images share one decode; the OCR sees images of pairs alone."""
    pytest.importorskip("cv2", reason="synth.readers needs it")
    calls = []

    def counted(*given: Any) -> Image.Image:
        calls.append(given)
        return decode(*given)

    reader = Planted((("SALE", _quad(0, 0, 45, 60), 0.9),))
    monkeypatch.setattr("filters.picture.decode", counted)
    monkeypatch.setattr("synth.readers.open_reader", lambda *_: reader)
    measurer = Measurer(SignalSettings.model_validate({"text": True}))
    data = encoded(Image.new("RGB", (90, 60), "white"), "JPEG")
    found = measurer.image(data, pair=True)
    assert len(calls) == 1
    assert (found["width"], found["text_area"]) == (90, 0.5)
    row = measurer.table([{"caption_raw": "A sale", **found}]).to_pylist()[0]
    assert row["text_repeats"] == 0.5
    assert "text_area" not in measurer.image(data, pair=False)
