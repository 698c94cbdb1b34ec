"""What an annotation dataset is: files read as records, each of which becomes samples or a reason why not.

Every record has exactly one outcome, so nothing is lost without a trace.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, BinaryIO, Final, NamedTuple

from pipelines.datasets.drafts import Draft
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.files import FileInfo, Store
from schemas.errors import InputError
from schemas.sample import TASKS

MAX_TEXT: Final = 500
"""Characters of a refusal's sentence."""

BAD: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What a field of the wrong kind in a record raises."""

OF_ANOTHER: Final = (
    *("bad_record", "unread_field", "no_image", "bad_json", "trailing_garbage", "too_large", "box_numbers"),
    *("no_regions", "empty_question", "empty_answer", "empty_caption", "unanswered", "no_question"),
    *("unknown_annotation", "unknown_image"),
)
"""Reasons for which a record that is read by the wrong format is refused."""

Files = Mapping[str, BinaryIO]
"""A dataset's files by their part, open for reading."""


class Record(NamedTuple):
    """One annotation record; `refusal` where it could not be read."""

    member: str
    value: Mapping[str, Any]
    refusal: Refusal | None = None


Made = tuple[list[Draft], list[Refusal]]
"""Drafts of one record, and the parts of it that were lost."""


class Annotation(NamedTuple):
    """One annotation of a record: what it is, its id, and why it is lost; `refusal` is None where it is used."""

    kind: str
    id: str
    refusal: Refusal | None = None


class Built(NamedTuple):
    """The one outcome of a record: `drafts`, or `refusal`; `lost` are parts of it that went.

    `member` names the record within its source's shard; `annotations` has each annotation of it once.
    """

    member: str
    drafts: tuple[Draft, ...]
    refusal: Refusal | None = None
    lost: tuple[Refusal, ...] = ()
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A look at a file or a record: the text of its ends, and the names of all fields seen in it.

    `form` is list, object, lines, pickle or parquet; empty of a record.
    """

    form: str
    fields: frozenset[str]
    text: str = ""


def having(*fields: str) -> Callable[[Glimpse], float]:
    """Returns how well a look at a file fits a format whose records have these fields: their number, or 0."""
    return lambda seen: float(len(fields)) if seen.fields >= {*fields} else 0.0


@dataclass(frozen=True, slots=True)
class Dataset:
    """How one dataset is read: `make` turns the value of a record into samples for `tasks`, or raises Refused.

    Records come from `records`, which reads the files that `parts` name, or from `folder`, which reads the folder
    at a path of a store. `published` says which files these are, `unit` what a record of them is; `recognised`
    how much in a file says that it is one of the dataset's, such as the number of fields that only its records have; 0
    where nothing does. `named`: its records are called by ids of their
    own, which become those of their views; but not where they are called `record-N` or `picture-N`.

    A record holds one annotation, which is called as its `unit`, and has another, a `part`, for each of its parts that
    went; or it holds as many as `listed` gives ids for, each of which
    is called `kind`. Drafts and refusals name these by their place. `many` are patterns of file names where a
    folder may hold one file of the dataset beside another; `spare` those of files read where it holds none of `many`.
    """

    published: str
    unit: str
    tasks: tuple[str, ...]
    make: Callable[[Mapping[str, Any]], Made]
    records: Callable[[Files], Iterator[Record]] | None = None
    folder: Callable[[Store, str], Iterator[Record]] | None = None
    parts: tuple[str, ...] = ("records",)
    recognised: Callable[[Glimpse], float] | None = None
    named: bool = False
    listed: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    kind: str = ""
    many: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()

    def id_of(self, member: str) -> str | None:
        """Returns the id that the record of that name has of its own; None where it has none."""
        is_own = self.named and not member.startswith(("record-", "picture-"))
        return member if is_own else None

    @property
    def called(self) -> str:
        """Returns what one of its annotations is called: object, question, …"""
        return self.kind or self.unit.split()[-1]

    def __post_init__(self) -> None:
        if (self.records is None) == (self.folder is None):
            raise ValueError("a dataset has either records, read from files, or folder, read from a folder")
        if strange := set(self.tasks) - TASKS.keys():
            raise ValueError(f"there is no task {', '.join(strange)}; tasks are {', '.join(TASKS)}")


def matching(infos: Iterable[FileInfo], *choices: Sequence[str]) -> list[FileInfo]:
    """Returns the files of a folder that match the first choice of patterns that any matches; none hidden or empty."""
    seen = [info for info in infos if info.size and not is_hidden(info.name)]
    for patterns in choices:
        found = [
            info
            for info in seen
            if any(fnmatchcase(posixpath.basename(info.name).lower(), one) for one in patterns)
        ]
        if found:
            return found
    return []


def is_hidden(name: str) -> bool:
    """Returns whether a part of a file's name below its folder begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def build(
    records: Iterable[Record], dataset: Dataset, better: Callable[[Mapping[str, Any]], str] = lambda value: ""
) -> Iterator[Built]:
    """Returns one outcome for each record, in order.

    What a wrong type or a missing field in a record raises becomes an outcome too; the sentence on it ends with what
    `better` says of the record.
    """
    for record in unique(records):
        built = _outcome(record, dataset, better)
        yield built._replace(annotations=_accounted(built, record, dataset))


