"""What a builder makes of each record: drafts of samples, or the reason why not."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pipelines.datasets.reasons import Refusal, Refused
from schemas.sample import Turn

MAX_TEXT: Final = 500
"""Characters of a refusal's sentence."""


class Picture(NamedTuple):
    """A picture by its name in the data set; the size that its annotation is for, 0 where none is given."""

    name: str
    width: int = 0
    height: int = 0


class Draft(NamedTuple):
    """A sample without its pictures' bytes.

    `relative`: regions were given as shares of the sides, so they hold for the picture at any size. `split`
    is the data set's own, empty where it has none.
    """

    task: str
    language: str
    images: tuple[Picture, ...]
    turns: tuple[Turn, ...]
    relative: bool = False
    split: str = ""


class Built(NamedTuple):
    """The one outcome of a record: `drafts`, or `refusal`; `lost` are parts of it that went.

    `member` names the record within its source's shard.
    """

    member: str
    drafts: tuple[Draft, ...]
    refusal: Refusal | None = None
    lost: tuple[Refusal, ...] = ()


class Record(NamedTuple):
    """One annotation record; `refusal` where it could not be read."""

    member: str
    value: Mapping[str, Any]
    refusal: Refusal | None = None


Made = tuple[list[Draft], list[Refusal]]
"""Drafts of one record, and the parts of it that were lost."""


def outcomes(records: Iterable[Record], make: Callable[[Mapping[str, Any]], Made]) -> Iterator[Built]:
    """One outcome for each record, in order.

    What a wrong type or a missing field in a record raises becomes an outcome too.
    """
    for member, value, refusal in unique(records):
        if refusal is not None:
            yield Built(member, (), _told(refusal))
            continue
        try:
            drafts, lost = make(value)
        except Refused as error:
            yield Built(member, (), _told(error.refusal))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            yield Built(member, (), _told(Refusal("bad_record", _wrong(error))))
        else:
            gone = tuple(map(_told, lost))
            why = None if drafts else next(iter(gone), Refusal("no_regions", "nothing to build from"))
            yield Built(member, tuple(drafts), why, gone)


def unique(records: Iterable[Record]) -> Iterator[Record]:
    """The records, each under a member of its own; one whose member was there before is refused."""
    seen: dict[str, int] = {}
    for name, value, refusal in records:
        member = name if name.isascii() else _writable(name)
        if member in seen:
            again = Refusal("repeated_id", f"{member!r} was there before")
            yield Record(_another(member, seen), {}, again)
        else:
            seen[member] = 1
            yield Record(member, value, refusal)


def _another(member: str, seen: dict[str, int]) -> str:
    """A name for a record whose id was there before: one that no other record has."""
    while True:
        seen[member] += 1
        name = f"{member}~{seen[member]}"
        if name not in seen:
            seen[name] = 1
            return name


def _told(refusal: Refusal) -> Refusal:
    """A refusal that a ledger can hold: characters that UTF-8 can write, and not too many."""
    return Refusal(refusal.reason, _writable(refusal.text[:MAX_TEXT]))


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _wrong(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the field {error.args[0]!r} is missing"
    return f"a field is of the wrong kind ({type(error).__name__}: {str(error)[:200]})"
