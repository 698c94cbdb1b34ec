"""Reading what a model wrote: never an error, always a list of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.markup.grid import Size
from schemas.markup.problems import Problem
from schemas.markup.reader import Reader
from schemas.markup.tags import EOS, IM_END, IM_START
from schemas.markup.tokens import Loss, tokens
from schemas.sample import Segment

_END: Final = re.compile("|".join(re.escape(tag) for tag in (EOS, IM_END, IM_START)))


@dataclass(frozen=True, slots=True)
class Lenient:
    """What could be read, and what was wrong, in order."""

    segments: tuple[Segment, ...]
    problems: tuple[Problem, ...]


def parse_lenient(text: str, sizes: Sequence[Size], image: int | None = None) -> Lenient:
    """The segments in a model's answer; it never raises.

    `image` is the picture that the answer is about before it shows one itself; default: the last. The answer
    ends at the first special token that ends a turn. Boxes off the grid are moved onto it, swapped corners
    are put right, a tag without its partner goes; each is a problem. Nothing read is supervised.
    """
    problems: list[Problem] = []
    end = _END.search(text)
    stop = end.start() if end else len(text)
    shown = len(sizes) - 1 if image is None else image
    reader = Reader(text, sizes, None, Loss(()), problems.append, shown=shown)
    segments = tuple(reader.segments(tokens(text, 0, stop)))
    if end and text[end.end() :].strip():
        problems.append(Problem("after_end", end.end(), len(text), f"text goes on after {end[0]}"))
    return Lenient(segments, tuple(problems))
