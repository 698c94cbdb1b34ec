"""Dialogues in the dialects that people publish, one format each; `talk.py` knows their records, this their texts.

A format reads its own markup. A record with the markup of another is refused, and the format is named that reads it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from pipelines.datasets.dataset import Dataset, Files, Glimpse, Made, Record
from pipelines.datasets.drafts import (
    About,
    Draft,
    NamedImage,
    check_unicode,
    label,
    named,
    own_licence,
    text_or_none,
)
from pipelines.datasets.objects import MARKS, Objects
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import entries_or_lines, lines
from pipelines.datasets.talk import IMAGE, SHAPES, Said, check_fields, talk_of
from schemas.dialects.dialogue import THOUSANDTHS, TextReader
from schemas.dialects.llava import BOX, read_llava
from schemas.dialects.qwen import from_qwen
from schemas.dialects.qwen3 import BBOX_2D, TOKENS, json_reader, read_tagged
from schemas.markup.reader import MarkupError
from schemas.sample import ImageRef, Phrase, Segment, Text, Turn

_IMAGE: Final = re.compile(r"\n?<image>\n?")


class Foreign(NamedTuple):
    """Markup in a text: what shows it, the formats that read it (none: it is not read), and whose it is."""

    marks: re.Pattern[str]
    formats: tuple[str, ...]
    whose: str


FOREIGN: Final = (
    Foreign(re.compile(r"<img>[^<\n]{1,500}</img>|<box>\s*\(\s*\d|<quad>\s*\(\s*\d"), ("qwen",), "Qwen-VL"),
    Foreign(re.compile(r"<\|(?:object_ref|box|quad)_(?:start|end)\|>"), ("qwen2_vl",), "Qwen2-VL"),
    Foreign(TOKENS, ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "Qwen2-VL and later"),
    Foreign(BBOX_2D, ("qwen3_vl", "qwen2_5_vl"), "Qwen3-VL (from 0 to 1000) or Qwen2.5-VL (pixels)"),
    Foreign(re.compile(r"<patch_index_\d{4}>"), ("kosmos2",), "Kosmos-2"),
    Foreign(re.compile(r"<loc\d{4}><loc\d{4}>"), ("paligemma",), "PaliGemma"),
    Foreign(re.compile(r"<box>\s*\[\s*\[?\s*\d"), (), "InternVL"),
    Foreign(re.compile(r"<\|det\|>|<ImageHere>"), (), "DeepSeek-VL2 or another model"),
    Foreign(re.compile(r"\[\[\d{3},\d{3},\d{3},\d{3}[];]"), (), "CogVLM"),
    Foreign(re.compile(r"<loc_\d{1,3}><loc_\d{1,3}>"), (), "Florence-2"),
    Foreign(re.compile(r"<points? x\d{0,2}=\""), (), "Molmo"),
    Foreign(BOX, ("llava",), "LLaVA (shares of the image's sides)"),
)
"""Markup that a format which does not read it must not teach as words; the last only beside images."""


_LABEL: Final = re.compile(rf"{BBOX_2D.pattern}\s*\Z")
_NEAR: Final = 40
"""Characters before a box in which its label stands."""


def _labelled(text: str, place: int) -> bool:
    """Returns whether what begins at `place` is the value of a bbox_2d."""
    return _LABEL.search(text, max(place - _NEAR, 0), place) is not None


def foreign_in(text: str, name: str, beside_images: bool = True) -> tuple[Foreign, re.Match[str]] | None:
    """Returns whose markup a text holds that the format `name` does not read, and where; None where it holds none."""
    for one in FOREIGN:
        if name in one.formats or (one.marks is BOX and not beside_images):
            continue
        # the numbers of a bbox_2d are that format's, whatever they are
        found = (place for place in one.marks.finditer(text) if not _labelled(text, place.start()))
        if place := next(found, None):
            return one, place
    return None


_APPLIED: Final = re.compile(r"\A\s*<\|im_start\|>|(?:<\|im_end\|>|<\|endoftext\|>|</s>)\s*\Z")
"""What a chat template leaves at the ends of a text."""

_REASONS: Final = {
    "coordinates": "box_numbers",
    "range": "box_outside",
    "order": "box_order",
    "flat": "box_degenerate",
    "normalised": "box_normalised",
    "pixels": "box_pixels",
    "image": "image_count",
}
"""By the kind of a problem in markup, the reason; others are bad_markup."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """A format's name, the reader of its texts, and whether its boxes are shares; `objects`: reads ms-swift's too."""

    name: str
    read: TextReader
    relative: bool = True
    objects: bool = False

    def make(self, value: Mapping[str, Any]) -> Made:
        """Returns the dialogue of a record."""
        talk = talk_of(value)
        given = value.get("objects") if self.objects else None
        objects = Objects(given) if given not in (None, {}, []) else None
        if not self.objects:
            _check_no_objects(value)
        said, lost, skipped = _without_lead(talk.said)
        reader = _checked(
            self.name, objects.read if objects else self.read, bool(talk.names), objects is not None
        )
        turns, shown, cut = _turns(said, reader)
        if objects and not cut:
            objects.check_used()
        names, turns = _matched(talk.names, turns, shown, skipped, bool(cut))
        relative = objects.relative if objects else self.relative
        return [_draft(value, names, turns, relative)], [*lost, *cut]


def _check_no_objects(value: Mapping[str, Any]) -> None:
    """Raises Refused where a record has ms-swift's boxes, which one format alone reads."""
    if value.get("objects") not in (None, "", [], {}):
        raise Refused("unread_field", f"the field 'objects' is ms-swift's: say format: {CONVERSATION.name}")


