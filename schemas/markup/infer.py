"""What a text without its record is: whose template, and which characters carry loss."""

import re
from functools import cache
from typing import Final

from schemas.markup.reader import MarkupError
from schemas.markup.style import TEMPLATES, Style
from schemas.markup.tags import EOS, IM_END, IM_START, TAG, Span, tokens

_IMAGES: Final = re.compile(r"(?:<img>[^<]*(?:<(?!/img>)[^<]*)*</img>)*")
_REGIONS: Final = r"((?:<(box|quad)>[^<]*</\2>)+)"
_REFERRING: Final = re.compile(rf"<ref>[^<]*(?:<(?!/?ref>)[^<]*)*</ref>{_REGIONS}(?:<\|endoftext\|>)?")
_DESCRIBED: Final = re.compile(rf"<ref>This</ref>{_REGIONS} is")


def guess(text: str, style: Style) -> str:
    """The task whose template `text` is of; empty for none."""
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
    """The characters that carry loss in a document by its task's template."""
    if task not in TEMPLATES:
        return _all_but_images(text)
    start = _target(text, task, style)
    if start is None:
        raise MarkupError(f"the text does not follow the template of task {task}")
    return [(start, len(text))] if start < len(text) else []


def chat_loss(text: str) -> list[Span]:
    """The characters that carry loss in ChatML by Qwen-VL's published finetune script.

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
    """The pattern of a task's prompt in any language."""
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
