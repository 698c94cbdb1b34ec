"""pipelines/fetch/arrival.py: images made smaller as they arrive, and hostile ones that stay as they came."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from filters.header import sniff
from filters.orientation import orientation
from filters.picture import PictureSettings
from filters.pixels import MOST_SCANS
from pipelines.fetch.arrival import Arrival
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.settings import FetchSettings
from tests.filters.pictures import encoded, exif_of, noise

JPEG = encoded(noise(300, 200), "JPEG", progressive=True)


def arrival(max_pixels: int = 10**8) -> Arrival:
    """What takes images in, their shorter side at 50."""
    settings = FetchSettings.model_validate({"resize": {"min_side": 50}})
    return Arrival(settings, PictureSettings(max_pixels=max_pixels), OptOut.read(settings))


def test_an_image_is_made_smaller() -> None:
    """Its shorter side is the one asked for; size and digest are also told as it came."""
    arrived = arrival().take(JPEG, None)
    assert (arrived.width, arrived.height) == (300, 200)
    assert (arrived.stored["stored_width"], arrived.stored["stored_height"]) == (75, 50)
    assert arrived.data != JPEG


@pytest.mark.parametrize("more", [MOST_SCANS, 5000])
def test_an_image_of_too_many_scans_is_not_decoded(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """Each scan is a pass over the image, while all downloads wait: measure refuses it by its header."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    last, end = JPEG.rindex(b"\xff\xda"), len(JPEG) - 2
    body = JPEG[:end] + JPEG[last:end] * more + JPEG[end:]
    arrived = arrival().take(body, None)
    assert (arrived.data, arrived.stored) == (body, {})


def test_an_image_with_a_second_frame_header_above_the_limit_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decoder takes memory for the size that it reads last."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    at = JPEG.index(b"\xff\xc2")
    frame = JPEG[at : at + 2 + int.from_bytes(JPEG[at + 2 : at + 4], "big")]
    larger = frame[:5] + (1100).to_bytes(2, "big") * 2 + frame[9:]
    body = JPEG[:at] + frame + larger + JPEG[at + len(frame) :]
    arrived = arrival(max_pixels=1_000_000).take(body, None)
    assert (arrived.data, arrived.stored, arrived.width) == (body, {}, 300)


def test_exif_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An EXIF block whose tags all point at the same bytes would swell to 300 MB."""
    monkeypatch.setattr(Image.Image, "getexif", lambda self: pytest.fail("parsed"))
    arrived = arrival().take(encoded(noise(300, 200), "JPEG", exif=exif_of(1)), None)
    assert arrived.stored["stored_height"] == 50


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_a_turned_image_is_still_turned(form: str, turn: int) -> None:
    """Measure turns it, drops it or leaves it, by what its EXIF says: it says so too when it is made smaller."""
    body = encoded(noise(300, 200, smooth=50), form, exif=exif_of(turn))
    arrived = arrival().take(body, None)
    assert arrived.stored
    assert sniff(arrived.data) == (form if form in ("JPEG", "PNG", "WEBP") else "PNG")
    assert orientation(arrived.data, sniff(arrived.data) or "") == (turn if form != "TIFF" else 1)
    before, after = (upright(data) for data in (body, arrived.data))
    assert np.abs(before - after).mean() < 3


def upright(data: bytes) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The pixels of an image as a viewer shows it, small."""
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(shown.resize((30, 30), Image.Resampling.BOX), np.int16)
