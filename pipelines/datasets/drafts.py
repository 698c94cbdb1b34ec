"""Drafts, views without the bytes of their images: of each task, and finished with the images as stored."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pipelines.datasets.reasons import Refused
from schemas.markup.tags import box_cells
from schemas.sample import Box, Example, Image, ImageRef, Phrase, Quad, Segment, Text, Turn
from schemas.strict import is_unicode

Point = tuple[float, float]
"""Across and down, in pixels."""

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

    `language` is what the record says of itself, empty where it says nothing. `relative`: regions were given as shares
    of the sides, so they hold for the image at any size; of an image whose size is not given they are in thousandths of
    its sides. `split` is the dataset's own, empty where it has none.
    `taught` are the places of the record's annotations that the view teaches, as the dataset lists them.
    """

    task: str
    language: str
    images: tuple[NamedImage, ...]
    turns: tuple[Turn, ...]
    relative: bool = False
    split: str = ""
    about: About = About()
    taught: tuple[int, ...] = ()


class Place(NamedTuple):
    """A phrase, and where it stands in the caption: from the character `start` to before `end`."""

    start: int
    end: int
    phrase: Phrase


def region_drafts(
    image: NamedImage, phrase: Phrase, language: str = "", relative: bool = False, split: str = ""
) -> list[Draft]:
    """Returns phrase to box, and box to phrase: the same words and boxes; the task says which half is taught."""
    turns = (Turn("document", (SHOWN, phrase)),)
    return [Draft(task, language, (image,), turns, relative, split) for task in REGION_TASKS]


def grounded_drafts(
    image: NamedImage, caption: str, places: Sequence[Place], language: str = "", relative: bool = False
) -> list[Draft]:
    """Returns the caption with boxes, then both views of each phrase; nothing where there is no phrase."""
    views = [one for place in places for one in region_drafts(image, place.phrase, language, relative)]
    return [grounding_draft(image, caption, places, language, relative), *views] if places else []


