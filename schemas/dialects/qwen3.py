"""The JSON that the fine-tuning scripts of Qwen2-VL, Qwen2.5-VL and Qwen3-VL read: LLaVA's, with other boxes.

    Qwen2-VL      <|object_ref_start|>P<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>, from 0 to 1000
    Qwen2.5-VL    {"bbox_2d": [x1, y1, x2, y2], "label": "P"}, in pixels
    Qwen3-VL      the same, from 0 to 1000

Written is Qwen3-VL's: an answer is words, or a list of boxes with labels. Lacks: words beside boxes in an answer,
quads, words that are not taught in an answer or are in a question.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from schemas.dialects.dialogue import CannotSay, TextReader, broken, grid_box, read_box, spoken
from schemas.dialects.llava import IMAGE_MARKS, SPEAKERS, record_of
from schemas.markup.render import merged
from schemas.markup.tags import GRID, Size
from schemas.sample import Box, Example, ImageRef, Phrase, Segment, Text, Turn

VISION: Final = "<|vision_start|><|image_pad|><|vision_end|>"
"""How Qwen2-VL's chat template writes an image."""
TOKENS: Final = re.compile(r"<\|(?:(?:object_ref|box|quad|vision)_(?:start|end)|(?:image|vision)_pad)\|>")
"""A mark of Qwen2-VL's, wherever it stands."""
BBOX_2D: Final = re.compile(r"\"bbox_2d\\*\"\s*:")
"""What gives boxes in JSON away."""

_IMAGE: Final = rf"(?P<image>(?:<image>|{re.escape(VISION)})\n?|\n<image>\Z)"
_TAGGED: Final = re.compile(
    rf"{_IMAGE}|(?:<\|object_ref_start\|>(?P<words>(?:[^<]|<(?!\|))*)<\|object_ref_end\|>)?"
    r"(?P<boxes>(?:<\|box_start\|>[^<]*<\|box_end\|>)+)"
    r"|<\|object_ref_start\|>(?P<named>(?:[^<]|<(?!\|))*)<\|object_ref_end\|>"
)
_ONE_BOX: Final = re.compile(r"<\|box_start\|>([^<]*)<\|box_end\|>")
_FOUND: Final = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")
_LISTED: Final = re.compile(
    rf"{_IMAGE}|(?P<json>(?:```(?:json)?\s*)?[\[{{]\s*(?:{{\s*)?\"(?:bbox_2d|label|text_content)\")"
)
_OPENED: Final = re.compile(r"```(?:json)?\s*")
_CLOSED: Final = re.compile(r"\s*```")
_LABELS: Final = ("label", "text_content")


def to_qwen3(example: Example, names: Sequence[str]) -> dict[str, Any]:
    """Returns the record of `example` for Qwen3-VL, whose images are the files `names`; raises MarkupError."""
    turns = tuple(_sayable(turn) for turn in spoken(example, list(SPEAKERS)))
    return record_of(example, names, turns, _words, _regions)


def _sayable(turn: Turn) -> Turn:
    """Returns the turn with phrases without boxes as words; CannotSay where an answer has words beside boxes."""
    segments = [
        Text(one.phrase, one.supervised) if isinstance(one, Phrase) and not (one.boxes or one.quads) else one
        for one in turn.segments
    ]
    said = merged(segments)
    regions = [one for one in said if isinstance(one, Phrase)]
    if any(one.quads for one in regions):
        raise CannotSay("quads")
    beside = [one for one in said if isinstance(one, Text)]
    if turn.role == "assistant" and regions and beside:
        raise CannotSay("words", "Qwen3-VL's answer is words or boxes, not both")
    return Turn(turn.role, said)


def _words(text: str) -> str:
    if BBOX_2D.search(text) or TOKENS.search(text):
        raise CannotSay("text")
    return IMAGE_MARKS.escape(text)


def _regions(phrases: Sequence[Phrase], size: Size | None) -> str:
    said = [{"bbox_2d": grid_box(box, size), "label": one.phrase} for one in phrases for box in one.boxes]
    return json.dumps(said, ensure_ascii=False)


