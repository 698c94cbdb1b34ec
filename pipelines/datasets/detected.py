"""Grounding tuples out of a caption, its chunks and what a detector found, as Kosmos-2's GRIT was made.

Boxes below the threshold go, then boxes that overlap a better one, whatever their phrases; a chunk with boxes
left stands as the referring expression around it; of overlapping expressions those with the most boxes stay.
"""

from collections.abc import Sequence

from filters.chunks import Chunk
from filters.detect import Found, suppress
from filters.spans import Span, choose
from pipelines.datasets.drafts import Draft, NamedImage, Place, grounded_drafts
from schemas.ground import DetectorSettings
from schemas.sample import Phrase


def detected_drafts(
    caption: str,
    language: str,
    image: NamedImage,
    chunks: Sequence[Chunk],
    found: Sequence[Found],
    settings: DetectorSettings,
) -> list[Draft]:
    """Returns the caption with boxes and both views of each phrase; nothing where no box is believed.

    `found` counts chunks in the order of `chunks`.
    """
    believed = [one for one in found if one.score >= settings.threshold]
    kept = suppress([one.box for one in believed], [one.score for one in believed], settings.nms)
    labels: dict[tuple[int, int], list[Found]] = {}
    for index in sorted(kept):
        one = believed[index]
        chunk = chunks[one.phrase]
        labels.setdefault((chunk.whole_start, chunk.whole_end), []).append(one)
    order = sorted(labels)
    spans = [
        Span(start, end, len(labels[start, end]), round(max(one.score for one in labels[start, end]) * 1e6))
        for start, end in order
    ]
    places = []
    for index in choose(spans):
        start, end = order[index]
        # the best first, each box once
        best = sorted(labels[start, end], key=lambda one: (-one.score, one.box))
        boxes = tuple(dict.fromkeys(one.box for one in best))
        places.append(Place(start, end, Phrase(caption[start:end], boxes, (), True)))
    return grounded_drafts(image, caption, places, language)