def _draft(value: Mapping[str, Any], names: Sequence[str], turns: Sequence[Turn], relative: bool) -> Draft:
    images, renumbered = _each_once(names, turns)
    boxed = any(
        isinstance(one, Phrase) and (one.boxes or one.quads) for turn in turns for one in turn.segments
    )
    ids = (text_or_none(value.get(name)) for name in ("id", "conversation_id"))
    about = About(next((one for one in ids if one), None), own_licence(value))
    return Draft(
        *("chat", label(value.get("language")), images, renumbered),
        relative=relative and boxed,
        about=about,
    )


def _without_lead(said: list[Said]) -> tuple[list[Said], list[Refusal], int]:
    """Returns turns without an answer that comes first, its loss, and how many images it shows."""
    if said and said[0].role == "assistant":
        lost = Refusal("leading_answer", "the published scripts leave it out too")
        return said[1:], [lost], said[0].text.count(IMAGE)
    return said, [], 0


def _checked(name: str, read: TextReader, images: bool, objects: bool) -> TextReader:
    """Returns the reader that first refuses markup which `read` does not know."""

    def checked(text: str, taught: bool, count: int) -> tuple[tuple[Segment, ...], int]:
        if foreign := foreign_in(text, name, images):
            one, place = foreign
            remedy = f"say format: {' or '.join(one.formats)}" if one.formats else "no format reads it"
            raise Refused(
                "foreign_markup",
                f"{place[0][:40]!r} at character {place.start()} is markup of {one.whose}: {remedy}",
            )
        if found := _APPLIED.search(text):
            raise Refused(
                "foreign_markup", f"{found[0].strip()!r} is of a chat template: give turns without it"
            )
        if not objects and (found := MARKS.search(text)):
            raise Refused(
                "bad_markup", f"{found[0]} stands for one of objects, which the record does not have"
            )
        return read(text, taught, count)

    return checked


def _turns(said: list[Said], read: TextReader) -> tuple[list[Turn], int, list[Refusal]]:
    """Returns turns that alternate, a question first and an answer last; the images they show; why the rest went."""
    turns: list[Turn] = []
    shown = kept_shown = 0
    cut: list[Refusal] = []
    expected = "user"
    for number, (role, text) in enumerate(said):
        if role == "system" and number == 0:
            turns += [Turn("system", (Text(text),))] if text.strip() else []
            continue
        if role != expected:
            raise Refused("out_of_turn", f"turn {number} is of {role}, where {expected} should speak")
        if not text.strip():
            cut.append(Refusal("empty_answer" if role == "assistant" else "empty_question", f"turn {number}"))
            break
        try:
            segments, after = read(text, role == "assistant", shown)
        except MarkupError as error:
            raise _refused(error, f"turn {number}") from error
        if role == "assistant" and after != shown:
            cut.append(Refusal("answer_image", f"turn {number}"))
            break
        turns.append(Turn(role, segments))
        shown = after
        kept_shown = shown if role == "assistant" else kept_shown
        expected = "assistant" if role == "user" else "user"
    if expected == "assistant":
        cut = cut or [Refusal("unanswered", "the last question has no answer")]
        turns.pop()
    if not any(turn.role == "user" for turn in turns):
        raise Refused(*(cut[0][:2] if cut else ("no_turns", "")))
    return turns, kept_shown, cut


