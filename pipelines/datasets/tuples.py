"""The project's own grounding tuples: JSON lines of image, caption and phrases with boxes in pixels.

    {"image" (or file, file_name), "width", "height", "caption", "language" (or lang), "id", "url", "licence",
     "phrases": [{"text", "start", "end", "boxes": [[x1, y1, x2, y2]]}]}

`start` and `end` count characters of the caption and may be left out: then the words are looked for. So may `id`,
`url` and `licence`, which reach the views. A phrase that the caption does not have still gives phrase to box and box to
phrase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from filters.spans import Span, choose
from pipelines.datasets.boxes import boxes_of, from_corners, size_of
from pipelines.datasets.dataset import BAD, Dataset, Made, bad_record, having
from pipelines.datasets.drafts import (
    About,
    Draft,
    NamedImage,
    Place,
    check_unicode,
    grounding_draft,
    label,
    named,
    own_licence,
    region_drafts,
    teaching,
    text_or_none,
    with_about,
    words,
)
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import lines
from schemas.sample import GROUNDED, Phrase


def _make(value: Mapping[str, Any]) -> Made:
    """Returns the caption with boxes, and both views of each phrase."""
    size = size_of(value.get("width"), value.get("height"))
    image = NamedImage(_name(value), *size, text_or_none(value.get("url")))
    caption = _caption(value)
    language = label(value.get("language") or value.get("lang"))
    lost: list[Refusal] = []
    drafts: list[Draft] = []
    places: list[Place] = []
    taught: list[int] = []
    searched = at = 0
    for number, entry in enumerate(value["phrases"]):
        given, first = _boxes(entry), at
        at += len(given) or 1
        try:
            text = words(entry["text"], "empty_phrase")
            place = _place(caption, entry, text, number, searched)
            if not given:
                raise Refused("no_regions", f"phrase {number} {text!r} has no box")
        except (Refused, *BAD) as error:
            refusal = error.refusal if isinstance(error, Refused) else bad_record(error)
            lost += [refusal._replace(at=one) for one in range(first, at)]
            continue
        boxes = boxes_of(enumerate(given, first), image, from_corners, lost)
        if not boxes:
            continue
        own = [one for found in boxes.values() for one in found]
        taught += own
        phrase = Phrase(text, tuple(boxes), (), True)
        drafts += teaching(region_drafts(image, phrase, language), own)
        if place is None:
            lost.append(Refusal("span_missing", f"phrase {number} {text!r}"))
            continue
        start, end = place
        if "start" not in entry:
            searched = end
        spelled = caption[start:end]
        places.append(Place(start, end, phrase if spelled == text else replace(phrase, phrase=spelled)))
    if places:
        whole = grounding_draft(image, caption, _apart(places, lost), language)
        drafts = [*teaching([whole], taught), *drafts]
    return with_about(drafts, About(text_or_none(value.get("id")), own_licence(value))), lost


def _boxes(entry: Any) -> Sequence[Any]:
    """Returns what a phrase gives as its boxes; what is no list of them stands for one box, and is refused as that."""
    given = entry.get("boxes") if isinstance(entry, Mapping) else None
    if given is None:
        return []
    is_list = isinstance(given, list) and (not given or any(isinstance(one, list) for one in given))
    return given if is_list else [given]


def _phrase_ids(value: Mapping[str, Any]) -> list[str]:
    """Returns an id for each box of each phrase, and one for a phrase without any."""
    found: list[str] = []
    phrases = value.get("phrases")
    for number, entry in enumerate(phrases if isinstance(phrases, list) else ()):
        own = text_or_none(entry.get("id")) if isinstance(entry, Mapping) else None
        name, boxes = own or f"phrase-{number}", len(_boxes(entry))
        found += [f"{name}/{place}" for place in range(boxes)] if boxes > 1 else [name]
    return found


def _apart(places: Sequence[Place], lost: list[Refusal]) -> Sequence[Place]:
    """Returns places that do not overlap, in order; those that went are named in `lost`."""
    if all(a.end <= b.start for a, b in pairwise(places)):
        return places
    kept = choose([Span(start, end, len(phrase.boxes)) for start, end, phrase in places])
    went = set(range(len(places))) - set(kept)
    lost += [
        Refusal("overlap", f"{places[one].phrase.phrase!r} at {places[one].start}-{places[one].end}")
        for one in sorted(went)
    ]
    return [places[index] for index in kept]


def _place(
    caption: str, entry: Mapping[str, Any], text: str, number: int, searched: int
) -> tuple[int, int] | None:
    if entry.get("start") is None:
        return _found(caption, text, searched) or _found(caption, text, 0)
    start, end = entry["start"], entry["end"]
    if caption[start:end] == entry["text"] and 0 <= start < end <= len(caption):
        return start, end
    raise _misplaced(caption, entry["text"], start, end, number)


def _found(caption: str, text: str, start: int) -> tuple[int, int] | None:
    """Returns where the caption has the words from `start` on, not as a part of longer words."""
    while (start := caption.find(text, start)) >= 0:
        end = start + len(text)
        if not (_joined(caption[start - 1 : start + 1]) or _joined(caption[end - 1 : end + 1])):
            return start, end
        start += 1
    return None


def _joined(pair: str) -> bool:
    """Returns whether two characters are of one word, in scripts that part words by spaces."""
    return len(pair) == 2 and pair.isalnum() and pair[0].lower() != pair[0].upper()


def _misplaced(caption: str, text: str, start: int, end: int, number: int) -> Refused:
    """Returns what is wrong with a phrase's offsets."""
    which = f"phrase {number} {text!r} is given as {start}-{end}"
    if not 0 <= start < end <= len(caption):
        return Refused("span_outside", f"{which} in a caption of {len(caption)} characters")
    hint = ""
    if caption.encode()[start:end] == text.encode():
        hint = "; as bytes of UTF-8 they would fit"
    elif caption.encode("utf-16-le")[2 * start : 2 * end] == text.encode("utf-16-le"):
        hint = "; as units of UTF-16 they would fit"
    return Refused("span_mismatch", f"{which}, where the caption has {caption[start:end]!r}{hint}")


def _name(value: Mapping[str, Any]) -> str:
    return named(next((value[one] for one in ("image", "file", "file_name") if value.get(one)), None))


def _caption(value: Mapping[str, Any]) -> str:
    caption: object = value["caption"]
    if not isinstance(caption, str):
        raise Refused("empty_caption" if caption is None else "bad_record", "the caption is no text")
    if not caption.strip():
        raise Refused("empty_caption")
    check_unicode(caption)
    return caption


GROUNDING: Final = Dataset(
    "JSON lines: image, width, height, caption, phrases",
    "a line",
    GROUNDED,
    _make,
    lines,
    recognised=having("caption", "phrases"),
    listed=_phrase_ids,
    kind="phrase",
    many=("*.jsonl", "*.json"),
)
