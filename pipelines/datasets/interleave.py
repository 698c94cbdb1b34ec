"""Words and pictures in reading order, as samples of task interleaved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.datasets.built import Draft, Picture
from pipelines.datasets.drafts import check_unicode
from pipelines.datasets.reasons import Refusal, Refused
from schemas.sample import ImageRef, Segment, Text, Turn

Block = str | Picture
"""A paragraph, or a picture."""

MAX_IMAGES: Final = 7
"""Pictures a sample: at 258 tokens each, what fits into 2048."""
MAX_CHARACTERS: Final = 8000


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a document one sample holds; a longer document becomes several."""

    images: int = MAX_IMAGES
    characters: int = MAX_CHARACTERS


DEFAULT: Final = Limits()


def document(blocks: Sequence[Block], language: str, lost: Sequence[Refusal], limits: Limits) -> list[Draft]:
    """Drafts that hold all blocks in order: `interleaved`, or `text` for a part without any picture.

    Refused `no_images` and `no_text` where the document has none; a picture that was `lost` is the reason
    named for the former.
    """
    if not any(isinstance(block, str) for block in blocks):
        raise Refused("no_text")
    if not any(isinstance(block, Picture) for block in blocks):
        raise Refused(
            "no_images", f"{len(lost)} pictures cannot be used" + (f", first: {lost[0].text}" if lost else "")
        )
    return [_draft(part, language) for part in _parts(blocks, limits)]


def _parts(blocks: Sequence[Block], limits: Limits) -> Iterator[list[Block]]:
    part: list[Block] = []
    images = characters = 0
    for block in blocks:
        picture = isinstance(block, Picture)
        length = 0 if isinstance(block, Picture) else len(block)
        if part and (images + picture > limits.images or characters + length > limits.characters):
            yield part
            part, images, characters = [], 0, 0
        part.append(block)
        images += picture
        characters += length
    yield part


def _draft(part: Sequence[Block], language: str) -> Draft:
    pictures: dict[Picture, int] = {}
    segments: list[Segment] = []
    words: list[str] = []
    for number, block in enumerate(part):
        if isinstance(block, Picture):
            if words:
                segments.append(Text("".join(words), True))
                words = []
            segments.append(ImageRef(pictures.setdefault(block, len(pictures))))
        else:
            check_unicode(block)
            words.append(block + ("\n" if number + 1 < len(part) else ""))
    if words:
        segments.append(Text("".join(words), True))
    task = "interleaved" if pictures else "text"
    return Draft(task, language, tuple(pictures), (Turn("document", tuple(segments)),))
