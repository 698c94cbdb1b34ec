"""Text lines as ICDAR, PaddleOCR and COCO-Text publish them: each bad one by name, with what it holds."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.dataset import Record, build
from pipelines.datasets.ocr_labels import OCR_LABELS
from pipelines.files import Store

GOOD = {"transcription": "Exit", "points": [[10, 10], [90, 10], [90, 40], [10, 40]]}


def paddle(points: Any, text: Any = "Exit") -> dict[str, Any]:
    return {"transcription": text, "points": points}


def coco_text(bbox: Any) -> dict[str, Any]:
    return {"bbox": bbox, "utf8_string": "Exit", "legibility": "legible"}


@pytest.mark.parametrize(
    ("line", "reason", "sentence"),
    [
        ("1,2,3,Exit\r", "box_numbers", "'1,2,3,Exit' is not eight numbers and a text"),
        ("a,2,3,4,5,6,7,8,Exit", "box_numbers", "'a,2,3,4,5,6,7,8,Exit' is not eight numbers and a text"),
        ("nan,2,3,4,5,6,7,8,Exit", "box_numbers", "are no four corners"),
        (
            "10,10,10,10,10,40,10,40,Exit",
            "box_degenerate",
            "the corners (10, 10), (10, 10), (10, 40), (10, 40) have",
        ),
        ("10,10,90,10,90,40,10,40,###", "unreadable", "the annotators marked"),
        (
            paddle([[10, 10], [90, 10], [90, 40]]),
            "box_numbers",
            "[[10, 10], [90, 10], [90, 40]] are no four corners",
        ),
        (paddle([[10, 10], [90, 10], [90, 40], ["10", 40]]), "box_numbers", "are no four corners"),
        (paddle([[10, 10], [90, 10], [90, 40], [10, True]]), "box_numbers", "are no four corners"),
        (paddle("here"), "box_numbers", "'here' are no four corners"),
        (paddle(None), "box_numbers", "None are no four corners"),
        (paddle(GOOD["points"], 7.5e300), "bad_record", ""),
        ({"points": GOOD["points"]}, "bad_record", "'transcription' is missing"),
        (
            coco_text([10, 10, 0, 30]),
            "box_degenerate",
            "the corners (10, 10), (10, 10), (10, 40), (10, 40) have",
        ),
        (coco_text(["10", 10, 80, 30]), "box_numbers", "['10', 10, 80, 30] is no box"),
        (coco_text([10, 10, float("inf"), 30]), "box_numbers", "is no box"),
        (7, "bad_record", ""),
        (None, "bad_record", ""),
    ],
)
def test_a_bad_line_is_named_and_takes_no_other(line: Any, reason: str, sentence: str) -> None:
    """The line between two good ones is lost alone, and its sentence shows what it holds."""
    (built,) = build([Record("a", {"image": "a.jpg", "lines": [GOOD, line, GOOD]})], OCR_LABELS)
    first, second, third = built.annotations
    assert (first.refusal, third.refusal, built.refusal) == (None, None, None)
    assert second.refusal is not None
    assert second.refusal.reason == reason
    assert sentence in second.refusal.text


@pytest.mark.parametrize("lines", [{"a": 1}, "words", 7, None])
def test_labels_that_are_no_list_are_one_record(lines: Any) -> None:
    """They are refused as a whole."""
    (built,) = build([Record("a", {"image": "a.jpg", "lines": lines})], OCR_LABELS)
    assert built.refusal is not None
    assert built.refusal.reason == "bad_record"


def test_a_label_line_without_a_tab_says_so(tmp_path: Path) -> None:
    """The other lines of PaddleOCR's file are read."""
    path = tmp_path / "Label.txt"
    path.write_text('0.jpg\t[]\r\n1.jpg [{"points": []}]\r\n2.jpg\t[{\r\n')
    assert OCR_LABELS.folder is not None
    first, second, third = OCR_LABELS.folder(Store(), str(path))
    assert first.refusal is None
    assert second.refusal is not None
    assert second.refusal.text == """'1.jpg [{"points": []}]' has no tab between the image and its labels"""
    assert (third.refusal and third.refusal.reason) == "bad_json"
