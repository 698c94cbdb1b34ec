"""ms-swift's `objects`: the words and boxes that <ref-object> and <bbox> in the texts stand for.

    {"ref": ["the dog"], "bbox": [[x1, y1, x2, y2]], "bbox_type": "real" | "norm1", "image_id": [0]}

Boxes are in pixels unless `bbox_type` says that they are shares of the sides.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from pipelines.datasets.drafts import check_unicode
from pipelines.datasets.reasons import Refused
from schemas.dialects.dialogue import THOUSANDTHS, broken, read_box
from schemas.sample import Box, ImageRef, Phrase, Segment, Text

MARKS: Final = re.compile(r"<ref-object>|<bbox>")
"""What stands for a phrase or a box in a text."""

_MARK: Final = re.compile(r"(\n?<image>\n?)|(<ref-object>)?((?:<bbox>)*)")
_SCALES: Final = {"real": None, "norm1": 1, "norm_1": 1, "norm1000": 1000, "norm_1000": 1000}
"""By `bbox_type`, the largest coordinate; None: pixels."""


class Objects:
    """The phrases and boxes of one record, taken in the order of the marks in its texts."""

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Mapping) or set(given) - {"ref", "bbox", "bbox_type", "image_id"}:
            raise Refused(
                "unread_field", "objects is read as {ref, bbox, bbox_type, image_id} and nothing else"
            )
        kind = given.get("bbox_type") or "real"
        if kind not in _SCALES:
            raise Refused(
                "bad_record", f"bbox_type must be one of {', '.join(_SCALES)}, not {repr(kind)[:80]}"
            )
        self._scale = _SCALES[kind]
        self._words, self._boxes, self._images = (_list(given, name) for name in ("ref", "bbox", "image_id"))
        self._at = [0, 0]

    @property
    def relative(self) -> bool:
        """Whether boxes are shares of the sides."""
        return self._scale is not None

    def read(self, text: str, taught: bool, count: int) -> tuple[tuple[Segment, ...], int]:
        """Returns what a turn's text says, and the images shown by then."""
        read: list[Segment] = []
        end = 0
        for match in _MARK.finditer(text):
            if not match[0]:
                continue
            if match.start() > end:
                read.append(Text(text[end : match.start()], taught))
            end = match.end()
            if match[1]:
                read.append(ImageRef(count))
                count += 1
            else:
                words = self._word(match.start()) if match[2] else ""
                boxes = tuple(self._box(match.span(3), count) for _ in range(match[3].count("<bbox>")))
                read.append(Phrase(words, boxes, (), taught))
        if text[end:]:
            read.append(Text(text[end:], taught))
        return tuple(read), count

    def check_used(self) -> None:
        """Raises Refused where a phrase or a box stands in no text."""
        if self._at != [len(self._words), len(self._boxes)]:
            raise Refused(
                "bad_markup",
                f"the texts use {self._at[0]} of {len(self._words)} phrases and {self._at[1]} of "
                f"{len(self._boxes)} boxes of objects",
            )

    def _word(self, place: int) -> str:
        if self._at[0] >= len(self._words):
            raise broken(
                "stray", (place, place), f"there are more <ref-object> than the {len(self._words)} of objects"
            )
        words = self._words[self._at[0]]
        self._at[0] += 1
        if not isinstance(words, str):
            raise Refused("bad_record", f"{repr(words)[:80]} in objects is no phrase")
        check_unicode(words)
        return words

    def _box(self, place: tuple[int, int], count: int) -> Box:
        number = self._at[1]
        if number >= len(self._boxes):
            raise broken("stray", place, f"there are more <bbox> than the {len(self._boxes)} of objects")
        if self._images and (number >= len(self._images) or self._images[number] != count - 1):
            raise broken("image", place, f"box {number} is not of the image shown last before it")
        self._at[1] += 1
        if self._scale is None:
            box = read_box(self._boxes[number], 10**7, place)
            if max(box) <= 1:
                raise Refused("box_normalised", f"{list(box)} are pixels where bbox_type does not say norm1")
            return box
        x1, y1, x2, y2 = read_box(self._boxes[number], self._scale, place)
        across = THOUSANDTHS[0] / self._scale
        return x1 * across, y1 * across, x2 * across, y2 * across


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    if value is not None and not isinstance(value, list):
        raise Refused("bad_record", f"objects.{name} must be a list")
    return value or []
