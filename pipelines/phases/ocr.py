"""Pages read back by an OCR: a share of them, drawn by name, so that every engine reads the same ones.

The OCR that a recipe asks for: the filter for text in pictures with it, and what its answers depend on.
"""

import importlib.metadata
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from filters.text_area import TextArea
from pipelines.files import Store, local_path
from pipelines.generators.inputs import files
from pipelines.receipts import versions
from pipelines.shares import is_drawn
from schemas.errors import InputError, missing
from schemas.signals import TextSettings

LIBRARIES: Final = {"rapidocr": ("onnxruntime", "rapidocr"), "paddleocr": ("paddleocr", "paddlepaddle")}
"""What each reader reads with, by distribution."""


def text_area(settings: TextSettings) -> TextArea:
    """The filter with its reader loaded. Raises InputError where the reader is not to be had."""
    from synth.readers import open_reader

    return TextArea(settings, open_reader(settings.reader, models_of(settings.models)))


def models_of(folder: str | None) -> Path | None:
    """The folder of models as a path of this machine; None for a reader's own."""
    return Path(local_path(folder)) if folder else None


def reader_marks(reader: str, models: str | None) -> list[Any]:
    """The versions of a reader's libraries, and what its models hold.

    Raises InputError where the reader is not installed, so that nothing begins without it.
    """
    try:
        found: list[Any] = [versions(LIBRARIES[reader])]
    except importlib.metadata.PackageNotFoundError as error:
        ours = reader == "rapidocr"
        raise InputError(missing(f"reading text with {reader}", *LIBRARIES[reader], ours=ours)) from error
    store = Store()
    held = files(store, models) if models else ()
    return [*found, *(f"{info.name} {store.identity(info.path)}" for info in held)]


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
