"""The pixels a CLIP reads, against open_clip's own transform."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import transform
from PIL import Image

from filters.clip import Preprocess
from filters.clip.preprocess import Resample, resampled
from schemas.errors import RowError


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Soft blotches with some grain: neither flat nor noise alone."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize((width, height))
    grain = rng.integers(-9, 10, (height, width, 3))
    pixels = np.clip(np.asarray(coarse).astype(np.int64) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def reference(image: Image.Image, ours: Preprocess) -> np.ndarray:
    """open_clip's transform, without the normalisation that we leave to the device."""
    made = transform.image_transform(
        (ours.height, ours.width),
        is_train=False,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        resize_mode=ours.resize_mode,
        interpolation=ours.interpolation,
        fill_color=ours.fill,
    )
    pixels: np.ndarray = (made(image).permute(1, 2, 0).numpy() * 255).round().astype(np.int64)
    return pixels


SIDES = st.integers(1, 400)
RESAMPLES = (None, resampled)


@settings(deadline=None, max_examples=60)
@given(
    SIDES,
    SIDES,
    st.sampled_from(["RGB", "L", "RGBA", "CMYK", "P", "LA", "1"]),
    st.sampled_from(["shortest", "longest", "squash"]),
    st.sampled_from([(32, 32), (48, 32), (32, 56)]),
    st.sampled_from(RESAMPLES),
)
def test_pixels_are_open_clips_to_two_steps(
    width: int, height: int, mode: str, resize_mode: str, size: tuple[int, int], resample: Resample | None
) -> None:
    """For any size, mode and way of resizing, by Pillow or by torch, every pixel is within two steps of open_clip's."""
    if max(width, height) > 40 * min(width, height):
        return
    image = picture(width, height, mode)
    ours = Preprocess(size[0], size[1], resize_mode, resample=resample)
    pixels = ours(image)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*size, 3)
    assert np.abs(pixels.astype(np.int64) - reference(image, ours)).max() <= 2


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, st.sampled_from(["RGB", "L", "RGBA", "CMYK", "P"]))
def test_squashed_pixels_are_exactly_open_clips(width: int, height: int, mode: str) -> None:
    """The way of the embedded scorer: the whole image made square by Pillow has open_clip's very pixels."""
    image = picture(width, height, mode)
    ours = Preprocess(96, 96, "squash")
    assert np.array_equal(ours(image), reference(image, ours))


@pytest.mark.parametrize("resample", RESAMPLES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(2400, 1900), (1, 3000), (3000, 7), (64, 64)])
def test_pixels_of_odd_pictures_are_open_clips(
    mode: str, interpolation: str, size: tuple[int, int], resample: Resample | None
) -> None:
    """So they are for pictures that Pillow keeps in several blocks, for strips, and where nothing is resized."""
    image = picture(*size, mode)
    ours = Preprocess(64, 64, interpolation=interpolation, resample=resample)
    pixels = ours(image)
    assert pixels.shape == (64, 64, 3)
    if max(size) < 40 * min(size):
        assert np.abs(pixels.astype(np.int64) - reference(image, ours)).max() <= 2
    # the picture's memory is only read
    assert image.tobytes() == picture(*size, mode).tobytes()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_bytes_give_the_pixels_of_the_picture(interpolation: str) -> None:
    """Compressed bytes and the picture that they hold give equal pixels where nothing is decoded smaller."""
    out = io.BytesIO()
    picture(300, 200).save(out, "PNG")
    ours = Preprocess(64, 64, interpolation=interpolation, resample=resampled)
    assert np.array_equal(ours(out.getvalue()), ours(Image.open(io.BytesIO(out.getvalue()))))


@pytest.mark.parametrize("size", [(1600, 1200), (1333, 999), (801, 2003)])
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(size: tuple[int, int]) -> None:
    """With `draft` a large JPEG is decoded smaller; the mean step to open_clip stays below 1."""
    out = io.BytesIO()
    picture(*size).save(out, "JPEG", quality=90)
    ours = Preprocess(96, 96, draft=True)
    image = Image.open(io.BytesIO(out.getvalue()))
    wanted = reference(Image.open(io.BytesIO(out.getvalue())), ours)
    assert np.abs(ours(out.getvalue()).astype(np.int64) - wanted).mean() < 1
    ours(image)
    assert image.size < size
    whole = Image.open(io.BytesIO(out.getvalue()))
    Preprocess(96, 96)(whole)
    assert whole.size == size


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "not_image"),
        (b"no picture at all", "not_image"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "undecodable"),
    ],
)
def test_bytes_that_are_no_picture_are_a_row_error(data: bytes, kind: str) -> None:
    """Whatever bytes come, the outcome is pixels or a RowError."""
    with pytest.raises(RowError) as caught:
        Preprocess(32, 32)(data)
    assert caught.value.kind == kind


def test_a_picture_above_the_limit_is_refused_from_its_header() -> None:
    """The limit on pixels holds before any pixel is decoded."""
    out = io.BytesIO()
    picture(100, 100).save(out, "PNG")
    with pytest.raises(RowError) as caught:
        Preprocess(32, 32)(out.getvalue(), max_pixels=9_999)
    assert caught.value.kind == "too_many_pixels"
