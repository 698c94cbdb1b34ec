"""A text with tags as turns: the inverse of `render`; anything else is refused with its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from schemas.markup.grid import Size
from schemas.markup.infer import chat_loss, document_loss, guess
from schemas.markup.normal import is_default_system
from schemas.markup.pieces import Span
from schemas.markup.problems import MarkupError, Problem
from schemas.markup.reader import Reader
from schemas.markup.style import STAGE2, Style
from schemas.markup.tags import EOS, IM_END, IM_START
from schemas.markup.tokens import Loss, Token, tokens
from schemas.markup.unwrap import unwrap
from schemas.sample import ROLES, Turn


@dataclass(frozen=True, slots=True)
class Parsed:
    """The turns, and the task whose template the text is of (empty: none)."""

    turns: tuple[Turn, ...]
    task: str


def parse(
    text: str,
    sizes: Sequence[Size],
    *,
    loss: Sequence[Span] | None = None,
    task: str | None = None,
    names: Sequence[str] | None = None,
    style: Style = STAGE2,
) -> Parsed:
    """The turns that `text` spells; `sizes` (width, height) and `names` are those of the pictures.

    parse(r.text, sizes, loss=r.loss, task=r.task).turns is `canonical(sample)` for r = render(sample).
    Without `loss` the template's or ChatML's rule says what is supervised; without `task` the text does,
    where a question that itself contains ` Answer:` is cut at the last. MarkupError names the place.
    """
    if text.startswith(IM_START) and style.form != "document":
        spans = chat_loss(text) if loss is None else loss
        reader = Reader(text, sizes, names, Loss(spans), _refuse, pictures=0)
        turns = _chat(reader, tokens(text))
        return Parsed(tuple(turns[1:] if turns and is_default_system(turns[0], style) else turns), "")
    task = guess(text, style) if task is None else task
    spans = document_loss(text, task, style) if loss is None else loss
    found = tokens(text)
    if found and found[-1].tag == EOS:
        found.pop()
    reader = Reader(text, sizes, names, Loss(spans), _refuse, spaced=task == "ocr")
    segments = reader.segments(found)
    return Parsed((Turn("document", unwrap(segments, task, style)),), task)


def _refuse(problem: Problem) -> NoReturn:
    where = f"at character {problem.start}: {problem.message}"
    raise MarkupError(where, problem)


def _chat(reader: Reader, found: list[Token]) -> list[Turn]:
    turns = []
    at = 0
    while at < len(found):
        end = next((i for i in range(at, len(found)) if found[i].tag == IM_END), len(found))
        start = found[at]
        if start.tag != IM_START or end == len(found):
            _refuse(Problem("unclosed", start.start, start.end, f"a turn lacks {IM_START} or {IM_END}"))
        turns.append(_turn(reader, found[at + 1 : end], start))
        at = end + 1
        if at < len(found):
            after = found[at]
            if reader.text[after.start : after.end] != "\n":
                _refuse(Problem("after_end", after.start, after.end, "a turn is followed by one line feed"))
            at += 1
    return turns


def _turn(reader: Reader, inner: list[Token], start: Token) -> Turn:
    head = inner[0] if inner and inner[0].tag == "" else Token(start.end, start.end)
    role, feed, _ = reader.text[head.start : head.end].partition("\n")
    if role not in ROLES or not feed:
        _refuse(Problem("role", head.start, head.end, f"{role[:80]!r} does not speak"))
    body = head.start + len(role) + 1
    rest = [Token(body, head.end)] if body < head.end else []
    return Turn(role, tuple(reader.segments([*rest, *inner[1:]])))
