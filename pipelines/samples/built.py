"""What a builder makes of each record: drafts of samples, or the reason why not."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines.samples.reasons import Refusal, Refused
from schemas.sample import Turn


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

    What a wrong type or a missing field in a record raises becomes an outcome too. A member that was there
    before gets a number, so that members stay unique.
    """
    seen: dict[str, int] = {}
    for member, value, refusal in records:
        if member in seen:
            seen[member] += 1
            again = Refusal("repeated_id", f"{member!r} was there before")
            yield Built(f"{member}~{seen[member]}", (), again)
            continue
        seen[member] = 1
        if refusal is not None:
            yield Built(member, (), refusal)
            continue
        try:
            drafts, lost = make(value)
        except Refused as error:
            yield Built(member, (), error.refusal)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            yield Built(member, (), Refusal("bad_record", _wrong(error)))
        else:
            if drafts:
                yield Built(member, tuple(drafts), None, tuple(lost))
            else:
                yield Built(
                    member,
                    (),
                    lost[0] if lost else Refusal("no_regions", "nothing to build from"),
                    tuple(lost),
                )


def _wrong(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the field {error.args[0]!r} is missing"
    return f"a field is of the wrong kind ({type(error).__name__}: {str(error)[:200]})"
