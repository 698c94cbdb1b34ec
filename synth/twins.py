"""Second rows of a picture: each takes a sound row and gives back its twin."""

import io
import random
from dataclasses import replace

from PIL import Image

from synth import content
from synth.rows import Row, says


def exact_dup(row: Row, rng: random.Random) -> Row:
    return says(row, content.describe(row.content, row.language, rng))


def pixels_dup(row: Row, rng: random.Random) -> Row:
    form = "webp" if row.form == "png" else "png"
    with Image.open(io.BytesIO(row.data)) as image:
        return replace(exact_dup(row, rng), form=form, data=content.encode(image.convert("RGB"), form, 100))


def near_dup(row: Row, rng: random.Random) -> Row:
    """Smaller, and compressed again; never so small that another rule would have it."""
    with Image.open(io.BytesIO(row.data)) as image:
        colour = image.convert("RGB")
    scale = rng.uniform(max(0.5, 206 / min(colour.size)), 0.9)
    size = round(colour.width * scale), round(colour.height * scale)
    data = content.encode(colour.resize(size, Image.Resampling.BICUBIC), "jpg", rng.randint(55, 75))
    return replace(exact_dup(row, rng), form="jpg", data=data)


def translation(row: Row, rng: random.Random) -> Row:
    other = "zh" if row.language == "en" else "en"
    return replace(row, language=other, caption=content.describe(row.content, other, rng))
