"""The rules of a recipe, one block each, in the order in which they give a row its reason.

A rule decides over signals that are measured already, so a change here measures nothing again.
`off` switches a rule off; `no_caption` and `repeat` are always on."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from schemas.settings import Settings, switch

Off = Literal[False]


class NoCaption(Settings):
    """Drops a row without a caption, or with one that is empty once cleaned."""


class SpecialTag(Settings):
    """Drops a caption with a placeholder such as <PERSON> (signals.caption.special_tags)."""


class Pattern(Settings):
    """Drops a caption that is a file name, a URL, a date, … and nothing else (signals.caption.patterns)."""

    allow: tuple[str, ...] = Field((), description="names of patterns that are no reason to drop")


class CaptionLength(Settings):
    """Drops captions that are too short or too long, as cleaned."""

    min_chars: int = Field(
        5, ge=0, description="fewer characters fail, unless there are min_han Han characters"
    )
    max_chars: int = Field(1000, ge=1)
    min_han: int = Field(3, ge=1, description="so many Han characters are enough, however short the caption")
    min_words: int | None = Field(None, ge=0, description="a Han character counts as a word")
    max_words: int | None = Field(None, ge=1)


class Script(Settings):
    """Drops captions written in scripts other than those of the languages."""

    scripts: tuple[str, ...] | None = Field(
        None,
        description="Unicode names of the scripts allowed, as in Latin, Han; default: those of the languages",
    )
    tolerance: float = Field(
        0.1, ge=0, le=1, description="share of the letters that may be of other scripts: α and π in physics"
    )


class Emoji(Settings):
    """Drops captions with emoji."""

    max: int = Field(0, ge=0, description="so many emoji pass")


class LanguageRule(Settings):
    """Drops captions in languages that the recipe does not list."""

    min_score: float = Field(
        0.5,
        ge=0,
        le=1,
        description="another language with a lower score counts as undetermined: a guess at a short text",
    )
    undetermined: Literal["script", "keep", "drop"] = Field(
        "script",
        description="an undetermined caption passes if its scripts are those of the languages; always; never",
    )


class AspectRatio(Settings):
    """Drops pictures that are too long for their width."""

    max: float = Field(3.0, ge=1, description="longer side / shorter side")


class MinSide(Settings):
    """Drops pictures that are too small."""

    pixels: int = Field(200, ge=1, description="the shorter side is at least this")


class Blank(Settings):
    """Drops pictures of one colour: those below both limits (why these: filters/contrast.py)."""

    grey_std: float = Field(1.0, ge=0)
    grey_range: int = Field(64, ge=0, le=256)


class Orientation(Settings):
    """Drops pictures with an EXIF turn; for signals.picture.orientation: drop."""


class TextArea(Settings):
    """Drops text-heavy pictures whose caption repeats their text; needs signals.text."""

    max: float = Field(0.2, ge=0, le=1, description="so much of the picture's area may be text")
    repeats: float = Field(
        0.5, ge=0, le=1, description="share of the caption's words that the text must hold for a drop; 0: any"
    )


Value = bool | int | float | str


class ColumnLimit(Settings):
    """What the values of one `extra` column may be: a range of numbers, or a list of values.

    Numbers in text are numbers, and `true` and `false` in text are booleans. What is no number is null
    to `min` and `max`.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    min: float | None = Field(None, description="the least number that passes")
    max: float | None = Field(None, description="the largest number that passes")
    one_of: tuple[Value, ...] | None = Field(None, alias="in", min_length=1, description="these values pass")
    not_in: tuple[Value, ...] | None = Field(None, min_length=1, description="these values fail")
    missing: Literal["drop", "keep"] = Field("drop", description="what becomes of a row without a value")

    @model_validator(mode="after")
    def _some(self) -> "ColumnLimit":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"nothing passes: min {self.min:g} is above max {self.max:g}")
        if not self.model_fields_set:
            raise ValueError("give min, max, in, not_in or missing, or switch the column's rule off")
        return self


class ColumnRules(Settings):
    """Drops rows by columns that came with the data: the column's name, and what its values may be.

    A row dropped by the column `punsafe` has the reason `columns.punsafe`. Columns are those that the
    source carries (columns: {extra: […]}).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[ColumnLimit | Off, switch(ColumnLimit)]] = Field(init=False)

    @property
    def limits(self) -> dict[str, ColumnLimit]:
        """The columns whose rule is on, with their limits, in the order given."""
        return {name: limit for name, limit in self.__pydantic_extra__.items() if limit is not False}


class ClipLimit(Settings):
    """A threshold on the CLIP score: a value, or the share that stays."""

    min: float | None = Field(None, ge=-1, le=1, description="the least cosine of picture and caption")
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
    """Drops pairs whose picture and caption do not fit, by CLIP score.

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
    """Drops rows that repeat a row: same picture or URL, same caption."""


class Exact(Settings):
    """Drops pictures with the same bytes as a better one."""


class Pixels(Settings):
    """Drops pictures that decode to the same pixels as a better one."""


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("imagehash's pHash has as many ones as zeros, so distances are even numbers")
    return value


class Phash(Settings):
    """Drops pictures that look like a better one."""

    distance: Annotated[int, AfterValidator(_even)] = Field(
        4, ge=0, le=16, description="Hamming distance of 64 bits"
    )


class RuleSettings(Settings):
    """The recipe's `rules` block, in rule order."""

    no_caption: NoCaption = NoCaption()
    special_tag: Annotated[SpecialTag | Off, switch(SpecialTag)] = SpecialTag()
    pattern: Annotated[Pattern | Off, switch(Pattern)] = Pattern()
    caption_length: Annotated[CaptionLength | Off, switch(CaptionLength)] = CaptionLength()
    script: Annotated[Script | Off, switch(Script)] = Script()
    emoji: Annotated[Emoji | Off, switch(Emoji)] = Emoji()
    language: Annotated[LanguageRule | Off, switch(LanguageRule)] = LanguageRule()
    aspect_ratio: Annotated[AspectRatio | Off, switch(AspectRatio)] = AspectRatio()
    min_side: Annotated[MinSide | Off, switch(MinSide)] = MinSide()
    blank: Annotated[Blank | Off, switch(Blank)] = Blank()
    orientation: Annotated[Orientation | Off, switch(Orientation)] = False
    text_area: Annotated[TextArea | Off, switch(TextArea)] = False
    columns: Annotated[ColumnRules | Off, switch(ColumnRules)] = False
    clip: Annotated[Clip | Off, switch(Clip)] = False
    repeat: Repeat = Repeat()
    exact: Annotated[Exact | Off, switch(Exact)] = Exact()
    pixels: Annotated[Pixels | Off, switch(Pixels)] = Pixels()
    phash: Annotated[Phash | Off, switch(Phash)] = Phash()


def in_order(reasons: Iterable[str]) -> list[str]:
    """Reasons in the order in which they are given: evaluation first, then the rules, then any others.

    `columns.NAME` stands with `columns`, and `unscored` before `clip`.
    """
    fields = list(RuleSettings.model_fields)
    places = {"unscored": fields.index("clip") - 0.5, **{name: place for place, name in enumerate(fields)}}

    def place(reason: str) -> tuple[float, str]:
        if reason.startswith("eval:"):
            return -1, reason
        return places.get(reason.partition(".")[0], len(fields)), reason

    return sorted(reasons, key=place)
