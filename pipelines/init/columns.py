"""Guesses from some rows: which columns hold image, caption and URL, and why; the languages of captions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import partial
from typing import Final

from filters.header import sniff
from filters.language import UNDETERMINED
from filters.signals import Measurer
from filters.table import SignalSettings
from pipelines.sources import InputShard
from pipelines.sources.columns import GUESSES, READY, Part
from pipelines.sources.folder import FILE_NAMES
from pipelines.sources.grouping import SHOWN
from pipelines.sources.records import IMAGE_SUFFIXES
from pipelines.sources.table import KINDS
from schemas.sample import SAMPLE_FIELDS

Values = dict[str, list[object]]
"""The values of each column in the rows looked at, without those that are null."""

HINTS: Final = ("caption", "alt", "description", "text", "title", "prompt")
"""Parts of a name that speak of captions, the plainest first."""

KNOWN_EXTRAS: Final = tuple(dict.fromkeys(name for ready in READY.values() for name in ready["extra"]))

_LONGEST: Final = 64  # bytes of a signature
_SHORTEST: Final = 8
"""Characters on average, below which a column of an unknown name is no caption."""


@dataclass(frozen=True, slots=True)
class Guess:
    """The columns that stand for a part of the row, in order of preference, and why.

    `by_default` says that a build takes these where the recipe names none.
    """

    names: tuple[str, ...]
    why: str
    by_default: bool = False


Guesses = dict[Part, Guess]


def values_of(rows: Iterable[Mapping[str, object]]) -> Values:
    """Returns the rows' values by column, in the order in which columns appear."""
    found: Values = {}
    for row in rows:
        for name, value in row.items():
            held = found.setdefault(name, [])
            if value is not None:
                held.append(value)
    return found


def guess(shard: InputShard, values: Values) -> Guesses:
    """Returns a guess for each part that some column can stand for; each column stands for one part."""
    if shard.format == "txt":
        return {}
    found: Guesses = {}
    left = dict(values)
    parts: dict[Part, Callable[[Values], Guess | None]] = {
        "image": partial(_image, shard),
        "url": _url,
        "caption": partial(_caption, shard),
        "extra": _extra,
    }
    for part, choose in parts.items():
        chosen = choose(left)
        if chosen is not None:
            found[part] = chosen
            left = {name: held for name, held in left.items() if name not in chosen.names}
    return found


def image_format(value: object) -> str | None:
    """Returns the format of the image whose bytes a cell holds; None where it holds none."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, list) and len(value) == 1:
        return image_format(value[0])
    if isinstance(value, list) and all(isinstance(one, int) for one in value[:_LONGEST]):
        value = bytes(one & 255 for one in value[:_LONGEST])
    found = sniff(value[:_LONGEST]) if isinstance(value, bytes) else None
    return found if found in SHOWN else None


def is_image_member(name: str, value: object) -> bool:
    """Returns whether a value of a tar's record is a member with the suffix of an image, and no field of its JSON."""
    return isinstance(value, bytes) and name.rpartition(".")[2] in IMAGE_SUFFIXES


def column_of_paths(shard: InputShard, values: Values) -> str | None:
    """Returns the column of a Parquet file that says where images are, without their bytes; None without one."""
    if shard.format != "parquet":
        return None
    order = [*(name for name in GUESSES["image"] if name in values), *values]
    return next((name for name in order if _is_embeddable(values[name])), None)


