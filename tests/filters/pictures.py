"""Pictures made for the tests of filters: encoded bytes, and hypothesis strategies of images."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")


def encoded(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    """The bytes of `image` in format `name`."""
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def noise(width: int, height: int, seed: int = 0, mode: str = "RGB", smooth: int = 8) -> Image.Image:
    """A picture with shapes: random colours, enlarged `smooth` times."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // smooth + 1, width // smooth + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def exif_of(orientation: int, order: str = "MM") -> bytes:
    """An EXIF block with nothing but an orientation."""
    endian = "big" if order == "MM" else "little"

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, endian)  # type: ignore[arg-type]

    entry = number(0x112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + b"\0\0"
    return b"Exif\0\0" + order.encode() + number(42, 2) + number(8, 4) + number(1, 2) + entry + number(0, 4)


@st.composite
def images(draw: st.DrawFn, modes: tuple[str, ...] = MODES, most: int = 160) -> Image.Image:
    """Images of all modes and small sizes: noise, blocks, gradients, one colour."""
    width, height = draw(st.integers(1, most)), draw(st.integers(1, most))
    kind = draw(st.sampled_from(["noise", "blocks", "gradient", "constant", "extremes"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels: np.ndarray[Any, np.dtype[Any]]
    if kind == "constant":
        pixels = np.broadcast_to(rng.integers(0, 256, (1, 1, 4)), (height, width, 4))
    elif kind == "gradient":
        line = np.linspace(int(rng.integers(256)), int(rng.integers(256)), width)
        pixels = np.broadcast_to(line[None, :, None], (height, width, 4))
    elif kind == "blocks":
        pixels = np.kron(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 4)), np.ones((8, 8, 1)))
    else:
        pixels = rng.integers(0, 256, (height, width, 4))
    if kind == "extremes":
        pixels = np.where(pixels > 127, 255, 0)
    return _in_mode(pixels[:height, :width].astype(np.uint8), draw(st.sampled_from(modes)))


def _in_mode(pixels: np.ndarray[Any, np.dtype[np.uint8]], mode: str) -> Image.Image:
    if mode in ("I;16", "I", "F"):
        deep = pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]
        return Image.fromarray(deep.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if mode == "PA":
        return image.convert("LA").convert("PA")
    return (
        image
        if mode == "RGBA"
        else image.convert("RGB").convert(mode)
        if mode != "LA"
        else image.convert("LA")
    )


def real_files(test_data: Path) -> Iterator[Path]:
    """Published pictures of all kinds, hostile ones last."""
    yield from sorted((test_data / "pairs" / "images").iterdir())[::4]
    yield from sorted((test_data / "neardup" / "images").iterdir())
    yield from hostile_files(test_data)


def hostile_files(test_data: Path) -> Iterator[Path]:
    """The hostile pictures: broken, odd, bombs."""
    with (test_data / "hostile" / "index.jsonl").open() as lines:
        records = [json.loads(line) for line in lines]
    for record in records:
        if record["kind"].startswith("image"):
            yield test_data / "hostile" / record["file"]
