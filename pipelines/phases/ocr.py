"""Pages read back by an OCR: a share of them, drawn by name, so that every engine reads the same ones."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from filters.text_area import models_of
from pipelines.shares import is_drawn


class ReadBack:
    """Reads pages of one recipe with `reader`, or with those named, each loaded with the first page it reads."""

    def __init__(self, seed: int, reader: Any = None) -> None:
        self._seed = seed
        self._reader = reader
        self._loaded: dict[tuple[str, str | None], Any] = {}

    def is_drawn(self, source: str, member: str, share: float) -> bool:
        """Whether the page of that name is among the share."""
        return is_drawn(share, self._seed, "readback", source, member)

    def agreement(self, page: Any, name: str = "rapidocr", models: str | None = None) -> Any:
        """How far what is read agrees with what the page tells (synth.readers.Agreement).

        None for a page in a script that the reader does not have: it is no judge of it.
        """
        from synth.readers import agree, is_judge, open_reader

        reader = self._reader or self._loaded.get((name, models))
        if reader is None:
            reader = self._loaded[(name, models)] = open_reader(name, models_of(models))
        pixels = np.asarray(Image.open(BytesIO(page.image)).convert("RGB"))
        found = reader.read(pixels)
        if not is_judge(reader, page.text, found):
            return None
        return agree([(line.text, line.quad) for line in page.lines], found)
