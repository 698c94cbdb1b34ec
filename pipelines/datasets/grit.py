"""GRIT, Kosmos-2's grounded pairs: Parquet or JSON lines with noun_chunks and ref_exps.

Each entry is [start, end, x1, y1, x2, y2, score], boxes in shares of the sides. Labels overlap: `a dog` and
`a dog in the grass`. As Qwen-VL does (A.3), labels are kept such that no two overlap and the most boxes stay.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from filters.spans import Span, choose, choose_greedy
from pipelines.datasets.boxes import from_shares, size_of
from pipelines.datasets.dataset import BAD, Dataset, Made, bad_record, having
from pipelines.datasets.drafts import (
    About,
    NamedImage,
    Place,
    check_unicode,
    extra_of,
    grounded_drafts,
    named,
    on_grid,
    own_licence,
    teaching,
    text_or_none,
    with_about,
)
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.rows import rows
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
    labels, taught = _labels(value, caption, image, lost)
    order = sorted(labels)
    spans = [
        Span(start, end, len(labels[start, end]), round(max(labels[start, end].values()) * 1e6))
        for start, end in order
    ]
    kept = pick(spans)
    for index in sorted(set(range(len(order))) - set(kept)):
        start, end = order[index]
        text = f"{caption[start:end]!r} at {start}-{end}"
        lost += [Refusal("overlap", text, at) for at in taught[order[index]]]
    places = [
        Place(*order[index], Phrase(caption[slice(*order[index])], tuple(labels[order[index]]), (), True))
        for index in kept
    ]
    about = About(
        text_or_none(value.get("id")) or text_or_none(value.get("key")),
        own_licence(value),
        extra_of(key=value.get("key")),
    )
    views = grounded_drafts(image, caption, places, relative=True)
    return with_about(teaching(views, [at for index in kept for at in taught[order[index]]]), about), lost


def _entries(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Returns the entries of noun chunks and expressions, each with its id."""
    found = []
    for name in ("noun_chunks", "ref_exps"):
        given = value.get(name)
        found += [
            (f"{name}-{number}", one) for number, one in enumerate(given if isinstance(given, list) else ())
        ]
    return found


def _labels(
    value: Mapping[str, Any], caption: str, image: NamedImage, lost: list[Refusal]
) -> tuple[_Labels, dict[tuple[int, int], list[int]]]:
    """Returns boxes with their best score by span, and the places of their entries.

    Each box stands once, those of noun chunks and of expressions together.
    """
    labels: _Labels = {}
    taught: dict[tuple[int, int], list[int]] = {}
    for at, (name, entry) in enumerate(_entries(value)):
        try:
            place, box, score = _label(name, entry, caption, image)
        except Refused as error:
            lost.append(error.refusal._replace(at=at))
        except BAD as error:
            lost.append(bad_record(error)._replace(at=at))
        else:
            boxes = labels.setdefault(place, {})
            boxes[box] = max(score, boxes.get(box, 0.0))
            taught.setdefault(place, []).append(at)
    return labels, taught


def _label(name: str, entry: Any, caption: str, image: NamedImage) -> tuple[tuple[int, int], Box, float]:
    """Returns the span, the box and the score of an entry; Refused where one of them is none."""
    start, end, x1, y1, x2, y2, score = entry
    if not 0 <= score <= 1e6:
        raise Refused("bad_record", f"{name} has the score {score!r}")
    place = _offsets(start, end, caption, name)
    box = on_grid(from_shares((x1, y1, x2, y2), image.width, image.height), image.width, image.height)
    return place, box, float(score)


def _offsets(start: float, end: float, caption: str, name: str) -> tuple[int, int]:
    if not (0 <= start < end <= len(caption) and int(start) == start and int(end) == end):
        raise Refused("span_outside", f"{name} is {start}-{end} in a caption of {len(caption)} characters")
    first, last = int(start), int(end)
    if not caption[first:last].strip():
        raise Refused("empty_phrase", f"{name} is {start}-{end}, where the caption has no words")
    return first, last


def _name(value: Mapping[str, Any]) -> str:
    name = next(
        (value[one] for one in ("image", "file_name", "key", "id") if value.get(one) is not None), None
    )
    return named(str(name) if isinstance(name, int) else name)


def _grit(pick: Choice, weight: float = 1.0) -> Dataset:
    make = partial(_make, pick)
    return Dataset(
        "GRIT's Parquet, JSON lines or a JSON list",
        "a line",
        GROUNDED,
        make,
        rows("caption"),
        recognised=lambda seen: weight * having("caption", "noun_chunks", "ref_exps")(seen),
        listed=lambda value: [name for name, _ in _entries(value)],
        kind="phrase",
        many=("*.parquet", "*.jsonl"),
        spare=("*.json",),
    )


GRIT: Final = _grit(choose)
GREEDY: Final = _grit(choose_greedy, 0.9)
