"""A conversation with a model on the terminal: several images, several rounds, boxes drawn to a file."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import checkpoint, parallel
from model.evaluate import prompt_of
from model.generate import generate
from model.images import ImageError, square
from model.predictions import drawn
from model.qwen_vl import QwenVL
from model.tokenizer import TagTokenizer
from schemas.errors import InputError
from schemas.markup import STAGE2, Piece, Style, parse_lenient, render
from schemas.sample import Example, ImageRef, Phrase, Segment, Text, Turn
from schemas.sample import Image as Known

_FILE_BYTES: Final = 64 << 20
_NO_DIGEST: Final = "0" * 64

HELP: Final = "/image FILE adds an image, /reset forgets all, /quit ends"


@dataclass(slots=True)
class Chat:
    """A conversation. `ask` says what the model answers; `regions` are what the last answer points at."""

    model: QwenVL
    tokenizer: TagTokenizer
    side: int
    limit: int = 256
    style: Style = STAGE2
    turns: list[Turn] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    regions: list[Phrase] = field(default_factory=list)
    _unseen: int = 0

    def show(self, data: bytes) -> None:
        """Adds an image to the next question; raises ImageError where the bytes are none."""
        self.pixels.append(square(data, self.side))
        image = Image.open(io.BytesIO(data))
        image.load()
        self.images.append(image)
        self._unseen += 1

    def ask(self, question: str) -> str:
        """Returns the answer as markup; raises InputError where the conversation outgrows the model's context."""
        first = len(self.images) - self._unseen
        segments: list[Segment] = [ImageRef(at) for at in range(first, len(self.images))]
        turns = [*self.turns, Turn("user", (*segments, Text(question)))]
        prompt = prompt_of(
            self._pieces(turns), self.pixels, self.tokenizer, self.model.config.adapter.queries
        )
        room = self.model.config.language.context - len(prompt.ids)
        if room < 1:
            raise InputError("the conversation is longer than the model's context; start anew with /reset")
        stops = (self.tokenizer.end, self.tokenizer.ids["<|im_end|>"])
        found = generate(self.model, [prompt], min(self.limit, room), stops, self.tokenizer.end)
        answer = self.tokenizer.decode(found[0])
        sizes = [image.size for image in self.images]
        read = parse_lenient(answer, sizes).segments
        self.regions = [one for one in read if isinstance(one, Phrase) and (one.boxes or one.quads)]
        self.turns = [*turns, Turn("assistant", tuple(read))]
        self._unseen = 0
        return answer

    def answer_image(self) -> Image.Image | None:
        """Returns the last image with the last answer's regions on it; None where it has none."""
        return drawn(self.images[-1], self.regions) if self.regions and self.images else None

    def reset(self) -> None:
        self.turns, self.images, self.pixels, self.regions, self._unseen = [], [], [], [], 0

    def _pieces(self, turns: Sequence[Turn]) -> tuple[Piece, ...]:
        known = tuple(Known("PNG", *image.size, _NO_DIGEST) for image in self.images)
        sample = Example("chat", "chat", "eval", "en", "chat", "", known, tuple(turns))
        opening = (Piece("<|im_start|>", "tag"), Piece("assistant"), Piece("\n"))
        return (*render(sample, self.style).pieces, *opening)


def chat(
    folder: Path,
    images: Sequence[Path] = (),
    out: Path = Path("answer.png"),
    *,
    device: str = "auto",
    lines: Iterable[str] | None = None,
    to: TextIO | None = None,
) -> None:
    """Talks on the terminal (or with `lines`) until the input ends; boxes in an answer are drawn to `out`."""
    to = to or sys.stdout
    _require_drawable(out)
    model, tokenizer = checkpoint.from_pretrained(folder)
    model.to(parallel.device_of(device))
    talk = Chat(model, tokenizer, checkpoint.side_of(folder, model.config))
    for path in images:
        _show(talk, path)
    print(HELP, file=to)
    for line in _typed(to) if lines is None else lines:
        text = line.strip()
        if text == "/quit":
            return
        if text:
            print(_reply(talk, text, out), file=to, flush=True)


def _require_drawable(out: Path) -> None:
    """Raises InputError where boxes could not be drawn to `out`: better before the conversation than in it."""
    kinds = Image.registered_extensions()
    if kinds.get(out.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{out} names no kind of image file: name a .png or .jpg")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder: make it, or name another file for the boxes")


def _typed(to: TextIO) -> Iterator[str]:
    """Yields lines from the terminal, after a prompt where a person types them."""
    asks = sys.stdin.isatty()
    while True:
        if asks:
            print("> ", end="", file=to, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        # a byte that is no UTF-8 comes as a lone surrogate, which no tokenizer takes
        yield line.encode("utf-8", "replace").decode("utf-8")


def _reply(talk: Chat, text: str, out: Path) -> str:
    """Returns the reply to one line; an error is a sentence, and the conversation goes on."""
    try:
        if text == "/reset":
            talk.reset()
            return "forgotten"
        if text.startswith("/image "):
            _show(talk, Path(text.removeprefix("/image ").strip()))
            return f"image {len(talk.images)} is seen with the next question"
        if text.startswith("/"):
            return HELP
        answer = talk.ask(text)
    except InputError as error:
        return f"error: {error}"
    shown = talk.answer_image()
    if shown is None:
        return answer
    try:
        shown.save(out)
    except OSError as error:
        return f"{answer}\nerror: {out} cannot be written: {error}"
    return f"{answer}\n({len(talk.regions)} regions drawn to {out})"


def _show(talk: Chat, path: Path) -> None:
    try:
        if not path.is_file() or path.stat().st_size > _FILE_BYTES:
            raise InputError(f"{path} is no image file of at most {_FILE_BYTES >> 20} MiB")
        talk.show(path.read_bytes())
    except (ImageError, OSError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
