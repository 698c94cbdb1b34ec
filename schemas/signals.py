"""Settings of what is measured; a change of any of them measures again."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A frozen block of a recipe in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CaptionSettings(Settings):
    """How captions are cleaned and what is looked for in them (filters/caption.py)."""


class LanguageSettings(Settings):
    """How the language of a caption is told (filters/language.py)."""

    model: str | None = Field(None, description="path of a fastText model; default: the lid.176.ftz of the wheel")


PictureFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


class PictureSettings(Settings):
    """Limits for pictures, and what is done with those that carry an EXIF turn (filters/picture.py)."""

    formats: tuple[PictureFormat, ...] = Field(
        default=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"),
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


class SignalSettings(Settings):
    """The recipe's `signals` block."""

    caption: CaptionSettings = CaptionSettings()
    language: LanguageSettings = LanguageSettings()
    picture: PictureSettings = PictureSettings()
