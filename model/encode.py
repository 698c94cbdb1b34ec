"""A sample as token ids with targets and image places."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.tokenizer import TagTokenizer
from schemas.markup import Piece, Style, render
from schemas.sample import Example


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample's ids; `loss[t]` says whether token t is taught; `places[i]` is where image i's span starts.

    `images` names the sample's image at each place. `shared` is the length of what samples of the same
    images have in common: the images at the head, without the last </img>, which each sample has for
    itself, since its first word is predicted from there.
    """

    key: str
    task: str
    ids: tuple[int, ...]
    loss: tuple[bool, ...]
    places: tuple[int, ...]
    images: tuple[int, ...]
    shared: int

    def __len__(self) -> int:
        return len(self.ids)


def encode(sample: Example, tokenizer: TagTokenizer, queries: int, style: Style) -> Encoded:
    """Returns the tokens of `sample` as `style` words it.

    MarkupError where the sample does not fit its task's template.
    """
    pieces = render(sample, style).pieces
    return encode_pieces(pieces, tokenizer, queries, key=sample.key, task=sample.task)


def encode_pieces(
    pieces: Sequence[Piece], tokenizer: TagTokenizer, queries: int, *, key: str = "", task: str = ""
) -> Encoded:
    ids: list[int] = []
    loss: list[bool] = []
    places: list[int] = []
    images: list[int] = []
    for piece in pieces:
        tokens = tokenizer.encode_piece(piece, queries)
        if piece.kind == "image":
            places.append(len(ids) + 1)
            images.append(piece.image)
        ids += tokens
        # an image never carries loss, whatever its piece says
        loss += [piece.loss and piece.kind != "image"] * len(tokens)
    head = 0
    while head < len(pieces) and pieces[head].kind == "image":
        head += 1
    shared = head * (queries + 2) - 1 if head else 0
    return Encoded(key, task, tuple(ids), tuple(loss), tuple(places), tuple(images), shared)


def prompt_pieces(sample: Example, style: Style) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Returns the pieces before the first that is taught, and the rest: what a model is asked and should say."""
    pieces = render(sample, style).pieces
    first = next((at for at, piece in enumerate(pieces) if piece.loss), len(pieces))
    return pieces[:first], pieces[first:]
