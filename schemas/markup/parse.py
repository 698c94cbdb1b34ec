"""A text with tags as turns: the inverse of `render`, and a lenient reading of what a model wrote.

`parse` refuses what `render` did not write, with its place. Where nobody says so, it finds out by whose template a
text is written and which characters carry loss. `parse_lenient` never fails: it lists what was wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, NoReturn

from schemas.markup.reader import MarkupError, Problem, Reader
from schemas.markup.render import is_default_system
from schemas.markup.style import STAGE2, TEMPLATES, Style, taught
from schemas.markup.tags import EOS, IM_END, IM_START, TAG, Loss, Size, Span, Token, tokens
from schemas.sample import ROLES, ImageRef, Phrase, Segment, Text, Turn


def unwrap(segments: Sequence[Segment], task: str, style: Style) -> tuple[Segment, ...]:
    """Returns the segments of the sample whose template for `task` gave `segments`; raises MarkupError."""
    if task not in TEMPLATES or task == "text":
        return tuple(segments)
    if task == "referring":
        return _referred(segments, task)
    if task == "grounded_caption":
        return _described(segments, task)
    first = next((at for at, one in enumerate(segments) if taught(one)), len(segments))
    prefix, target = list(segments[:first]), list(segments[first:])
    cue = style.cue(task, "")
    if cue:
        prefix = _without_answer(prefix, cue, task) if task == "vqa" else _only_images(prefix, task)
        if task != "ocr":
            target = _without_lead(target, task)
    return (*prefix, *target)


def _described(segments: Sequence[Segment], task: str) -> tuple[Segment, ...]:
    match segments:
        case [ImageRef() as image, Phrase(phrase="This") as region, Text(text=" is"), Text() as words] if (
            words.text.startswith(" ")
        ):
            return image, replace(region, phrase=words.text[1:], supervised=True)
    raise _unlike(task)


def _referred(segments: Sequence[Segment], task: str) -> tuple[Segment, ...]:
    if len(segments) == 2 and isinstance(segments[0], ImageRef) and isinstance(segments[1], Phrase):
        return tuple(segments)
    raise _unlike(task)


def _only_images(prefix: list[Segment], task: str) -> list[Segment]:
    """Returns the prompt is the one text before what is taught."""
    if not prefix or not isinstance(prefix[-1], Text):
        raise _unlike(task)
    return prefix[:-1]


def _without_answer(prefix: list[Segment], cue: str, task: str) -> list[Segment]:
    last = prefix[-1] if prefix else None
    if not isinstance(last, Text) or not last.text.endswith(cue):
        raise _unlike(task)
    rest = last.text[: len(last.text) - len(cue)]
    return [*prefix[:-1], *([Text(rest)] if rest else [])]


def _without_lead(target: list[Segment], task: str) -> list[Segment]:
    first = target[0] if target else None
    if not isinstance(first, Text) or not first.text.startswith(" "):
        raise _unlike(task)
    rest = first.text[1:]
    return [*([Text(rest, supervised=True)] if rest else []), *target[1:]]


def _unlike(task: str) -> MarkupError:
    return MarkupError(f"the text does not follow the template of task {task}")


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
    """Returns the turns that `text` spells; `sizes` (width, height) and `names` are those of the images.

    parse(r.text, sizes, loss=r.loss, task=r.task).turns is `canonical(example)` for r = render(sample).
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
        _refuse(Problem("role", head.start, head.end, f"{role[:80]!r} is no known role"))
    body = head.start + len(role) + 1
    rest = [Token(body, head.end)] if body < head.end else []
    return Turn(role, tuple(reader.segments([*rest, *inner[1:]])))


_END: Final = re.compile("|".join(re.escape(tag) for tag in (EOS, IM_END, IM_START)))


@dataclass(frozen=True, slots=True)
class Lenient:
    """What could be read, and what was wrong, in order."""

    segments: tuple[Segment, ...]
    problems: tuple[Problem, ...]


