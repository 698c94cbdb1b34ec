"""What the tests of text filters share: captions to columns, by default settings."""

from typing import Any

import pyarrow as pa

from filters.caption import Captions
from filters.language import Language
from filters.scripts import Scripts
from schemas.signals import CaptionSettings, LanguageSettings

CAPTIONS = Captions(CaptionSettings())
LANGUAGE = Language(LanguageSettings())


def measured(raw: list[str | None], captions: Captions = CAPTIONS) -> dict[str, Any]:
    """The text columns of SIGNALS for raw captions."""
    columns: dict[str, Any] = dict(captions.measure(pa.array(raw, pa.string())))
    columns |= Scripts().measure(columns["caption"])
    return columns | LANGUAGE.measure(columns["caption"], columns["scripts"])


def one(raw: str, captions: Captions = CAPTIONS) -> dict[str, Any]:
    """The text signals of a single caption as plain values."""
    return {name: column[0].as_py() for name, column in measured([raw], captions).items()}
