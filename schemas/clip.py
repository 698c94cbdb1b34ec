"""Settings of the CLIP score; a change of a scorer's model or weights scores again."""

from collections.abc import Mapping
from typing import Final, Literal, TypeVar

from pydantic import Field, model_validator

from schemas.settings import Settings

EMBEDDED: Final = "embedded"
DEFAULT: Final = "default"
"""The key of the scorer for languages that have none of their own."""

T = TypeVar("T")


class ScorerSettings(Settings):
    """One CLIP and how it is run (filters/clip)."""

    model: str = Field(
        EMBEDDED,
        min_length=1,
        description="an architecture of open_clip, hf-hub:OWNER/NAME, local-dir:FOLDER, or embedded",
    )
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="weights of a named architecture: a tag of open_clip or the path of a checkpoint",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: fp32 on a CPU; on a GPU bf16, or fp16 where it has no bf16"
    )
    batch_size: int = Field(
        64, ge=1, le=65_536, description="rows of every batch: the last one is padded, so that scores repeat"
    )
    threads: int = Field(1, ge=1, le=1024, description="threads that one scorer computes with on a CPU")
    compile: bool = Field(False, description="torch.compile both towers: minutes at the start, faster after")
    draft: bool = Field(
        False,
        description="decode JPEGs of over four times the side needed at a fraction: up to three times faster, "
        "but scores move by up to 0.01 (docs/clip.md)",
    )
    max_pixels: int = Field(
        100_000_000, gt=0, le=10_000_000_000, description="larger pictures are refused from the header"
    )

    @model_validator(mode="after")
    def _complete(self) -> "ScorerSettings":
        named = ":" not in self.model and self.model != EMBEDDED
        weights = self.pretrained
        if named and weights is None:
            raise ValueError(
                f"model {self.model!r} needs pretrained: a tag of open_clip or the path of a checkpoint"
            )
        if not named and weights not in (None, EMBEDDED):
            raise ValueError(f"model {self.model!r} brings its own weights: leave pretrained out")
        if EMBEDDED in (self.model, weights) and (self.precision not in ("auto", "fp32") or self.compile):
            raise ValueError("the embedded scorer runs in fp32 on a CPU: leave precision and compile out")
        return self


class ClipSettings(Settings):
    """The recipe's `clip` block: which scorer judges which language."""

    scorers: dict[str, ScorerSettings] = Field(
        {DEFAULT: ScorerSettings()},
        min_length=1,
        description="ISO 639-1 code -> scorer; `default` for every other language",
    )
    allow_embedded: bool = Field(
        False,
        description="asked for by the embedded scorer: it knows the demo's drawn scenes, and elsewhere its scores mean "
        "nothing",
    )
    decode_threads: int = Field(1, ge=1, le=256, description="threads that decode pictures for one scorer")
    mask_text: bool = Field(
        False, description="score pictures with their text painted over (T-MARS); needs signals.text"
    )
    embeddings: bool = Field(False, description="keep both vectors of a pair as float16, for later use")


def choose(scorers: Mapping[str, T], language: str | None) -> T | None:
    """The entry for a language, else the one called `default`, else None."""
    found = scorers.get(language) if language is not None else None
    return scorers.get(DEFAULT) if found is None else found
