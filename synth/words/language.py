"""What a language needs in order to speak of a scene."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noun:
    """What a noun phrase is to say: `count` objects of one shape and colour, perhaps their size.

    `count` 0 asks for the bare phrase, with neither article nor number: `red circle`.
    """

    shape: str
    colour: str
    count: int = 1
    size: str | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """Words and frames of one language. Every frame takes phrases in their plain form (nominative),
    so that no frame can demand a case that a phrase does not have.

    `lists` hold {things}; `grounded` hold {things} and {ground}; `left` and `above` hold {a} and {b},
    where a is left of b, or above it, and the last of
    either suits photographs too; `counted` holds {total} and {things}; `photos` hold {thing}.
    """

    code: str
    noun: Callable[[Noun], str]
    lists: tuple[str, ...]
    grounded: tuple[str, ...]
    left: tuple[str, ...]
    above: tuple[str, ...]
    counted: str
    totals: dict[int, str]
    grounds: dict[str, str]
    comma: str = ", "
    last: str = " and "
    stop: str = "."
    photos: tuple[str, ...] = ("{thing}",)

    def join(self, phrases: Sequence[str]) -> str:
        """The phrases as one list: commas, and the word for `and` before the last."""
        if len(phrases) < 2:
            return "".join(phrases)
        return self.comma.join(phrases[:-1]) + self.last + phrases[-1]
