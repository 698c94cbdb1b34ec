"""filters/lid.py: beside fastText itself, which is asked text by text."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.language import model_of_the_wheel
from filters.lid import HALF, Asked, Labels, Lid176

_ODD = [
    "</s>",
    "a </s> b",
    "__label__en hallo",
    "x\0y z",
    "",
    "  two   spaces ",
    "\u00a0 a\u3000b \x1c\x0b",
    "<über>",
]


@cache
def _models() -> tuple[Lid176, Asked]:
    return Lid176(model_of_the_wheel()), Asked(model_of_the_wheel())


def _named(model: Lid176 | Asked, labels: Labels) -> list[list[tuple[str, float]]]:
    """Each text's labels with their scores, which are compared to the last bit."""
    rows = zip(labels.numbers.tolist(), labels.scores.tolist(), strict=True)
    return [[(model.names[one], score) for one, score in zip(*row, strict=True) if score] for row in rows]


def _both(texts: list[str]) -> tuple[list[list[tuple[str, float]]], list[list[tuple[str, float]]]]:
    ours, theirs = _models()
    given = pa.array(texts, pa.string())
    return _named(ours, ours.many(given)), _named(theirs, theirs.many(given))


@given(st.lists(st.text(max_size=30) | st.sampled_from(_ODD), max_size=4))
def test_labels_and_scores_are_those_of_fasttext(texts: list[str]) -> None:
    """The first five labels of any texts, in their order, with the same scores to the last bit."""
    ours, theirs = _both(texts)
    assert ours == theirs


def test_captions_of_the_web_have_the_labels_of_fasttext(test_data: Path) -> None:
    """A batch of published captions, and sentences in 99 languages."""
    table = pq.read_table(test_data / "formats/metadata/laion-url-text-10000.parquet", columns=["TEXT"])
    sentences = (test_data / "langid/sentences.tsv").read_text(encoding="utf-8").splitlines()
    texts = [text or "" for text in table["TEXT"].to_pylist()[:3000]]
    ours, theirs = _both([*texts, *(line.split("\t")[2] for line in sentences)])
    assert ours == theirs


@pytest.mark.parametrize("which", [0, 1], ids=["ours", "fastText"])
def test_a_sure_label_stands_alone_unless_it_is_refused(which: int) -> None:
    """Where the first label has more than half, the others are asked for only where it cannot be the text's."""
    model = _models()[which]
    texts = pa.array(["A dog runs along the beach with a stick in its mouth.", "zzz qqq"])

    def given_admitted(admitted: bool) -> list[int]:
        labels = model.first(texts, lambda said: np.full(len(said), admitted))
        return [sum(score > 0 for score in row) for row in labels.scores.tolist()]

    assert model.many(texts).scores[0, 0] > HALF >= model.many(texts).scores[1, 0]
    assert given_admitted(True) == [1, 5]
    assert given_admitted(False) == [5, 5]
