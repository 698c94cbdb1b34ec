"""RefCOCO, RefCOCO+ and RefCOCOg: refs(*).p, a pickle of expressions, and instances.json as of COCO.

Their images are COCO's train2014: those of val and test must not be trained on elsewhere. The pickles are Python 2's,
of lists, dicts, texts and numbers. A pickle is a program; this reader knows only the instructions that build such
values, so that there is nothing to exploit.
"""

import io
import pickle
from collections.abc import Iterator, Mapping
from pickletools import (
    TAKEN_FROM_ARGUMENT1,
    TAKEN_FROM_ARGUMENT4,
    TAKEN_FROM_ARGUMENT4U,
    UP_TO_NEWLINE,
    opcodes,
)
from typing import Any, Final, NoReturn

from pipelines.datasets.boxes import from_size
from pipelines.datasets.coco import coco_image, licence_of, licences_of
from pipelines.datasets.dataset import BAD, Dataset, Files, Made, Record, bad_record
from pipelines.datasets.drafts import (
    REGION_TASKS,
    About,
    Draft,
    extra_of,
    label,
    on_grid,
    region_drafts,
    teaching,
    text_or_none,
    with_about,
    words,
)
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import FileError, by_id, each, joined, listed, load
from schemas.sample import Phrase

MAX_BYTES: Final = 1 << 30
MAX_OPCODES: Final = 100_000_000

_PLAIN: Final = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *(
            "UNICODE",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
            "BINBYTES",
            "SHORT_BINBYTES",
            "BINBYTES8",
        ),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    )
)
_NAMES: Final = {one.code.encode("latin-1"): one.name for one in opcodes}
_LENGTHS: Final = {
    one.code.encode("latin-1"): one.arg.n if one.arg else 0 for one in opcodes if one.name in _PLAIN
}
"""Bytes of argument of each plain instruction; negative: as pickletools says they are found."""
_MEMO: Final = (b"p", b"r")


def _records(files: Files) -> Iterator[Record]:
    """Returns one record an expression's object, named by its ref_id, joined with annotation and image.

    ShardError where a file is not what it should be; a pickle with anything but plain containers is not.
    """
    data = load(files["instances"].read(), "instances")
    images = by_id(listed(data, "instances", "images"))
    annotations = by_id(listed(data, "instances", "annotations"))
    licences = licences_of(data)
    for record in each(listed(load_pickle(files["refs"].read(), "refs"), "refs"), "ref_id"):
        ref = record.value
        annotation, image = joined(annotations, ref.get("ann_id")), joined(images, ref.get("image_id"))
        licence = licence_of(image, licences) if image else None
        value = {"ref": ref, "annotation": annotation, "image": image, "licence": licence}
        yield record._replace(value=value)


def _make(value: Mapping[str, Any]) -> Made:
    """Returns both views of each expression of the object."""
    ref, annotation, image = value["ref"], value["annotation"], value["image"]
    if image is None:
        raise Refused("unknown_image", f"instances.json has no image {ref['image_id']!r}")
    if annotation is None:
        raise Refused("unknown_annotation", f"instances.json has no annotation {ref['ann_id']!r}")
    shown = coco_image(image)
    box = on_grid(from_size(annotation["bbox"], shown.width, shown.height), shown.width, shown.height)
    lost: list[Refusal] = []
    drafts: list[Draft] = []
    for at, sentence in enumerate(ref["sentences"]):
        try:
            text = words(sentence.get("sent", sentence.get("raw")), "empty_phrase")
        except Refused as error:
            lost.append(error.refusal._replace(at=at))
            continue
        except BAD as error:
            lost.append(bad_record(error)._replace(at=at))
            continue
        extra = extra_of(
            **{name: ref.get(name) for name in ("ann_id", "image_id")}, sent_id=sentence.get("sent_id")
        )
        views = region_drafts(shown, Phrase(text, (box,), (), True), split=label(ref.get("split")))
        drafts += with_about(teaching(views, [at]), About(licence=value.get("licence"), extra=extra))
    if not drafts and not lost:
        raise Refused("empty_phrase", "the object has no expression")
    return drafts, lost


