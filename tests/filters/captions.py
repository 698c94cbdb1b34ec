"""What the tests of text filters share: captions to columns, by default settings."""

from typing import Any

import pyarrow as pa

from filters import emoji, scripts
from filters.caption import Captions, CaptionSettings
from filters.language import Language, LanguageSettings

CAPTIONS = Captions(CaptionSettings())
LANGUAGE = Language(LanguageSettings())


def measured(raw: list[str | None], captions: Captions = CAPTIONS) -> dict[str, Any]:
    """The text columns of SIGNALS for raw captions."""
    columns: dict[str, Any] = {"caption_raw": pa.array(raw, pa.string())}
    for measure in (captions.measure, emoji.measure, scripts.measure, LANGUAGE.measure):
        columns |= measure(pa.RecordBatch.from_pydict(columns))
    return columns


def one(raw: str, captions: Captions = CAPTIONS) -> dict[str, Any]:
    """The text signals of a single caption as plain values."""
    return {name: column[0].as_py() for name, column in measured([raw], captions).items()}