def grounding_draft(
    image: NamedImage, caption: str, places: Sequence[Place], language: str = "", relative: bool = False
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
    return Draft("caption", "", (image,), (Turn("document", segments),))


def vqa_draft(image: NamedImage, question: object, answer: object, split: str = "") -> Draft:
    """Returns a question about an image, and its answer."""
    asked = Text(words(question, "empty_question"))
    said = Text(words(answer, "empty_answer"), True)
    return Draft("vqa", "", (image,), (Turn("document", (SHOWN, asked, said)),), False, split)


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


class Shown(NamedTuple):
    """An image as it is stored, and how its file says that it is turned.

    `orientation` is EXIF's, `is_upright` whether what is stored was turned by it. `boxes_on` says on which image boxes
    are drawn where sizes do not tell: `upright` or `stored`.
    """

    image: Image
    orientation: int = 1
    is_upright: bool = True
    boxes_on: str = "upright"


def finish(
    draft: Draft, key: str, images: Sequence[Shown], *, split: str, source: str, licence: str
) -> Example:
    """Returns the view of `draft` with the images as they are stored; what it says of itself stands above the source's.

    Regions that were given in shares are moved to the stored size, and those that were drawn before or after the
    image's EXIF turn to the image as it is stored. Any other difference between the stated and the stored size is
    Refused `image_size`, as is an image of other proportions.
    """
    if len(images) != len(draft.images):
        raise Refused("missing_image", f"{len(draft.images)} images are named, {len(images)} are there")
    frames = [_frame(one, two, draft.relative) for one, two in zip(draft.images, images, strict=True)]
    turns = draft.turns
    if any(frame != _SAME for frame in frames):
        turns = moved(turns, [frame.place for frame in frames])
    _check_within(turns, draft.images, [one.image for one in images])
    shown = tuple(
        replace(one.image, url=named.url) if named.url else one.image
        for named, one in zip(draft.images, images, strict=True)
    )
    about = draft.about
    extra = json.dumps(about.extra, sort_keys=True, ensure_ascii=False) if about.extra else None
    return Example(
        *(key, draft.task, split, draft.language or "und", source, about.licence or licence),
        *(shown, turns, about.id, extra),
    )


def teaching(drafts: Iterable[Draft], places: Iterable[int]) -> list[Draft]:
    """Returns the drafts with the places of the annotations that they teach."""
    taught = tuple(places)
    return [draft._replace(taught=taught) for draft in drafts]


def with_about(drafts: Iterable[Draft], about: About) -> list[Draft]:
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
    return moved(turns, [Frame(factor).place for factor in factors])


def moved(turns: Sequence[Turn], places: Sequence[Callable[[float, float], Point]]) -> tuple[Turn, ...]:
    """Returns turns whose regions are where the function of their image puts their corners."""
    found: list[Turn] = []
    place: Callable[[float, float], Point] = _SAME.place
    for turn in turns:
        segments: list[Segment] = []
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                place = places[segment.image]
            elif isinstance(segment, Phrase):
                boxes = tuple(_box(box, place) for box in segment.boxes)
                quads = tuple(_quad(quad, place) for quad in segment.quads)
                segment = replace(segment, boxes=boxes, quads=quads)
            segments.append(segment)
        found.append(Turn(turn.role, tuple(segments)))
    return tuple(found)


class Frame(NamedTuple):
    """How points of an annotation come to the stored image: by factors across and down, then by a turn of EXIF's.

    `size` is that of the image before the turn.
    """

    factors: tuple[float, float] = (1.0, 1.0)
    orientation: int = 1
    size: tuple[int, int] = (0, 0)

    def place(self, x: float, y: float) -> Point:
        """Returns where a point is on the stored image."""
        x, y = x * self.factors[0], y * self.factors[1]
        width, height = self.size
        if self.orientation in (2, 3, 7, 8):
            x = width - x
        if self.orientation in (3, 4, 6, 7):
            y = height - y
        return (y, x) if self.orientation in _SIDEWAYS else (x, y)


def _frame(stated: NamedImage, shown: Shown, relative: bool) -> Frame:
    """Returns how points come to the stored image; Refused where the stated size is of neither way to hold it."""
    stored = shown.image.width, shown.image.height
    if shown.orientation == 1:
        return Frame(_factors(stated, stored, relative))
    other = stored[::-1] if shown.orientation in _SIDEWAYS else stored
    as_stored, as_other = (_fitting(stated, size, relative) for size in (stored, other))
    is_other = (shown.boxes_on == "upright") != shown.is_upright
    if as_other is not None and (is_other or as_stored is None):
        # what is stored upright was turned by the orientation, what is stored as it came is turned back
        back = _BACK.get(shown.orientation, shown.orientation)
        return Frame(as_other, shown.orientation if shown.is_upright else back, other)
    return Frame(_factors(stated, stored, relative))


def _fitting(stated: NamedImage, stored: tuple[int, int], relative: bool) -> tuple[float, float] | None:
    """Returns the factors from the stated size to the stored one; None where regions do not hold there."""
    if stated.width == 0 and relative:
        return stored[0] / 1000, stored[1] / 1000
    if stated.width == 0 or (stated.width, stated.height) == stored:
        return 1.0, 1.0
    across, down = stored[0] / stated.width, stored[1] / stated.height
    # rounding a side to whole pixels may move it by one
    alike = abs(stored[1] - stated.height * across) <= 1 or abs(stored[0] - stated.width * down) <= 1
    return (across, down) if relative and alike else None


def _factors(stated: NamedImage, stored: tuple[int, int], relative: bool) -> tuple[float, float]:
    found = _fitting(stated, stored, relative)
    if found is None:
        raise Refused(
            "image_size",
            f"{stated.name}: annotated at {stated.width} x {stated.height}, stored at {stored[0]} x {stored[1]}",
        )
    return found


def on_grid(box: Box, width: int, height: int) -> Box:
    """Returns the box; Refused where its sides run together on the grid in which it is taught."""
    x1, y1, x2, y2 = box
    left, top, right, bottom = box_cells(
        (round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)), (width, height)
    )
    if left == right or top == bottom:
        text = f"{list(box)} in an image of {width} x {height} is ({left},{top}),({right},{bottom}) there"
        raise Refused("box_grid", text)
    return box


def _check_within(turns: Sequence[Turn], stated: Sequence[NamedImage], stored: Sequence[Image]) -> None:
    """Raises Refused where a box leaves an image whose size its record does not give, or has no extent on the grid."""
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
                    on_grid(box, image.width, image.height)


def _box(box: Box, place: Callable[[float, float], Point]) -> Box:
    (x1, y1), (x2, y2) = place(*box[:2]), place(*box[2:])
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _quad(quad: Quad, place: Callable[[float, float], Point]) -> Quad:
    first, second, third, fourth = (place(x, y) for x, y in quad)
    return first, second, third, fourth


_SAME: Final = Frame()
_SIDEWAYS: Final = (5, 6, 7, 8)
_BACK: Final = {6: 8, 8: 6}
"""Orientations of EXIF that exchange the sides, and those that another one undoes; the rest undo themselves."""