def _sentence_ids(value: Mapping[str, Any]) -> list[str]:
    """Returns the id of each expression, its place among those of its object where it has none."""
    given = value["ref"].get("sentences")
    ids = (
        [one.get("sent_id") if isinstance(one, Mapping) else None for one in given]
        if isinstance(given, list)
        else []
    )
    return [text_or_none(one) or f"expression-{at}" for at, one in enumerate(ids)]


def load_pickle(data: bytes, where: str) -> Any:
    """Returns the value in `data`; ShardError, naming `where`, if it holds anything but plain containers.

    Python 2's byte strings are read as Latin-1, as their publishers' code does.
    """
    if len(data) > MAX_BYTES:
        raise FileError(where, f"is a pickle of {len(data)} bytes", f"the limit is {MAX_BYTES}: leave it out")
    _check(data, where)
    try:
        return _Plain(io.BytesIO(data), encoding="latin-1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise FileError(where, f"is a damaged pickle ({type(error).__name__})", "fetch it again") from error
    except (OverflowError, MemoryError, RecursionError) as error:
        raise FileError(
            where, f"is a pickle that cannot be read ({type(error).__name__})", "leave it out"
        ) from error


class _Plain(pickle.Unpickler):
    """A second lock: even an instruction that should have been refused finds no class."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain container")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("a persistent id is no plain container")


def _check(data: bytes, where: str) -> None:
    """Walks the instructions without following them: each must be plain, each length within the data.

    Not with pickletools.genops, which takes texts of the oldest protocol for ASCII.
    """
    place = 0
    for _ in range(MAX_OPCODES):
        code = data[place : place + 1]
        if code == b".":
            return
        length = _LENGTHS.get(code)
        if length is None:
            raise _forbidden(code, place, where)
        start, place = place + 1, _end(data, place + 1, length)
        if not start <= place <= len(data):
            what = f"is a damaged pickle: it ends within the instruction at byte {start - 1}"
            raise FileError(where, what, "fetch it again")
        if code in _MEMO and _memo_place(code, data[start:place]) > len(data):
            raise FileError(where, "is a damaged pickle: its memo is larger than itself", "fetch it again")
    raise FileError(where, f"is a pickle of more than {MAX_OPCODES} instructions", "leave it out")


def _forbidden(code: bytes, place: int, where: str) -> FileError:
    name = _NAMES.get(code)
    if name is None:
        return FileError(where, f"is a damaged pickle at byte {place}", "fetch it again")
    return FileError(
        where,
        f"is a pickle with the instruction {name} at byte {place}, which could run code",
        "only lists, dicts, tuples, texts and numbers are read",
    )


def _memo_place(code: bytes, argument: bytes) -> int:
    """The place in the memo, a table that grows up to it: a large one would take all memory."""
    if code == b"r":
        return int.from_bytes(argument, "little")
    digits = argument[:-1]
    # what is no number is left to the unpickler, which refuses it; one of many digits is too large anyway
    return int(digits) if digits.isdigit() and len(digits) < 19 else len(digits) // 19 * MAX_BYTES


def _end(data: bytes, start: int, length: int) -> int:
    """Where an instruction's argument ends; 0 where a line has no end."""
    if length >= 0:
        return start + length
    if length == UP_TO_NEWLINE:
        return data.find(b"\n", start) + 1
    width = {TAKEN_FROM_ARGUMENT1: 1, TAKEN_FROM_ARGUMENT4: 4, TAKEN_FROM_ARGUMENT4U: 4}.get(length, 8)
    signed = length == TAKEN_FROM_ARGUMENT4
    return start + width + int.from_bytes(data[start : start + width], "little", signed=signed)


REFCOCO: Final = Dataset(
    "refs(*).p, instances.json (RefCOCO, +, g)",
    "an object",
    REGION_TASKS,
    _make,
    _records,
    parts=("refs", "instances"),
    recognised=lambda seen: 3.0 * (seen.form == "pickle" and "ref_id" in seen.text),
    named=True,
    listed=_sentence_ids,
    kind="expression",
)
