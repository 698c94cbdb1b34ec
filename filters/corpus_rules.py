"""Rules that look beyond a row's own signals: the CLIP score, and the duplicates.

Phase select judges them (pipelines/phases/select): scores are there by then, and a duplicate is a row with others.
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from filters.filter import Rule
from schemas.settings import Settings


class ClipLimit(Settings):
    """A threshold on the CLIP score: a value, or the share that stays."""

    min: float | None = Field(None, ge=-1, le=1, description="the least cosine of image and caption")
    keep: float | None = Field(None, gt=0, le=1, description="the share with the best scores that stays")

    @model_validator(mode="after")
    def _one(self) -> "ClipLimit":
        if self.min is not None and self.keep is not None:
            raise ValueError("give either min or keep, not both")
        return self

    @property
    def is_set(self) -> bool:
        """Whether there is a threshold at all."""
        return self.min is not None or self.keep is not None


class Clip(ClipLimit):
    """Drops pairs whose image and caption do not fit, by CLIP score.

    A language's own threshold stands above the block's. `keep` is a share of the rows of that source
    (and language) that pass every rule before this one. A source's block replaces the recipe's whole.
    """

    languages: dict[str, ClipLimit] = Field({}, description="thresholds of languages, by ISO 639-1 code")
    unscored: Literal["drop", "keep"] = Field(
        "drop", description="what becomes of a row whose own score (clip_score) is null or no number"
    )

    @model_validator(mode="after")
    def _any(self) -> "Clip":
        if not self.is_set and not any(limit.is_set for limit in self.languages.values()):
            raise ValueError("give min or keep, or thresholds by language, or switch the rule off")
        return self

    def limit(self, language: str) -> ClipLimit:
        """The threshold for captions of a language."""
        return self.languages.get(language, self)


class Repeat(Settings):
    """Drops rows that repeat a row: same image or URL, same caption."""


class Exact(Settings):
    """Drops images with the same bytes as a better one."""


class Pixels(Settings):
    """Drops images that decode to the same pixels as a better one."""


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("imagehash's pHash has as many ones as zeros, so distances are even numbers")
    return value


class Phash(Settings):
    """Drops images that look like a better one."""

    distance: Annotated[int, AfterValidator(_even)] = Field(
        4, ge=0, le=16, description="Hamming distance of 64 bits"
    )
    turned: bool = Field(False, description="also an image that looks like a better one turned or mirrored")


class Semantic(Settings):
    """Drops rows whose embedding is like a better row's (SemDeDup); needs clip.embeddings."""

    similarity: float = Field(0.95, ge=0.5, le=1, description="the cosine from which two rows are one")
    keep: float | None = Field(
        None,
        gt=0,
        le=1,
        description="the share of a cell's rows that stays at most: those most like a better row go",
    )
    of: Literal["image", "text"] = Field("image", description="whose embedding")
    rows: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="rows of a cell of k-means, on average: a row is compared with those of two such cells",
    )


class MaxPerCaption(Settings):
    """Drops rows whose caption more than so many others have; those with the smallest keys stay."""

    max: int = Field(10, ge=1, le=1_000_000_000, description="so many rows of one caption stay")
    similarity: float = Field(
        1.0,
        ge=0.5,
        le=1,
        description="captions that share so much of their n-grams (Jaccard) count as one; 1: equal captions alone",
    )
    scope: Literal["corpus", "source", "language"] = Field(
        "corpus", description="where rows of one caption are counted: all together, or by source or language"
    )


CLIP: Final = Rule("clip", Clip, on=False, paper="paper")
UNSCORED: Final = "unscored"
"""The reason of a row without the CLIP score that the data should have brought; it stands before `clip`."""

RULES: Final = (
    CLIP,
    Rule("repeat", Repeat, always=True),
    Rule("exact", Exact, about="duplicate"),
    Rule("pixels", Pixels, about="duplicate"),
    Rule("phash", Phash, about="duplicate"),
    Rule("semantic", Semantic, on=False),
    Rule("max_per_caption", MaxPerCaption, on=False),
)