def text_of(value: object) -> str | None:
    """Returns a value as text; None where it is none."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    return value if isinstance(value, str) else None


def _image(shard: InputShard, values: Values) -> Guess | None:
    if not KINDS[shard.kind].images or shard.format == "files":
        return None
    if shard.format == "tar":
        named = tuple(
            name for name, held in values.items() if any(is_image_member(name, value) for value in held)
        )
        if named:
            return Guess(named, "members with the suffix of an image", by_default=True)
    if shard.format in ("tar", "parquet"):
        return _first(values, GUESSES["image"], _holds_images, "it holds the bytes of images")
    usual = (*GUESSES["image"], *FILE_NAMES)
    return _first(values, usual, _holds_paths, "it holds paths of images")


def _first(
    values: Values, usual: Sequence[str], fits: Callable[[list[object]], bool], why: str
) -> Guess | None:
    """The first column that fits, those with a usual name, of which a build takes the first, before others."""
    known = [name for name in usual if values.get(name)]
    order = [*known, *values]
    return next((Guess((name,), why, name in known[:1]) for name in order if fits(values[name])), None)


def _holds_images(held: list[object]) -> bool:
    return any(image_format(value) for value in held)


def _holds_paths(held: list[object]) -> bool:
    texts = [text_of(value[0] if isinstance(value, list) and len(value) == 1 else value) for value in held]
    return bool(texts) and all(
        text and text.rpartition(".")[2].lower() in IMAGE_SUFFIXES and "://" not in text for text in texts
    )


def _is_embeddable(held: list[object]) -> bool:
    """Whether the values are paths of images, alone or beside bytes that are null."""
    structs = [value for value in held if isinstance(value, Mapping)]
    if structs:
        return any(value.get("path") for value in structs) and not any(
            value.get("bytes") for value in structs
        )
    return _holds_paths(held)


def _holds_urls(held: list[object]) -> bool:
    texts = [text_of(value) for value in held]
    return bool(texts) and all(text and text.startswith(("http://", "https://")) for text in texts)


def _holds_text(held: list[object]) -> bool:
    return bool(held) and all(text_of(value) is not None for value in held)


def _url(values: Values) -> Guess | None:
    usual = tuple(name for name in GUESSES["url"] if name in values)
    if usual:
        return Guess(usual, "a usual name", by_default=True)
    named = [name for name, held in values.items() if "url" in name.lower() and _holds_urls(held)]
    return Guess((named[0],), "its name, and it holds addresses") if named else None


def _caption(shard: InputShard, values: Values) -> Guess | None:
    if shard.format == "tar" and values.keys() >= set(SAMPLE_FIELDS):
        return Guess(("views",), "samples that vlcorpus wrote", by_default=True)
    if usual := tuple(name for name in GUESSES["caption"] if _is_read(shard, values.get(name, []))):
        return Guess(usual, f"a usual name{_of_lists(shard, values[usual[0]])}", by_default=True)
    texts = [
        name
        for name, held in values.items()
        if (_holds_text(held) and not _holds_urls(held) and not _holds_paths(held))
        or (shard.format == "parquet" and _holds_lists(held))
    ]
    free = [name for name in texts if name not in KNOWN_EXTRAS]
    for hint in HINTS:
        for name in free:
            if hint in name.lower():
                lists = _of_lists(shard, values[name])
                return Guess((name,), f"text, and its name has {hint!r} in it{lists}")
    longest = max(free, key=lambda name: _mean_length(values[name]), default=None)
    if longest is None or _mean_length(values[longest]) < _SHORTEST:
        return None
    return Guess((longest,), f"the longest text{_of_lists(shard, values[longest])}")


def _is_read(shard: InputShard, held: list[object]) -> bool:
    """Whether a build reads the values of a column with a usual name as captions."""
    if shard.format != "parquet":
        return bool(held)
    kinds = str | bytes | int
    plain = any(isinstance(value, kinds) and not isinstance(value, bool) for value in held)
    return plain or _holds_lists(held)


def _holds_lists(held: list[object]) -> bool:
    """Whether the values are lists of texts, not all of them empty."""
    lists = [value for value in held if isinstance(value, list)]
    texts = [text_of(one) for value in lists for one in value if one is not None]
    return len(lists) == len(held) and bool(texts) and None not in texts


def _of_lists(shard: InputShard, held: list[object]) -> str:
    """What a build makes of captions that are lists, as the end of a comment."""
    if not any(isinstance(value, list) for value in held):
        return ""
    if shard.format == "parquet":
        return "; lists, of which each caption is a row"
    return "; lists, which are no captions here: write a record for each caption"


def _mean_length(held: list[object]) -> float:
    flat = [one for value in held for one in (value if isinstance(value, list) else [value])]
    return sum(len(text_of(value) or "") for value in flat) / max(len(flat), 1)


def _extra(values: Values) -> Guess | None:
    names = tuple(
        name
        for name in KNOWN_EXTRAS
        if values.get(name) and all(_is_carried(value) for value in values[name])
    )
    return Guess(names, "fields of published datasets, which are kept beside the row") if names else None


def _is_carried(value: object) -> bool:
    """Whether a build carries the value beside the row: text, number, time, or a list of these."""
    if isinstance(value, list):
        return all(_is_carried(one) for one in value)
    return value is None or isinstance(value, str | bytes | int | float | Decimal | date | time)


def languages(captions: Sequence[str]) -> Counter[str]:
    """Returns how many captions are in each language that is determined."""
    table = Measurer(SignalSettings()).table([{"caption_raw": caption} for caption in captions])
    found = table["language"].to_pylist()
    return Counter(language for language in found if language not in (None, UNDETERMINED))