def parse_lenient(text: str, sizes: Sequence[Size], image: int | None = None) -> Lenient:
    """Returns the segments in a model's answer; it never raises.

    `image` is the image that the answer is about before it shows one itself; default: the last. The answer
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


_IMAGES: Final = re.compile(r"(?:<img>[^<]*(?:<(?!/img>)[^<]*)*</img>)*")
_REGIONS: Final = r"((?:<(box|quad)>[^<]*</\2>)+)"
_REFERRING: Final = re.compile(rf"<ref>[^<]*(?:<(?!/?ref>)[^<]*)*</ref>{_REGIONS}(?:<\|endoftext\|>)?")
_DESCRIBED: Final = re.compile(rf"<ref>This</ref>{_REGIONS} is")


def guess(text: str, style: Style) -> str:
    """Returns the task whose template `text` is of; empty for none."""
    start = _after_images(text)
    if start == 0:
        return "" if TAG.search(text, 0, _without_end(text)) else "text"
    for task in ("grounding", "caption", "ocr"):
        if _cue(style, task).match(text, start):
            return task
    if _DESCRIBED.match(text, start):
        return "grounded_caption"
    if _REFERRING.fullmatch(text, start):
        return "referring"
    return "vqa" if style.answer and style.answer in text[start:] else ""


def document_loss(text: str, task: str, style: Style) -> list[Span]:
    """Returns the characters that carry loss in a document by its task's template."""
    if task not in TEMPLATES:
        return _all_but_images(text)
    start = _target(text, task, style)
    if start is None:
        raise MarkupError(f"the text does not follow the template of task {task}")
    return [(start, len(text))] if start < len(text) else []


def chat_loss(text: str) -> list[Span]:
    """Returns the characters that carry loss in ChatML by Qwen-VL's published finetune script.

    Each <|im_start|>, each <|im_end|> with its line feed, and the content of the assistant's turns.
    """
    spans: list[Span] = []
    assistant = False
    after = ""
    for token in tokens(text):
        start, end = token.start, token.end
        if token.tag in (IM_START, IM_END):
            _extend(spans, start, end)
        elif after == IM_START and token.tag == "":
            feed = text.find("\n", start, end) + 1 or end
            assistant = text[start:feed] == "assistant\n"
            if assistant:
                _extend(spans, feed, end)
        elif after == IM_END and token.tag == "":
            _extend(spans, start, start + text.startswith("\n", start))
        elif assistant:
            _extend(spans, start, end)
        assistant = assistant and token.tag != IM_END
        after = token.tag
    return spans


def _extend(spans: list[Span], start: int, end: int) -> None:
    if start < end and spans and spans[-1][1] == start:
        spans[-1] = (spans[-1][0], end)
    elif start < end:
        spans.append((start, end))


def _target(text: str, task: str, style: Style) -> int | None:
    start = _after_images(text)
    if task == "text":
        return 0
    if task == "vqa":
        at = text.rfind(style.answer, start)
        return None if at < 0 else at + len(style.answer)
    if task == "referring":
        at = text.find("</ref>", start)
        return None if at < 0 else at + len("</ref>")
    match = (_DESCRIBED if task == "grounded_caption" else _cue(style, task)).match(text, start)
    return match.end() if match else None


@cache
def _cue(style: Style, task: str) -> re.Pattern[str]:
    """Returns the pattern of a task's prompt in any language."""
    worded = re.escape(style.cue(task, "\0"))
    return re.compile(worded.replace(re.escape("\0"), r"[^:<>\n]{1,40}"))


def _after_images(text: str) -> int:
    match = _IMAGES.match(text)
    return match.end() if match else 0


def _without_end(text: str) -> int:
    return len(text) - len(EOS) if text.endswith(EOS) else len(text)


def _all_but_images(text: str) -> list[Span]:
    spans: list[Span] = []
    inside = False
    for token in tokens(text):
        inside = inside or token.tag == "<img>"
        if not inside:
            _extend(spans, token.start, token.end)
        inside = inside and token.tag != "</img>"
    return spans