def _refused(error: MarkupError, where: str) -> Refused:
    kind = error.problem.kind if error.problem else ""
    return Refused(_REASONS.get(kind, "bad_markup"), f"{where}, {error}")


def _matched(
    names: list[str], turns: list[Turn], shown: int, skipped: int, cut: bool
) -> tuple[list[str], list[Turn]]:
    """Returns the names of the images that the turns show, and the turns; Refused where they do not match."""
    if shown == 0 and len(names) == 1:
        # some published records do not say where their one image stands: it comes first
        first = next(at for at, turn in enumerate(turns) if turn.role == "user")
        with_image = Turn("user", (ImageRef(0), *turns[first].segments))
        return names, [*turns[:first], with_image, *turns[first + 1 :]]
    if skipped and len(names) == shown + skipped:
        names = names[skipped:]
    if shown > len(names) or (shown < len(names) and not cut):
        raise Refused("image_count", f"{len(names)} images are listed, {shown} shown")
    return names[:shown], turns


def _each_once(
    names: Sequence[str], turns: Sequence[Turn]
) -> tuple[tuple[NamedImage, ...], tuple[Turn, ...]]:
    """Returns images without repeats, and turns that show them by their new numbers."""
    once = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if len(once) == len(names):
        return tuple(map(NamedImage, once)), tuple(turns)
    numbers = [ImageRef(once[name]) for name in names]
    renumbered = tuple(
        Turn(
            turn.role,
            tuple(numbers[one.image] if isinstance(one, ImageRef) else one for one in turn.segments),
        )
        for turn in turns
    )
    return tuple(map(NamedImage, once)), renumbered


def _plain(text: str, taught: bool, shown: int) -> tuple[tuple[Segment, ...], int]:
    if IMAGE not in text:
        return (Text(text, taught),), shown
    segments: list[Segment] = []
    parts = _IMAGE.split(text)
    for number, part in enumerate(parts):
        if part:
            segments.append(Text(part, taught))
        if number < len(parts) - 1:
            segments.append(ImageRef(shown))
            shown += 1
    return tuple(segments), shown


def _qwen(value: Mapping[str, Any]) -> Made:
    """Returns the dialogue of a record of Qwen-VL's finetune JSON, whose texts name the images."""
    _check_no_objects(value)
    for name in ("image", "images"):
        if value.get(name) not in (None, "", [], {}):
            raise Refused("bad_record", f"images stand in the texts, but the record has {name!r}")
    check_fields(value, ("system",))
    talk = talk_of(value)
    said, lost, _ = _without_lead(talk.said)
    foreign = _checked("qwen", _plain, True, False)
    spoken = [{"from": one.role, "value": one.text} for one in said]
    for one in said:
        foreign(one.text, False, 0)
    if number := next((number for number, one in enumerate(said, 1) if IMAGE in one.text), 0):
        raise Refused("foreign_markup", f"turn {number - 1} holds {IMAGE}: say format: conversations")
    try:
        dialogue = from_qwen({"conversations": spoken}, lambda name: THOUSANDTHS)
    except MarkupError as error:
        raise _refused(error, "the record") from error
    for name in dialogue.images:
        check_unicode(named(name))
    read = iter(dialogue.turns)
    turns, _, cut = _turns(said, lambda text, taught, shown: _after(next(read).segments, shown))
    used = {one.image for turn in turns for one in turn.segments if isinstance(one, ImageRef)}
    return [_draft(value, dialogue.images[: len(used)], turns, relative=True)], [*lost, *cut]


