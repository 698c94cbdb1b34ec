"""Documents of words and images in reading order, as samples of task interleaved: OBELICS and MMC4."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pipelines.datasets.dataset import Dataset, Made, having
from pipelines.datasets.drafts import (
    About,
    Draft,
    NamedImage,
    check_unicode,
    extra_of,
    label,
    named,
    own_licence,
    text_or_none,
    with_about,
)
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.rows import rows
from schemas.sample import ImageRef, Segment, Text, Turn

Block = str | NamedImage
"""A paragraph, or an image."""

MAX_IMAGES: Final = 7
"""Images a sample: at 258 tokens each, what fits into 2048."""
MAX_CHARACTERS: Final = 8000


def interleaved(
    blocks: Sequence[Block],
    language: str,
    lost: Sequence[Refusal],
    max_images: int = MAX_IMAGES,
    max_characters: int = MAX_CHARACTERS,
) -> list[Draft]:
    """Returns drafts that hold all blocks in order: `interleaved`, or `text` for a part without any image.

    Refused `no_images` and `no_text` where the document has none; an image that was `lost` is the reason
    named for the former.
    """
    if not any(isinstance(block, str) for block in blocks):
        raise Refused("no_text")
    if not any(isinstance(block, NamedImage) for block in blocks):
        raise Refused(
            "no_images", f"{len(lost)} images cannot be used" + (f", first: {lost[0].text}" if lost else "")
        )
    return [_draft(part, language) for part in _parts(blocks, max_images, max_characters)]


def _parts(blocks: Sequence[Block], max_images: int, max_characters: int) -> Iterator[list[Block]]:
    part: list[Block] = []
    images = characters = 0
    for block in blocks:
        is_image = isinstance(block, NamedImage)
        length = 0 if isinstance(block, NamedImage) else len(block)
        if part and (images + is_image > max_images or characters + length > max_characters):
            yield part
            part, images, characters = [], 0, 0
        part.append(block)
        images += is_image
        characters += length
    yield part


def _draft(part: Sequence[Block], language: str) -> Draft:
    images: dict[NamedImage, int] = {}
    segments: list[Segment] = []
    words: list[str] = []
    for number, block in enumerate(part):
        if isinstance(block, NamedImage):
            if words:
                segments.append(Text("".join(words), True))
                words = []
            segments.append(ImageRef(images.setdefault(block, len(images))))
        else:
            check_unicode(block)
            words.append(block + ("\n" if number + 1 < len(part) else ""))
    if words:
        segments.append(Text("".join(words), True))
    task = "interleaved" if images else "text"
    return Draft(task, language, tuple(images), (Turn("document", tuple(segments)),))


def _obelics(value: Mapping[str, Any], lost: list[Refusal]) -> list[Block]:
    """Returns the words and images of an OBELICS document; images are named by their address."""
    images, texts = value["images"], value["texts"]
    if not isinstance(images, list) or not isinstance(texts, list) or len(images) != len(texts):
        raise Refused("bad_record", "images and texts are not lists of one length")
    blocks: list[Block] = []
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        if image is not None and text is not None:
            raise Refused("image_place", f"place {number} holds both words and an image")
        if image is None and text is None:
            lost.append(Refusal("no_image", f"place {number} holds neither words nor an image"))
        elif image is not None:
            blocks.append(NamedImage(name := named(image), url=name if "://" in name else None))
        elif text.strip():
            blocks.append(text.strip())
    return blocks


def _mmc4(value: Mapping[str, Any], lost: list[Refusal]) -> list[Block]:
    """Returns the words and images of an MMC4 document; an image stands before the sentence that it is with."""
    texts = value["text_list"]
    images: dict[int, list[NamedImage]] = {}
    for number, info in enumerate(value["image_info"]):
        place = info.get("matched_text_index") if isinstance(info, Mapping) else None
        if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(texts):
            text = f"image {number} is with sentence {place!r} of {len(texts)}"
            lost.append(Refusal("image_place", text, number))
            continue
        try:
            images.setdefault(place, []).append(
                NamedImage(
                    named(_mmc4_name(info)),
                    url=text_or_none(info.get("raw_url")),
                )
            )
        except Refused as error:
            lost.append(error.refusal._replace(at=number))
    blocks: list[Block] = []
    for place, text in enumerate(texts):
        blocks += images.get(place, ())
        if text.strip():
            blocks.append(text.strip())
    return blocks


def _places(draft: Draft, names: Sequence[str]) -> tuple[int, ...]:
    """Returns the places of the document's images that a draft shows."""
    shown = {image.name for image in draft.images}
    return tuple(at for at, name in enumerate(names) if name in shown)


def _documents(
    blocks: Callable[[Mapping[str, Any], list[Refusal]], list[Block]],
    listed: Callable[[Mapping[str, Any]], list[str]],
    *fields: str,
) -> Dataset:
    """Returns a dataset of documents that have these fields; `listed` gives the names of a document's images."""

    def make(value: Mapping[str, Any]) -> Made:
        lost: list[Refusal] = []
        drafts = interleaved(blocks(value, lost), label(value.get("language")), lost)
        names = listed(value)
        about = About(text_or_none(value.get("id")), own_licence(value), extra_of(url=_address(value)))
        return with_about([draft._replace(taught=_places(draft, names)) for draft in drafts], about), lost

    return Dataset(
        f"Parquet, JSON lines or a JSON list: {', '.join(fields)}",
        "a document",
        ("interleaved", "text"),
        make,
        rows(*fields),
        recognised=having(*fields),
        listed=listed,
        kind="image",
        many=("*.parquet", "*.jsonl"),
        spare=("*.json",),
    )


def _address(value: Mapping[str, Any]) -> str | None:
    """Returns the address of a document's page: MMC4's `url`, or that of OBELICS' `general_metadata`."""
    about = value.get("general_metadata")
    try:
        given = json.loads(about) if isinstance(about, str) and len(about) <= MAX_CHARACTERS else about
    except (ValueError, RecursionError):  # what is no JSON gives no address
        given = None
    return text_or_none(value.get("url")) or text_or_none(
        given.get("url") if isinstance(given, dict) else None
    )


def _obelics_names(value: Mapping[str, Any]) -> list[str]:
    images = value.get("images")
    shown = [one for one in images if one is not None] if isinstance(images, list) else []
    return [one if isinstance(one, str) else f"image-{at}" for at, one in enumerate(shown)]


def _mmc4_names(value: Mapping[str, Any]) -> list[str]:
    given = value.get("image_info")
    infos = given if isinstance(given, list) else []
    return [_mmc4_name(info) or f"image-{at}" for at, info in enumerate(infos)]


def _mmc4_name(info: Any) -> str | None:
    found = (info.get("image_name") or info.get("raw_url")) if isinstance(info, Mapping) else None
    return found if isinstance(found, str) else None


OBELICS: Final = _documents(_obelics, _obelics_names, "images", "texts")
MMC4: Final = _documents(_mmc4, _mmc4_names, "text_list", "image_info")
