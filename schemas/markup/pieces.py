"""A rendered sample: its text, where it carries loss, where its pictures stand."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from schemas.markup.tags import escape_run

Span = tuple[int, int]
"""First character, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one kind: a `tag` is one special token, an `image` stands for a picture's span of tokens.

    The text of a piece of kind `text` is plain: tokenise it with no special token allowed, and words that
    spell a tag stay words. A tokeniser that reads piece by piece cuts where the published script cuts.
    """

    text: str
    kind: Literal["text", "tag", "image"] = "text"
    loss: bool = False
    image: int = -1


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The characters from <img> to </img> of one showing of picture `image`."""

    image: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """What `render` gives: `text` with tags, in which text that spells a tag is escaped.

    `loss`: ascending, disjoint, never touching spans of the characters that are taught. `images` in order of
    appearance. `task`: whose template was used, empty for none. `pieces`: the same, cut for a tokeniser.
    """

    text: str
    loss: tuple[Span, ...]
    images: tuple[ImagePlace, ...]
    task: str
    pieces: tuple[Piece, ...]


def assemble(pieces: Iterable[Piece], task: str) -> Rendered:
    """The rendered sample that `pieces`, laid end to end, make."""
    kept = tuple(piece for piece in pieces if piece.text)
    loss: list[Span] = []
    images: list[ImagePlace] = []
    at = 0
    written = _written(kept)
    for piece, text in zip(kept, written, strict=True):
        end = at + len(text)
        if piece.kind == "image":
            images.append(ImagePlace(piece.image, at, end))
        if piece.loss and loss and loss[-1][1] == at:
            loss[-1] = (loss[-1][0], end)
        elif piece.loss:
            loss.append((at, end))
        at = end
    return Rendered("".join(written), tuple(loss), tuple(images), task, kept)


def _written(pieces: tuple[Piece, ...]) -> list[str]:
    written: list[str] = []
    run: list[str] = []
    for piece in pieces:
        if piece.kind == "text":
            run.append(piece.text)
            continue
        if run:
            written += escape_run(run)
            run = []
        written.append(piece.text)
    return written + escape_run(run)
