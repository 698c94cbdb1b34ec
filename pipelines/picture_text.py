"""The OCR that a recipe asks for: the filter for text in pictures with it, and what its answers depend on."""

import importlib.metadata
from pathlib import Path
from typing import Any, Final

from filters.text_area import TextArea
from pipelines.files import Store, local_path
from pipelines.fingerprints import versions
from pipelines.page_files import files
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
