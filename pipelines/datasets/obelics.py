"""OBELICS: documents as parallel lists `images` and `texts`, at each place one of the two."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.datasets.built import Built, Made, Picture, Record, outcomes
from pipelines.datasets.drafts import named
from pipelines.datasets.interleave import DEFAULT, Block, Limits, document
from pipelines.datasets.reasons import Refusal, Refused


def build(records: Iterable[Record], language: str = "en", limits: Limits = DEFAULT) -> Iterator[Built]:
    """For each document one sample, or several where it is long; pictures are named by their address."""

    def make(value: Mapping[str, Any]) -> Made:
        lost: list[Refusal] = []
        return document(_blocks(value, lost), language, lost, limits), lost

    return outcomes(records, make)


def _blocks(value: Mapping[str, Any], lost: list[Refusal]) -> list[Block]:
    images, texts = value["images"], value["texts"]
    if not isinstance(images, list) or not isinstance(texts, list) or len(images) != len(texts):
        raise Refused("bad_record", "images and texts are not lists of one length")
    blocks: list[Block] = []
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        if image is not None and text is not None:
            raise Refused("image_place", f"place {number} holds both words and a picture")
        if image is None and text is None:
            lost.append(Refusal("no_image", f"place {number} holds neither words nor a picture"))
        elif image is not None:
            blocks.append(Picture(named(image)))
        elif text.strip():
            blocks.append(text.strip())
    return blocks