def _outcome(record: Record, dataset: Dataset, better: Callable[[Mapping[str, Any]], str]) -> Built:
    """Returns the outcome of a record, but for its annotations."""
    member, value, refusal = record
    if refusal is not None:
        return Built(member, (), _shortened(_hinted(refusal, better, value)))
    try:
        drafts, lost = dataset.make(value)
    except Refused as error:
        return Built(member, (), _shortened(_hinted(error.refusal, better, value)))
    except BAD as error:
        return Built(member, (), _shortened(_hinted(bad_record(error), better, value)))
    except Exception as error:
        error.add_note(f"while the record {member!r} was built")
        raise
    if strange := {draft.task for draft in drafts} - TASKS.keys():
        raise InputError(f"record {member!r} became samples of the unknown task {', '.join(strange)}")
    gone = tuple(map(_shortened, lost))
    if drafts:
        return Built(member, tuple(drafts), None, gone)
    why = next(iter(gone), Refusal("no_regions", "nothing to build from"))
    return Built(member, (), _shortened(_hinted(why, better, value)), gone)


def _hinted(
    refusal: Refusal, better: Callable[[Mapping[str, Any]], str], value: Mapping[str, Any]
) -> Refusal:
    """Returns a refusal whose sentence ends with the format that fits the record better, if one does."""
    if refusal.reason not in OF_ANOTHER or not (hint := better(value)):
        return refusal
    return refusal._replace(text=refusal.text[: MAX_TEXT - len(hint)] + hint)


def _accounted(built: Built, record: Record, dataset: Dataset) -> tuple[Annotation, ...]:
    """Returns each annotation of a record once: used where a draft teaches it, else with the reason why not."""
    if dataset.listed is None or not record.value:
        own = next((draft.about.id for draft in built.drafts if draft.about.id), None)
        whole = Annotation(dataset.called, shortened(own or built.member), built.refusal)
        parts = () if built.refusal else built.lost
        return (whole, *(Annotation("part", whole.id, one) for one in parts))
    taught = {at for draft in built.drafts for at in draft.taught}
    gone = {one.at: one for one in reversed(built.lost) if one.at is not None}
    other = built.refusal or Refusal("bad_record", "the annotation is not read")
    return tuple(
        Annotation(dataset.called, shortened(id_), None if at in taught else gone.get(at, other))
        for at, id_ in enumerate(dataset.listed(record.value))
    )


def unique(records: Iterable[Record]) -> Iterator[Record]:
    """Returns the records, each under a member of its own; one whose member another one had, that is read, is refused.

    So the good one of two lines about an image stays, wherever the bad one stands.
    """
    seen: dict[str, int] = {}
    read = set[str]()
    for name, value, refusal in records:
        member = name if name.isascii() else _writable(name)
        if member in read:
            refusal = refusal or Refusal("repeated_id", f"{member!r} was there before")
        if refusal is None:
            read.add(member)
        own = member if member not in seen else _another(member, seen)
        seen.setdefault(member, 1)
        yield Record(own, value, refusal)


def _another(member: str, seen: dict[str, int]) -> str:
    """Returns a name that no other record has, for a record whose id was there before."""
    while True:
        seen[member] += 1
        name = f"{member}~{seen[member]}"
        if name not in seen:
            seen[name] = 1
            return name


def _shortened(refusal: Refusal) -> Refusal:
    """Returns a refusal that a ledger can hold: characters that UTF-8 can write, and not too many."""
    return refusal._replace(text=shortened(refusal.text))


def shortened(text: str) -> str:
    """Returns the start of a text, in characters that UTF-8 can write."""
    return _writable(text[:MAX_TEXT])


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def bad_record(error: Exception) -> Refusal:
    """Returns the refusal of a record, or of a part of it, for an error of the kinds BAD."""
    if isinstance(error, KeyError):
        return Refusal("bad_record", f"the field {error.args[0]!r} is missing")
    return Refusal("bad_record", f"a field is of the wrong kind ({type(error).__name__}: {str(error)[:200]})")