def _after(segments: tuple[Segment, ...], shown: int) -> tuple[tuple[Segment, ...], int]:
    return segments, shown + sum(isinstance(one, ImageRef) for one in segments)


IN_PIXELS: Final = {"qwen2_5_vl": "qwen3_vl"}
"""By the format of boxes in pixels, that of the same boxes from 0 to 1000: no record says which it is."""

CONVERSATION: Final = _Dialect("conversations", _plain, objects=True)

_READER: Final = entries_or_lines(*SHAPES)
_TAGS: Final = re.compile(r"<img>[^<]{1,500}</img>|<box>\(\d|<quad>\(\d")
_TOKENS: Final = re.compile(r"<\|(?:object_ref|box)_start\|>")


def _fits_talk(seen: Glimpse) -> float:
    """Returns how well a file fits a dialect of dialogues whose texts tell nothing: 2 where it has dialogues."""
    return 2.0 * any(seen.fields >= {name, *more} for name, more in SHAPES.items())


def _fits_conversations(seen: Glimpse, lines: bool) -> float:
    """Returns how well a file fits dialogues without boxes, of which one format is for lines alone."""
    if lines and seen.form not in ("lines", ""):
        return 0.0
    return _fits_talk(seen) and 2.0 + 0.5 * (lines == (seen.form == "lines"))


def _fits_marked(seen: Glimpse, marks: re.Pattern[str]) -> float:
    """Returns how well a file fits a dialect whose texts hold marks of their own."""
    return _fits_talk(seen) and (4.0 if marks.search(seen.text) else 2.0)


def _fits_shares(seen: Glimpse) -> float:
    """Returns how well a file fits LLaVA's JSON: numbers in brackets are a mark where many records have them."""
    count = 0 if "objects" in seen.fields else len(BOX.findall(seen.text))
    records = sum(seen.text.count(f'"{name}"') for name in SHAPES)
    return _fits_talk(seen) and (3.5 if count and 2 * count >= records else 2.0)


def _fits_qwen(seen: Glimpse) -> float:
    """Returns how well a file fits Qwen-VL's JSON, which names no image outside its texts."""
    elsewhere = seen.fields & {"image", "images", "objects"} or IMAGE in seen.text
    return 0.0 if elsewhere else _fits_marked(seen, _TAGS)


def _dataset(
    published: str,
    make: Callable[[Mapping[str, Any]], Made],
    recognised: Callable[[Glimpse], float],
    records: Callable[[Files], Iterator[Record]] = _READER,
) -> Dataset:
    """Returns a dataset of dialogues."""
    return Dataset(
        *(published, "a conversation", ("chat",), make, records),
        recognised=recognised,
        many=("*.json", "*.jsonl"),
    )


QWEN: Final = _dataset("Qwen-VL's finetune JSON", _qwen, _fits_qwen)
QWEN2_VL: Final = _dataset(
    "Qwen2-VL's JSON, boxes as <\\|box_start\\|> from 0 to 1000",
    _Dialect("qwen2_vl", read_tagged).make,
    partial(_fits_marked, marks=_TOKENS),
)
QWEN2_5_VL: Final = _dataset(
    "Qwen2.5-VL's JSON, boxes as bbox_2d in pixels",
    _Dialect("qwen2_5_vl", json_reader(relative=False), relative=False).make,
    partial(_fits_marked, marks=BBOX_2D),
)
QWEN3_VL: Final = _dataset(
    "Qwen3-VL's JSON, boxes as bbox_2d from 0 to 1000",
    _Dialect("qwen3_vl", json_reader(relative=True)).make,
    partial(_fits_marked, marks=BBOX_2D),
)
LLAVA: Final = _dataset(
    "LLaVA JSON, boxes as shares of the image's own sides",
    _Dialect("llava", read_llava).make,
    _fits_shares,
)
CONVERSATIONS: Final = _dataset(
    "LLaVA, ShareGPT, alpaca, OpenAI or ms-swift JSON",
    CONVERSATION.make,
    partial(_fits_conversations, lines=False),
)
LINES: Final = _dataset(
    "the same, one record a line", CONVERSATION.make, partial(_fits_conversations, lines=True), lines
)