def read_tagged(text: str, taught: bool, count: int) -> tuple[tuple[Segment, ...], int]:
    """Returns what a text of Qwen2-VL's says, boxes in thousandths of the sides, and the images shown by then."""
    read: list[Segment] = []
    end = 0
    for match in _TAGGED.finditer(text):
        _add_text(read, text, (end, match.start()), taught)
        end = match.end()
        if match["image"]:
            read.append(ImageRef(count))
            count += 1
        elif match["boxes"]:
            boxes = tuple(
                _grid_box([float(one) for one in _FOUND.findall(one[1])], one.span())
                for one in _ONE_BOX.finditer(text, *match.span("boxes"))
            )
            read.append(Phrase(match["words"] or "", boxes, (), taught))
        else:
            read.append(Phrase(match["named"], (), (), taught))
    _add_text(read, text, (end, len(text)), taught)
    return tuple(read), count


def json_reader(relative: bool) -> TextReader:
    """Returns the reader of text with boxes in JSON: from 0 to 1000 where `relative`, else in pixels."""

    def read_json(text: str, taught: bool, count: int) -> tuple[tuple[Segment, ...], int]:
        read: list[Segment] = []
        end = 0
        while (match := _LISTED.search(text, end)) is not None:
            _add_text(read, text, (end, match.start()), taught)
            if match["image"]:
                end = match.end()
                read.append(ImageRef(count))
                count += 1
            else:
                phrases, end = _json_phrases(text, match.start(), taught, relative)
                read += phrases
        _add_text(read, text, (end, len(text)), taught)
        return tuple(read), count

    return read_json


def _json_phrases(text: str, start: int, taught: bool, relative: bool) -> tuple[list[Phrase], int]:
    """Returns the phrases of the JSON that begins at `start`, and where it ends; neighbours of one label are one."""
    fence = _OPENED.match(text, start)
    try:
        value, end = json.JSONDecoder().raw_decode(text, fence.end() if fence else start)
    except (ValueError, RecursionError) as error:
        raise broken("coordinates", (start, len(text)), "the boxes are no JSON") from error
    closed = _CLOSED.match(text, end) if fence else None
    place = (start, closed.end() if closed else end)
    phrases: list[Phrase] = []
    for one in value if isinstance(value, list) else [value]:
        words, box = _labelled(one, place, relative)
        if phrases and phrases[-1].phrase == words:
            phrases[-1] = Phrase(words, (*phrases[-1].boxes, box), (), taught)
        else:
            phrases.append(Phrase(words, (box,), (), taught))
    return phrases, place[1]


def _labelled(one: Any, place: tuple[int, int], relative: bool) -> tuple[str, Box]:
    if not isinstance(one, dict) or "bbox_2d" not in one:
        raise broken("coordinates", place, f"{repr(one)[:80]} has no bbox_2d")
    if strange := [name for name in one if name not in ("bbox_2d", *_LABELS)]:
        raise broken("stray", place, f"{strange[0]!r} beside a bbox_2d is not read")
    words = next((one[name] for name in _LABELS if name in one), "")
    if not isinstance(words, str):
        raise broken("coordinates", place, f"the label {repr(words)[:80]} is no text")
    if relative:
        return words, _grid_box(one["bbox_2d"], place)
    box = read_box(one["bbox_2d"], 10**7, place)
    if max(box) <= 1:
        raise broken("normalised", place, f"{list(box)} are shares of the sides, where pixels are read")
    return words, box


def _grid_box(values: Any, place: tuple[int, int]) -> Box:
    """Returns a box from 0 to 1000 in thousandths: whole numbers are cells, and stand for their middles."""
    box = read_box(values, GRID, place)
    if max(box) <= 1 and any(one != int(one) for one in box):
        raise broken("normalised", place, f"{list(box)} are shares of the sides, where 0 to {GRID} is read")
    x1, y1, x2, y2 = map(_middle, box)
    return x1, y1, x2, y2


def _middle(value: float) -> float:
    return min(value + 0.5, GRID) if value == int(value) else value


def _add_text(read: list[Segment], text: str, span: tuple[int, int], taught: bool) -> None:
    own = text[span[0] : span[1]]
    for marks in (TOKENS, BBOX_2D):
        if stray := marks.search(own):
            start = span[0] + stray.start()
            raise broken("stray", (start, start + len(stray[0])), f"{stray[0]} stands where it cannot")
    if own:
        read.append(Text(IMAGE_MARKS.unescape(own), taught))
