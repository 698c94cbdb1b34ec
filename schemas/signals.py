"""Settings of what is measured; a change of any of them measures again."""

from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from schemas.patterns import FRAGMENTS, PATTERNS, SPECIAL_TAGS
from schemas.settings import Settings, switch


class CaptionSettings(Settings):
    """How captions are cleaned and what is looked for in them (filters/caption.py).

    The expressions are RE2's (linear in time, so neither a recipe nor a caption can stall them), and
    case is ignored. What a recipe lists is laid over the defaults of schemas/patterns.py, name by
    name; `off` takes one away.
    """

    patterns: dict[str, str | Literal[False]] = Field(
        {**PATTERNS},
        description="name: expression; a caption that is nothing else has this irregular pattern",
    )
    fragments: dict[str, str | Literal[False]] = Field(
        {**FRAGMENTS}, description="name: expression; cleaning removes it from inside a longer caption"
    )
    special_tags: tuple[str, ...] = Field(SPECIAL_TAGS, description="placeholders that mark a masked caption")
    repeated_words: int = Field(
        3,
        ge=0,
        description="a caption whose words all stand this often has the pattern repeated_words; 0: off",
    )
    max_spaces: int = Field(
        2,
        ge=1,
        le=1000,
        description="the longest run of plain spaces left alone (many typists end a sentence with two); "
        "any longer run, and any other white space, becomes one space",
    )

    @field_validator("patterns", mode="before")
    @classmethod
    def _over_patterns(cls, given: Any) -> Any:
        return {**PATTERNS, **given} if isinstance(given, dict) else given

    @field_validator("fragments", mode="before")
    @classmethod
    def _over_fragments(cls, given: Any) -> Any:
        return {**FRAGMENTS, **given} if isinstance(given, dict) else given

    @field_validator("patterns", "fragments")
    @classmethod
    def _compiles(cls, expressions: dict[str, str | Literal[False]]) -> dict[str, str | Literal[False]]:
        for name, expression in expressions.items():
            try:
                pc.match_substring_regex(pa.array([""]), expression or "")
            except pa.ArrowInvalid as error:
                raise ValueError(f"{name} is no RE2 expression: {error}") from None
        return expressions


class LanguageSettings(Settings):
    """How the language of a caption is told (filters/language.py; decision table: docs/filters.md)."""

    model: str | None = Field(
        None, description="path of a fastText model; default: the lid.176.ftz of the wheel"
    )
    min_letters: int = Field(3, ge=0, description="fewer letters than this of an alphabet are undetermined")
    min_score: float = Field(0.1, ge=0, le=1, description="a lower fastText score is undetermined")
    short_letters: int = Field(20, ge=0, description="captions up to this many letters are short")
    short_score: float = Field(0.15, ge=0, le=1, description="the least fastText score of a short caption")


PictureFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


class PictureSettings(Settings):
    """Limits for pictures, and what is done with those that carry an EXIF turn (filters/picture.py)."""

    formats: tuple[PictureFormat, ...] = Field(
        default=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"),
        min_length=1,
        description="any other is quarantined as unsupported_format and never reaches a decoder",
    )
    max_pixels: int = Field(
        default=100_000_000,
        gt=0,
        description="width x height; more is refused from the header, before any decode",
    )
    max_bytes: int = Field(default=64 * 1024 * 1024, gt=0, description="a longer file is refused unread")
    orientation: Literal["bake", "keep", "drop"] = Field(
        default="bake",
        description="bake: a picture with an EXIF turn is turned and the tag removed before it is measured; "
        "keep: stays as it is; drop: stays as it is, for the rule `orientation` to drop",
    )


class TextSettings(Settings):
    """Text in pictures, found by an OCR (filters/text_area.py): about a second of CPU a picture."""

    reader: Literal["rapidocr", "paddleocr"] = Field(
        "rapidocr", description="PP-OCR in ONNX, with its models in the wheel; or PaddleOCR itself"
    )
    models: str | None = Field(
        None,
        min_length=1,
        description="paddleocr: a folder with det/ and rec/, as it exports models; default: it downloads its own",
    )
    min_score: float = Field(0.5, ge=0, le=1, description="lines that the OCR trusts less do not count")


class SignalSettings(Settings):
    """The recipe's `signals` block."""

    caption: CaptionSettings = CaptionSettings()
    language: LanguageSettings = LanguageSettings()
    picture: PictureSettings = PictureSettings()
    text: Annotated[TextSettings | Literal[False], switch(TextSettings)] = Field(
        False, description="how much of a picture is text; dear, so off"
    )
