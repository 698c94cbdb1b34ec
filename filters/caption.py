"""The cleaned caption with its lengths, irregular pattern and special tag, and the rules over them.

Cleaning edits what is wrong inside a good caption (filters/repair.py, white space, the recipe's
`fragments`) and leaves every other byte alone. A caption that is nothing but an irregular pattern
stays as it is, so that a person sees what the rule `pattern` dropped.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex  # type: ignore[import-untyped]
from pydantic import Field, field_validator

from filters.arrow import Bools, Column, Rows, any_of, array, bools, matching, pc, put, some
from filters.damage import DAMAGED, damage, restored
from filters.filter import Columns, Filter, Rule
from filters.marks import CONTROL, HEX, LETTER, WIDE, Marks, NeededMarks
from filters.patterns import FRAGMENTS, NEEDED, NEEDED_MARKS, PATTERNS, SPECIAL_TAGS, STUMPS
from filters.personal import RULE as PERSONAL_DATA
from filters.personal import Kind, checked_regions, masked
from filters.repair import SUSPICIOUS, mend
from filters.repeated_words import repeated
from filters.repetition import RULES as REPETITION
from filters.scripts import SCRIPTS, code_points, every_character, script_table
from filters.short import MIN_LETTERS, says_enough
from schemas.settings import Settings

PASSES: Final = 64
"""Cleaning repeats until nothing changes, as one step uncovers work for another (`&amp;lt;b&amp;gt;`);
each pass shortens the text, so real captions take two or three and only hostile ones get this far."""

REPEATED: Final = "repeated_words"

_SPACES: Final = (
    r"\t-\r\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)

_KEEP: Final = "(?P<keep>"

_OPENING: Final = r"^[\"'“”‘’(\[{<【（]*(?:"
_CLOSING: Final = r")[\"'“”‘’)\]}>】）.,;!。]*$"
_TO_MEND: Final = NeededMarks((f"{CONTROL}{WIDE}&<%\\",))
"""What a text has that `restored` or `mend` may change; u4e00u53ea without its backslashes is none."""
_LARGEST: Final = 10_000
"""Characters of an expression in a recipe."""
_MOST: Final = 1000
"""Expressions of a block; each reads every caption."""
_NO_WORD, _WORD, _HAN, _APOSTROPHE = range(4)


class CaptionSettings(Settings):
    """How captions are cleaned and what is looked for in them.

    The expressions are RE2's (linear in time, so neither a recipe nor a caption can stall them), and
    case is ignored. What a recipe lists is laid over the defaults of filters/patterns.py, name by
    name; `off` takes one away.
    """

    patterns: dict[str, str | Literal[False]] = Field(
        {**PATTERNS},
        description="name: expression; a caption that is nothing else has this irregular pattern",
    )
    fragments: dict[str, str | Literal[False]] = Field(
        {**FRAGMENTS}, description="name: expression; cleaning removes it from inside a longer caption"
    )
    special_tags: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(
        SPECIAL_TAGS, max_length=1000, description="placeholders that mark a masked caption"
    )
    repeated_words: int = Field(
        3,
        ge=0,
        le=1_000_000,
        description="a caption whose words stand this often on average has the pattern repeated_words; 0: off",
    )
    max_spaces: int = Field(
        2,
        ge=1,
        le=1000,
        description="the longest run of plain spaces left alone (many typists end a sentence with two); "
        "any longer run, and any other white space, becomes one space",
    )

    mask: tuple[Kind, ...] = Field(
        (), description="personal data that cleaning replaces by its name: email, phone, ip, card"
    )
    regions: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="regions whose phone numbers are masked without country code, as US, CN",
    )

    @field_validator("regions")
    @classmethod
    def _known(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        return checked_regions(regions)

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
        if len(expressions) > _MOST:
            raise ValueError(f"{len(expressions):,} expressions are too many: give at most {_MOST:,}")
        for name, expression in expressions.items():
            if expression and len(expression) > _LARGEST:
                raise ValueError(
                    f"{name} is too large: {len(expression):,} characters, where {_LARGEST:,} are allowed; split it"
                )
            try:
                # by itself for a sentence about what is written, then as it is used
                for form in (expression or "", f"(?i){_OPENING}{expression or ''}{_CLOSING}"):
                    pc.match_substring_regex(pa.array([""]), form)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{name} is no RE2 expression: {error}") from None
        return expressions


class Captions:
    """Cleans raw captions and measures them."""

    def __init__(self, settings: CaptionSettings) -> None:
        self._patterns = {name: expression for name, expression in settings.patterns.items() if expression}
        self._fragments = [expression for expression in settings.fragments.values() if expression]
        self._repeated = settings.repeated_words
        self._mask, self._regions = settings.mask, settings.regions
        self._max_spaces = settings.max_spaces
        self._spaces = rf" {{{settings.max_spaces + 1},}}| *[{_SPACES}][ {_SPACES}]*"
        tags = "|".join(regex.escape(tag) for tag in sorted(settings.special_tags, key=len, reverse=True))
        self._tag = regex.compile(tags, regex.IGNORECASE) if tags else None
        self._tag_starts = "".join(sorted({tag[0] for tag in settings.special_tags}))
        if any(one.isalpha() for one in self._tag_starts):
            # a letter is found in another case too, as k in the sign for kelvin
            self._tag_starts += LETTER + WIDE

    def measure(self, rows: pa.RecordBatch) -> dict[str, Column]:
        """The columns that start from the raw caption; all of them null where it is.

        `special_tag` looks at the raw caption, and at the cleaned one for what entities or a broken
        encoding hid.
        """
        captions: Any = rows["caption_raw"]
        clean = self._masked(self.clean(captions))
        marks = Marks(clean)
        words, han = _words(clean)
        tag, tag_clean = (self._special_tag(*both) for both in ((captions, Marks(captions)), (clean, marks)))
        return {
            "caption": clean,
            "caption_chars": pc.utf8_length(clean),
            "caption_words": words,
            "caption_han": han,
            "pattern": self._pattern(clean, marks),
            "special_tag": pc.coalesce(tag, tag_clean),
            "damage": _damage(clean, marks),
        }

    def _masked(self, clean: pa.StringArray) -> Any:
        """The captions with names in place of personal data that is to be masked."""
        if not self._mask:
            return clean
        texts = [text and masked(text, self._mask, self._regions) for text in clean.to_pylist()]
        return array(texts, pa.string())

    def clean(self, captions: pa.StringArray) -> pa.StringArray:
        """The captions cleaned; cleaning what is clean changes nothing."""
        done = captions
        rows: Rows = np.arange(len(captions))
        for _ in range(PASSES):
            before = some(done, rows) if len(rows) < len(done) else done
            after = self._pass(before)
            changed = bools(pc.not_equal(before, after))
            rows = rows[changed]
            if not len(rows):
                break
            done = put(done, rows, after.filter(array(changed)))
        return done

    def _pass(self, texts: pa.StringArray) -> pa.StringArray:
        marks = Marks(texts)
        odd = marks.rows(_TO_MEND)
        texts = _on_matching(texts, odd, DAMAGED, restored)
        texts = _on_matching(texts, odd, SUSPICIOUS, mend)
        rows = np.union1d(odd, marks.rows(NeededMarks(run=" ", times=self._max_spaces + 1)))
        texts = put(texts, rows, pc.replace_substring_regex(some(texts, rows), self._spaces, " "))
        return self._without_fragments(pc.utf8_trim_whitespace(texts))

    def _without_fragments(self, texts: pa.StringArray) -> pa.StringArray:
        """`texts` without fragments, one after the other; a text that is a pattern as a whole stays as it is."""
        marks = Marks(texts)
        found = [_found(texts, one, one, marks) for one in self._fragments]
        whole, changed, hit = np.zeros((3, len(texts)), bool)
        for rows in found:
            hit[rows] = True
        self._note_whole(texts, np.flatnonzero(hit), whole)
        for expression, rows in zip(self._fragments, found, strict=True):
            # a text that another fragment has changed is another text
            again = np.flatnonzero(changed & ~whole)
            if len(again):
                edited = some(texts, again)
                again = again[_found(edited, expression, expression, Marks(edited))]
                self._note_whole(texts, again, whole)
            rows = np.union1d(rows[~changed[rows]], again)
            rows = rows[~whole[rows]]
            if len(rows):
                texts = put(texts, rows, _removed(some(texts, rows), expression))
                changed[rows] = True
        return texts

    def _note_whole(self, texts: pa.StringArray, rows: Rows, whole: Bools) -> None:
        """Writes into `whole` which texts of some rows are patterns as a whole."""
        if len(rows):
            found = some(texts, rows)
            whole[rows] = bools(pc.is_valid(self._pattern(found, Marks(found))))

    def _pattern(self, clean: pa.StringArray, marks: Marks) -> Any:
        """The name of the first pattern that a caption is as a whole, else null."""
        names = [*self._patterns, REPEATED]
        found = np.full(len(clean), len(names))
        if self._repeated:
            found[repeated(clean, self._repeated)] = len(self._patterns)
        for number, expression in reversed([*enumerate(self._patterns.values())]):
            found[_found(clean, _OPENING + expression + _CLOSING, expression, marks)] = number
        return array([*names, None], pa.string()).take(array(found))

    def _special_tag(self, texts: pa.StringArray, marks: Marks) -> Any:
        if self._tag is None:
            return pa.nulls(len(texts), pa.string())
        rows = marks.rows(NeededMarks((self._tag_starts,)))
        tags = [
            match[0] if text and (match := self._tag.search(text)) else None
            for text in some(texts, rows).to_pylist()
        ]
        return put(pa.nulls(len(texts), pa.string()), rows, array(tags, pa.string()))


def _found(texts: pa.StringArray, expression: str, known: str, marks: Marks) -> Rows:
    """Returns the rows in which an expression is found; `known` is it, or what NEEDED and NEEDED_MARKS name of it."""
    needed = NEEDED_MARKS.get(known)
    rows = marks.rows(needed) if needed is not None else None
    return matching(texts, expression, NEEDED.get(known), rows)


def _removed(texts: pa.StringArray, fragment: str) -> pa.StringArray:
    """`texts` with a line feed in place of a fragment, and without what pointed to it."""
    texts = pc.replace_substring_regex(texts, f"(?i){fragment}", _in_place_of(fragment))
    for stump in STUMPS:
        texts = pc.replace_substring_regex(texts, f"(?i){stump}", "\n")
    return texts


def _in_place_of(fragment: str) -> str:
    """What a fragment leaves: a line feed, and the group `keep` on its side of it."""
    if _KEEP not in fragment:
        return "\n"
    return "\\1\n" if fragment.startswith(_KEEP) else "\n\\1"


def _damage(texts: pa.StringArray, marks: Marks) -> Any:
    """What is wrong with each text that a wrong encoding damaged beyond repair, else null."""
    # u4e00u53ea has no other mark
    rows = np.union1d(marks.rows(NeededMarks((f"{WIDE}%\\",))), marks.rows(NeededMarks(run=HEX, times=4)))
    rows = matching(texts, DAMAGED, rows=rows)
    found = [damage(text) for text in some(texts, rows).to_pylist()]
    return put(pa.nulls(len(texts), pa.string()), rows, array(found, pa.string()))


def _on_matching(texts: pa.StringArray, rows: Rows, expression: str, change: Callable[[str], str]) -> Any:
    """`texts` with `change` done to those of some rows in which the expression is found."""
    rows = matching(texts, expression, rows=rows)
    changed = [change(text) for text in some(texts, rows).to_pylist()]
    return put(texts, rows, array(changed, pa.string()))


@cache
def _word_table() -> npt.NDArray[np.uint8]:
    """A table from code point to what it is to a word: a part, a Han character, an apostrophe, no part."""
    parts = "".join(regex.findall(r"[\p{L}\p{M}\p{N}]+", every_character()))
    table = np.zeros(0x110000, np.uint8)
    table[np.frombuffer(parts.encode("utf-32-le"), np.uint32)] = _WORD
    table[script_table() == SCRIPTS.index("Han")] = _HAN
    table[[ord("'"), ord("’"), 0x200C, 0x200D]] = _APOSTROPHE
    return table


def _words(texts: pa.StringArray) -> tuple[Any, Any]:
    """Words and Han characters of each text: each Han character is a word, as is each run of other letters,
    marks and digits (apostrophes inside it included)."""
    found = code_points(texts)
    kind = _word_table().take(found.points)
    inner = (kind[1:-1] == _APOSTROPHE) & (kind[:-2] == _WORD) & (kind[2:] == _WORD)
    kind[1:-1][inner] = _WORD
    start = kind == _WORD
    start[1:] &= kind[:-1] != _WORD
    han = kind == _HAN
    missing = bools(texts.is_null())
    words, characters = found.counts(start | han), found.counts(han)
    return array(words, pa.int32(), missing), array(characters, pa.int32(), missing)


class NoCaption(Settings):
    """Drops a row without a caption, or with one that is empty once cleaned."""


class SpecialTag(Settings):
    """Drops a caption with a placeholder such as `<PERSON>` (signals.caption.special_tags)."""


class DamagedText(Settings):
    """Drops a caption that a wrong encoding damaged beyond repair (filters/damage.py)."""


class Pattern(Settings):
    """Drops a caption that is a file name, a URL, a date, … and nothing else (signals.caption.patterns)."""

    allow: tuple[str, ...] = Field((), description="names of patterns that are no reason to drop")


class CaptionLength(Settings):
    """Drops captions that are too short or too long, as cleaned."""

    min_chars: int = Field(
        5, ge=0, le=1_000_000, description="fewer characters fail, unless min_han or min_letters are there"
    )
    max_chars: int = Field(1000, ge=1, le=1_000_000)
    min_han: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="so many Han characters are enough, however short the caption; default: 3, or 2 that name "
        "something (filters/short.py)",
    )
    min_letters: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        {**MIN_LETTERS}, description="Unicode name of a script: so many of its letters are enough"
    )
    min_words: int | None = Field(None, ge=0, le=1_000_000, description="a Han character counts as a word")
    max_words: int | None = Field(None, ge=1, le=1_000_000)


def _pattern(columns: Columns, settings: Pattern, languages: Sequence[str]) -> Any:
    found = columns["pattern"]
    allowed = pc.is_in(found, value_set=array(settings.allow, pa.string()))
    return pc.and_(pc.is_valid(found), pc.invert(allowed))


def _length(columns: Columns, settings: CaptionLength, languages: Sequence[str]) -> Any:
    """Fails where the caption is too short (too few characters, of scripts that need as many) or too long."""
    chars, words = columns["caption_chars"], columns["caption_words"]
    fails = [_short(columns, settings), pc.greater(chars, settings.max_chars)]
    if settings.min_words is not None:
        fails.append(pc.less(words, settings.min_words))
    if settings.max_words is not None:
        fails.append(pc.greater(words, settings.max_words))
    return any_of(fails)


def _short(columns: Columns, settings: CaptionLength) -> Any:
    """True where there are too few characters, and too few of scripts that need fewer."""
    short = bools(pc.less(columns["caption_chars"], settings.min_chars))
    rows = np.flatnonzero(short)
    few = [some(columns[name], rows).to_pylist() for name in ("caption", "caption_han", "scripts")]
    for row, caption, han, scripts in zip(rows, *few, strict=True):
        letters = {one["script"]: one["letters"] for one in scripts or ()} | {"Han": han or 0}
        short[row] = not says_enough(caption or "", letters, settings.min_han, settings.min_letters)
    return array(short)


FILTER: Final = Filter(
    name="caption",
    version=2,
    settings=CaptionSettings,
    columns={
        "caption": pa.string(),
        "caption_chars": pa.int32(),
        "caption_words": pa.int32(),
        "caption_han": pa.int32(),
        "pattern": pa.string(),
        "special_tag": pa.string(),
        "damage": pa.string(),
    },
    batch=lambda settings: Captions(settings).measure,
    libraries=("ftfy", "pyarrow", "regex"),
    weights=lambda settings: {"phonenumbers": version("phonenumbers")} if "phone" in settings.mask else {},
    rules=(
        Rule(
            "no_caption",
            NoCaption,
            ("caption",),
            lambda columns, *_: pc.equal(pc.fill_null(columns["caption"], ""), ""),
            always=True,
        ),
        Rule(
            "special_tag",
            SpecialTag,
            ("special_tag",),
            lambda columns, *_: pc.is_valid(columns["special_tag"]),
            lambda row, _: f"special_tag {row['special_tag']}",
            about="caption",
            paper="paper",
        ),
        Rule(
            "damaged_text",
            DamagedText,
            ("damage",),
            lambda columns, *_: pc.is_valid(columns["damage"]),
            lambda row, _: str(row["damage"]),
            about="caption",
        ),
        Rule(
            "pattern",
            Pattern,
            ("pattern",),
            _pattern,
            lambda row, _: f"pattern {row['pattern']}",
            about="caption",
            paper="paper cleans, we drop",
        ),
        Rule(
            "caption_length",
            CaptionLength,
            ("caption", "caption_chars", "caption_words", "caption_han", "scripts"),
            _length,
            lambda row, _: ", ".join(
                f"{row['caption_' + unit]} {unit}" for unit in ("chars", "words", "han")
            ),
            about="caption",
            paper="paper",
        ),
        *REPETITION,
        PERSONAL_DATA,
    ),
)
