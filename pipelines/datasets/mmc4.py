"""MMC4: documents as a `text_list` of sentences, and `image_info` on which sentence a picture is with."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import named
from pipelines.datasets.interleave import DEFAULT, Block, Limits, document
from pipelines.datasets.reasons import Refusal, Refused


def build(records: Iterable[Record], language: str = "en", limits: Limits = DEFAULT) -> Iterator[Built]:
    """For each document one sample, or several; a picture stands before the sentence that it is with."""

    def make(value: Mapping[str, Any]) -> Made:
        lost: list[Refusal] = []
        return document(_blocks(value, lost), language, lost, limits), lost

    return outcomes(records, make)


def _blocks(value: Mapping[str, Any], lost: list[Refusal]) -> list[Block]:
    texts = value["text_list"]
    pictures: dict[int, list[Picture]] = {}
    for number, info in enumerate(value["image_info"]):
        place = info.get("matched_text_index")
        if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(texts):
            lost.append(
                Refusal("image_place", f"picture {number} is with sentence {place!r} of {len(texts)}")
            )
            continue
        try:
            pictures.setdefault(place, []).append(
                Picture(named(info.get("image_name") or info.get("raw_url")))
            )
        except Refused as error:
            lost.append(error.refusal)
    blocks: list[Block] = []
    for place, text in enumerate(texts):
        blocks += pictures.get(place, ())
        if text.strip():
            blocks.append(text.strip())
    return blocks
