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


class PictureSettings(Settings):
    """Limits for pictures, and what is done with those that carry an EXIF turn."""

    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    max_pixels: int = Field(100_000_000, gt=0, description="refused from the header, before any decode")
    max_bytes: int = Field(64 * 1024 * 1024, gt=0)
    orientation: Literal["bake", "keep", "drop"] = "bake"


class SignalSettings(Settings):
    """The recipe's `signals` block."""

    caption: CaptionSettings = CaptionSettings()
    language: LanguageSettings = LanguageSettings()
    picture: PictureSettings = PictureSettings()
