"""Drafts, views without the bytes of their images: of each task, and finished with the images as stored."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pipelines.datasets.reasons import Refused
from schemas.sample import Box, Example, Image, ImageRef, Phrase, Quad, Segment, Text, Turn
from schemas.strict import is_unicode

SHOWN: Final = ImageRef(0)
REGION_TASKS: Final = ("referring", "grounded_caption")
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


class NamedImage(NamedTuple):
    """An image by its name in the dataset; the size that its annotation is for, 0 where none is given; its address."""

    name: str
    width: int = 0
    height: int = 0
    url: str | None = None


class About(NamedTuple):
    """What an annotation says of where it comes from: its id, its licence, and further fields as JSON values."""

    id: str | None = None
    licence: str | None = None
    extra: Mapping[str, Any] | None = None


class Draft(NamedTuple):
    """A view without the bytes of its images.

    `relative`: regions were given as shares of the sides, so they hold for the image at any size; of an image whose
    size is not given they are in thousandths of its sides. `split` is the dataset's own, empty where it has none.
    """

    task: str
    language: str
    images: tuple[NamedImage, ...]
    turns: tuple[Turn, ...]
    relative: bool = False
    split: str = ""
    about: About = About()


class Place(NamedTuple):
    """A phrase, and where it stands in the caption: from the character `start` to before `end`."""

    start: int
    end: int
    phrase: Phrase


def region_drafts(
    image: NamedImage, phrase: Phrase, language: str = "en", relative: bool = False, split: str = ""
) -> list[Draft]:
    """Returns phrase to box, and box to phrase: the same words and boxes; the task says which half is taught."""
    turns = (Turn("document", (SHOWN, phrase)),)
    return [Draft(task, language, (image,), turns, relative, split) for task in REGION_TASKS]


def grounded_drafts(
    image: NamedImage, caption: str, places: Sequence[Place], language: str = "en", relative: bool = False
) -> list[Draft]:
    """Returns the caption with boxes, then both views of each phrase; nothing where there is no phrase."""
    views = [one for place in places for one in region_drafts(image, place.phrase, language, relative)]
    return [grounding_draft(image, caption, places, language, relative), *views] if places else []


def grounding_draft(
    image: NamedImage, caption: str, places: Sequence[Place], language: str = "en", relative: bool = False
) -> Draft:
    """Returns the caption with boxes; the places are in order and apart from each other."""
    segments: list[Segment] = [SHOWN]
    at = 0
    for start, end, phrase in places:
        if start > at:
            segments.append(Text(caption[at:start], True))
        segments.append(phrase)
        at = end
    if at < len(caption):
        segments.append(Text(caption[at:], True))
    return Draft("grounding", language, (image,), (Turn("document", tuple(segments)),), relative)


def caption_draft(image: NamedImage, caption: object) -> Draft:
    """Returns an image with its caption."""
    segments = (SHOWN, Text(words(caption, "empty_caption"), True))
    return Draft("caption", "en", (image,), (Turn("document", segments),))


def vqa_draft(image: NamedImage, question: object, answer: object, split: str = "") -> Draft:
    """Returns a question about an image, and its answer."""
    asked = Text(words(question, "empty_question"))
    said = Text(words(answer, "empty_answer"), True)
    return Draft("vqa", "en", (image,), (Turn("document", (SHOWN, asked, said)),), False, split)


def words(value: object, reason: str) -> str:
    """Returns `value` without white space around it; Refused with `reason` where nothing is left."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Refused(reason if value is None else "bad_record", f"{repr(value)[:80]} is no text")
    if not (kept := value.strip()):
        raise Refused(reason)
    check_unicode(kept)
    return kept


def check_unicode(text: str) -> None:
    """Raises Refused where UTF-8 cannot write `text`: a shard could not hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("bad_record", "a text holds half of a surrogate pair") from error


def label(value: object, default: str = "") -> str:
    """Returns a record's own word for its language or split where it is one, else `default`."""
    return value if isinstance(value, str) and _LABEL.fullmatch(value) else default


def named(value: object) -> str:
    """Returns the name of an image; Refused `no_image` where there is none."""
    if not isinstance(value, str) or not value.strip():
        raise Refused("no_image", f"{repr(value)[:80]} names no image")
    check_unicode(value)
    return value


