"""GRIT, Kosmos-2's grounded pairs: JSON lines with noun_chunks and ref_exps.

Each entry is [start, end, x1, y1, x2, y2, score], boxes in shares of the sides. Labels overlap: `a dog` and
`a dog in the grass`. As Qwen-VL does (A.3), labels are kept such that no two overlap and the most boxes stay.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from filters.spans import Span, choose, choose_greedy
from pipelines.datasets.boxes import from_shares, size_of
from pipelines.datasets.dataset import Dataset, Glimpse, Made
from pipelines.datasets.drafts import (
    About,
    NamedImage,
    Place,
    check_unicode,
    grounded_drafts,
    named,
    own_licence,
    text_or_none,
    told,
)
from pipelines.datasets.reasons import MALFORMED, Refusal, Refused
from pipelines.datasets.records import lines
from schemas.sample import GROUNDED, Box, Phrase

Choice = Callable[[Sequence[Span]], list[int]]
_Labels = dict[tuple[int, int], dict[Box, float]]


def _make(pick: Choice, value: Mapping[str, Any]) -> Made:
    """Returns the caption with boxes, and both views of each label that is kept."""
    caption = value["caption"]
    if not isinstance(caption, str) or not caption.strip():
        raise Refused("empty_caption")
    check_unicode(caption)
    size = size_of(value.get("width"), value.get("height"))
    image = NamedImage(_name(value), *size, text_or_none(value.get("url")))
    lost: list[Refusal] = []
    labels = _labels(value, caption, image, lost)
    order = sorted(labels)
    spans = [
        Span(start, end, len(labels[start, end]), round(max(labels[start, end].values()) * 1e6))
        for start, end in order
    ]
    kept = pick(spans)
    went = sorted(set(range(len(order))) - set(kept))
    lost += [
        Refusal("overlap", f"{caption[start:end]!r} at {start}-{end}")
        for start, end in (order[index] for index in went)
    ]
    places = [
        Place(*order[index], Phrase(caption[slice(*order[index])], tuple(labels[order[index]]), (), True))
        for index in kept
    ]
    about = About(text_or_none(value.get("id")) or text_or_none(value.get("key")), own_licence(value))
    return told(grounded_drafts(image, caption, places, relative=True), about), lost


def _labels(value: Mapping[str, Any], caption: str, image: NamedImage, lost: list[Refusal]) -> _Labels:
    """Returns boxes with their best score by span; each box once, those of noun chunks and expressions together."""
    labels: _Labels = {}
    for field in ("noun_chunks", "ref_exps"):
        for number, (start, end, x1, y1, x2, y2, score) in enumerate(value.get(field) or ()):
            if not 0 <= score <= 1e6:
                raise Refused("bad_record", f"{field} {number} has the score {score!r}")
            place = _offsets(start, end, caption, field, number)
            try:
                box = from_shares((x1, y1, x2, y2), image.width, image.height)
            except Refused as error:
                if error.refusal.reason in MALFORMED:
                    raise
                lost.append(error.refusal)
                continue
            boxes = labels.setdefault(place, {})
            boxes[box] = max(score, boxes.get(box, 0.0))
    return labels


def _offsets(start: float, end: float, caption: str, field: str, number: int) -> tuple[int, int]:
    if not (0 <= start < end <= len(caption) and int(start) == start and int(end) == end):
        text = f"{field} {number} is {start}-{end} in a caption of {len(caption)} characters"
        raise Refused("span_outside", text)
    first, last = int(start), int(end)
    if not caption[first:last].strip():
        raise Refused("empty_phrase", f"{field} {number} is {start}-{end}, where the caption has no words")
    return first, last


def _name(value: Mapping[str, Any]) -> str:
    name = next(
        (value[one] for one in ("image", "file_name", "key", "id") if value.get(one) is not None), None
    )
    return named(str(name) if isinstance(name, int) else name)


def _grit(pick: Choice, recognised: Callable[[Glimpse], bool] | None) -> Dataset:
    make = partial(_make, pick)
    return Dataset("GRIT's JSON lines", "a line", GROUNDED, make, lines, recognised=recognised)


GRIT: Final = _grit(choose, lambda seen: seen.fields >= {"noun_chunks", "ref_exps"})
GREEDY: Final = _grit(choose_greedy, None)
