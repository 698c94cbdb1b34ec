import hashlib
import io
import time
import warnings
from pathlib import Path
from typing import Any

import imagehash
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from filters.picture import FILTER, Pictures, PictureSettings, hashes, measure
from filters.pixels import decode
from schemas.errors import ROW_ERRORS, RowError
from tests.filters.pictures import encoded, exif_of, hostile_files, images, noise, real_files

BAKE = Pictures(PictureSettings())
KEEP = Pictures(PictureSettings(orientation="keep"))


def _measured(pictures: Pictures, data: bytes | None) -> dict[str, Any]:
    """All columns of the filter for one image."""
    columns = measure(pictures.open(data))
    return columns | {"phash": hashes([columns.pop("thumbnail")])[0].as_py()}


def _oracle(data: bytes) -> tuple[tuple[int, int], int, int]:
    """Size, imagehash's pHash and orientation, as Pillow and imagehash see a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data))
        image.load()
        orientation = image.getexif().get(0x112, 1)
        return (
            image.size,
            int(str(imagehash.phash(image)), 16),
            orientation if orientation in range(2, 9) else 1,
        )


def _error(pictures: Pictures, data: bytes | None) -> RowError:
    with pytest.raises(RowError) as caught:
        _measured(pictures, data)
    return caught.value


def _outcome(data: bytes) -> str:
    try:
        _measured(BAKE, data)
    except RowError as error:
        return error.kind
    return "measured"


def test_columns_are_those_of_the_signals() -> None:
    """Every column of the filter is filled, in its type."""
    columns = _measured(BAKE, encoded(noise(90, 60), "JPEG"))
    assert set(columns) == set(FILTER.columns)
    pa.Table.from_pylist([columns], schema=pa.schema(list(FILTER.columns.items()))).validate(full=True)


def test_what_is_measured_is_true() -> None:
    """Size, digests and ratio are those of the picture; the ratio is of the longer to the shorter side."""
    data = encoded(noise(60, 90), "PNG")
    columns = _measured(BAKE, data)
    digest = hashlib.sha256(data).hexdigest()
    assert (columns["format"], columns["width"], columns["height"]) == ("PNG", 60, 90)
    assert columns["aspect_ratio"] == 1.5
    assert columns["byte_size"] == len(data)
    assert columns["sha256"] == columns["original_sha256"] == digest
    assert columns["orientation"] == 1


@settings(max_examples=150, deadline=None)
@given(images(modes=("1", "L", "LA", "P", "RGB", "RGBA", "I;16")))
def test_png_of_every_mode_has_imagehashs_hash(image: Image.Image) -> None:
    """Blank, palette, alpha, 1-bit and 16-bit pictures have the hash that imagehash gives the file."""
    data = encoded(image)
    columns = _measured(BAKE, data)
    assert ((columns["width"], columns["height"]), columns["phash"], 1) == _oracle(data)


def test_cmyk_has_imagehashs_hash() -> None:
    """A JPEG of four inks is no exception."""
    data = encoded(noise(200, 150, mode="CMYK"), "JPEG")
    assert _measured(BAKE, data)["phash"] == _oracle(data)[1]


def test_real_pictures_are_measured_as_pillow_and_imagehash_see_them(test_data: Path) -> None:
    """Each published picture has Pillow's size and orientation and imagehash's hash, or an error."""
    measured = []
    for path in real_files(test_data):
        data = path.read_bytes()
        try:
            columns = measure(KEEP.open(data))
        except RowError:
            continue
        seen = (columns["width"], columns["height"]), columns["orientation"]
        size, phash, orientation = _oracle(data)
        assert seen == (size, orientation), path
        measured.append((path, columns["thumbnail"], phash))
    found = hashes([thumbnail for _, thumbnail, _ in measured]).to_pylist()
    assert [path for (path, _, phash), own in zip(measured, found, strict=True) if own != phash] == []
    assert len(measured) > 100


def test_hostile_files_are_measured_or_quarantined_quickly(test_data: Path) -> None:
    """No broken file, bomb or oddity raises anything but RowError, or takes long."""
    kinds = set()
    for path in hostile_files(test_data):
        start = time.process_time()
        kinds.add(_outcome(path.read_bytes()))
        assert time.process_time() - start < 2, path
    assert {"truncated", "undecodable", "not_image", "unsupported_format", "too_many_pixels"} <= kinds


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (None, "no_image"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_image"),
        (b"%PDF-1.4\n", "unsupported_format"),
        (encoded(noise(300, 200), "JPEG")[:4000], "truncated"),
        (encoded(noise(300, 200), "PNG")[:4000], "truncated"),
        (b"\xff\xd8\xff\xe0" + bytes(500) + b"\xff\xd9", "undecodable"),
        (encoded(Image.new("1", (10_001, 10_000)), "PNG"), "too_many_pixels"),
    ],
)
def test_bad_rows_are_named(data: bytes | None, kind: str) -> None:
    """Each kind of bad picture has its class of error and a message."""
    error = _error(BAKE, data)
    assert error.kind == kind
    assert error.message


def test_a_page_called_jpg_is_no_image() -> None:
    """The name of a file counts for nothing: not even PNG bytes before a page make it a picture."""
    assert _error(BAKE, b"\n\n<html>").kind == "not_image"


def test_formats_that_the_recipe_leaves_out_are_not_decoded() -> None:
    """A sound GIF is unsupported where only JPEG is admitted, and the message says so."""
    jpeg_only = Pictures(PictureSettings(formats=("JPEG",)))
    error = _error(jpeg_only, encoded(noise(30, 20), "GIF"))
    assert (error.kind, error.message) == ("unsupported_format", "GIF is not among the recipe's formats")


def test_too_many_bytes_are_not_looked_at() -> None:
    """The limit of bytes comes first."""
    small = Pictures(PictureSettings(max_bytes=100))
    assert _error(small, b"x" * 101).kind == "too_large"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_beginning_of_a_jpeg_is_measured_or_named(data: st.DataObject) -> None:
    """Wherever a download broke off, the row has columns or a class of error."""
    whole = encoded(noise(120, 90), "JPEG", exif=exif_of(6), progressive=True)
    assert _outcome(whole[: data.draw(st.integers(0, len(whole)))]) in {"measured", *ROW_ERRORS}


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"BM", b"II*\0", b"GIF89a", b"\xff\xd8\xff", b"RIFF0000WEBPVP8X"]),
)
def test_any_bytes_are_measured_or_named(body: bytes, magic: bytes) -> None:
    """No bytes whatever raise anything but RowError."""
    assert _outcome(magic + body) in {"measured", *ROW_ERRORS}


@pytest.mark.parametrize("value", range(2, 9))
def test_bake_stores_and_measures_the_turned_picture(value: int) -> None:
    """Stored bytes are upright, and every column but two is theirs."""
    data = encoded(noise(91, 60), "JPEG", exif=exif_of(value))
    stored = BAKE.stored(data)
    columns, again = _measured(BAKE, data), _measured(BAKE, stored)
    assert columns == again | {"orientation": value, "original_sha256": hashlib.sha256(data).hexdigest()}
    assert again["orientation"] == 1
    assert columns["sha256"] == hashlib.sha256(stored).hexdigest()
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (columns["width"], columns["height"]) == upright.size


@pytest.mark.parametrize("orientation", ["keep", "drop"])
def test_without_bake_bytes_stay(orientation: str) -> None:
    """A turned picture is stored and measured as it lies; the column tells of the turn."""
    pictures = Pictures(PictureSettings(orientation=orientation))  # type: ignore[arg-type]
    data = encoded(noise(91, 60), "JPEG", exif=exif_of(6))
    columns = _measured(pictures, data)
    assert pictures.stored(data) is data
    assert (columns["width"], columns["height"], columns["orientation"]) == (91, 60, 6)
    assert columns["sha256"] == columns["original_sha256"]


def test_an_upright_picture_is_stored_untouched() -> None:
    """Without a turn the very bytes go through."""
    data = encoded(noise(91, 60), "JPEG", exif=exif_of(1))
    assert BAKE.stored(data) is data


def test_a_turned_picture_that_is_broken_is_an_error_both_times() -> None:
    """What cannot be turned can neither be stored nor measured."""
    data = encoded(noise(191, 160), "JPEG", exif=exif_of(6))[:3000]
    assert _error(BAKE, data).kind == "truncated"
    with pytest.raises(RowError, match="truncated"):
        BAKE.stored(data)


def test_only_the_first_frame_is_measured() -> None:
    """A film in GIF, PNG or WEBP is its first picture."""
    first, second = Image.new("RGB", (80, 80), "white"), noise(80, 80)
    for name, options in [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})]:
        film = encoded(first, name, save_all=True, append_images=[second] * 30, duration=10, **options)
        assert _measured(BAKE, film)["grey_range"] == 0, name


def test_a_pair_of_jpegs_in_one_file_is_a_jpeg() -> None:
    """MPO, which cameras write, counts as JPEG."""
    data = encoded(noise(80, 60), "MPO", save_all=True, append_images=[noise(80, 60, 1)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert _measured(BAKE, data)["format"] == "JPEG"


def test_a_picture_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upright picture passes through its decoder a single time."""
    calls = []

    def counted(*given: Any) -> Image.Image:
        calls.append(given)
        return decode(*given)

    monkeypatch.setattr("filters.picture.decode", counted)
    _measured(BAKE, encoded(noise(80, 60), "JPEG"))
    assert len(calls) == 1