def finish(
    draft: Draft, key: str, images: Sequence[Image], *, split: str, source: str, licence: str
) -> Example:
    """Returns the view of `draft` with the images as they are stored; what it says of itself stands above the source's.

    Regions that were given in shares are moved to the stored size. Any other difference between the stated and the
    stored size is Refused `image_size`, as is an image of other proportions.
    """
    if len(images) != len(draft.images):
        raise Refused("missing_image", f"{len(draft.images)} images are named, {len(images)} are there")
    factors = [_factor(one, two, draft.relative) for one, two in zip(draft.images, images, strict=True)]
    turns = draft.turns
    if any(factor != (1.0, 1.0) for factor in factors):
        turns = scaled(turns, factors)
    _check_within(turns, draft.images, images)
    shown = tuple(
        replace(one, url=named.url) if named.url else one
        for named, one in zip(draft.images, images, strict=True)
    )
    about = draft.about
    extra = json.dumps(about.extra, sort_keys=True, ensure_ascii=False) if about.extra else None
    return Example(
        *(key, draft.task, split, draft.language, source, about.licence or licence),
        *(shown, turns, about.id, extra),
    )


def told(drafts: Iterable[Draft], about: About) -> list[Draft]:
    """Returns the drafts with what their record says of where it comes from."""
    return [draft._replace(about=about) for draft in drafts]


def own_licence(value: Mapping[str, Any]) -> str | None:
    """Returns the licence that a record states for itself."""
    return text_or_none(value.get("licence")) or text_or_none(value.get("license"))


def extra_of(**fields: object) -> dict[str, str] | None:
    """Returns the ids and other short facts that a record gives, as texts, without those that it lacks."""
    given = {name: text for name, value in fields.items() if (text := text_or_none(value)) is not None}
    return given or None


def text_or_none(value: object) -> str | None:
    """Returns a record's id, licence or address as text; None where it is none, empty or no Unicode."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return value.strip() if is_unicode(value) else None


def scaled(turns: Sequence[Turn], factors: Sequence[tuple[float, float]]) -> tuple[Turn, ...]:
    """Returns turns whose regions are multiplied by the factors (across, down) of their image."""
    moved, current = [], (1.0, 1.0)
    for turn in turns:
        segments: list[Segment] = []
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                current = factors[segment.image]
            elif isinstance(segment, Phrase):
                boxes = tuple(_box(box, current) for box in segment.boxes)
                quads = tuple(_quad(quad, current) for quad in segment.quads)
                segment = replace(segment, boxes=boxes, quads=quads)
            segments.append(segment)
        moved.append(Turn(turn.role, tuple(segments)))
    return tuple(moved)


def _factor(stated: NamedImage, stored: Image, relative: bool) -> tuple[float, float]:
    if stated.width == 0 and relative:
        return stored.width / 1000, stored.height / 1000
    if stated.width == 0 or (stated.width, stated.height) == (stored.width, stored.height):
        return 1.0, 1.0
    across, down = stored.width / stated.width, stored.height / stated.height
    # rounding a side to whole pixels may move it by one
    alike = abs(stored.height - stated.height * across) <= 1 or abs(stored.width - stated.width * down) <= 1
    if not (relative and alike):
        raise Refused(
            "image_size",
            f"{stated.name}: annotated at {stated.width} x {stated.height}, "
            f"stored at {stored.width} x {stored.height}",
        )
    return across, down


def _check_within(turns: Sequence[Turn], stated: Sequence[NamedImage], stored: Sequence[Image]) -> None:
    """Raises Refused where a box leaves an image whose size its record does not give."""
    current = -1
    for turn in turns:
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                current = segment.image
            elif isinstance(segment, Phrase) and segment.boxes and stated[current].width == 0:
                image = stored[current]
                for box in segment.boxes:
                    if box[2] > image.width or box[3] > image.height:
                        raise Refused(
                            "box_outside", f"{list(box)} in an image of {image.width} x {image.height}"
                        )


def _box(box: Box, factor: tuple[float, float]) -> Box:
    across, down = factor
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _quad(quad: Quad, factor: tuple[float, float]) -> Quad:
    across, down = factor
    first, second, third, fourth = ((x * across, y * down) for x, y in quad)
    return first, second, third, fourth
