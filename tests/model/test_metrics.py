"""What answers are worth, against cases computed by hand."""

import math
from collections import Counter

import pytest

from model.metrics import (
    anls,
    answer,
    cider,
    error_rate,
    hit,
    iou,
    object_f1,
    objects,
    pair_f1,
    vqa_score,
    words,
)


def test_cider_of_the_reference_itself() -> None:
    """A caption that is its only reference scores 10 where it has n-grams of all four lengths, else its share."""
    scores = cider(["a b c d", "e f"], [["a b c d"], ["e f"]])
    assert scores == pytest.approx([10.0, 5.0])


def test_cider_by_hand() -> None:
    """Two images; `a` is in both and so weighs nothing, each other word weighs log 2."""
    # unigrams: {x, y} against {x, z}: cosine 1/2; bigrams: {a x, x y} against {a x, x z}: 1/2; trigrams none
    scores = cider(["a x y", "a w"], [["a x z"], ["a w"]])
    assert scores[0] == pytest.approx(10 * (1 / 2 + 1 / 2 + 0 + 0) / 4)
    # one word more: as many matches, of three words now, and the penalty for length
    longer = cider(["a x y y", "a w"], [["a x z"], ["a w"]])
    unigrams = 1 / math.sqrt((1 + 4) * 2)
    bigrams = 1 / math.sqrt(3 * 2)
    assert longer[0] == pytest.approx(10 * (unigrams + bigrams) / 4 * math.exp(-1 / 72))


def test_cider_clips_repeats() -> None:
    """Saying a word again earns nothing; several references are averaged."""
    once, again = (cider([text, "q"], [["x"], ["q"]])[0] for text in ("x", "x x"))
    assert again < once
    both = cider(["x", "q"], [["x", "y"], ["q"]])[0]
    assert both == pytest.approx(once / 2)
    with pytest.raises(ValueError, match="reference"):
        cider(["x"], [[]])


def test_vqa_score() -> None:
    """Ten annotators: the mean over them of min(1, others who agree / 3); one: the same or not."""
    answers = ["red"] * 2 + ["blue"] * 8
    # each of the two red sees one other: 1/3; each of the eight blue sees two: 2/3
    assert vqa_score("Red.", answers) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert vqa_score("blue", answers) == 1.0
    assert vqa_score("green", answers) == 0.0
    assert vqa_score("The two", ["2"]) == 1.0
    assert vqa_score("three", ["2"]) == 0.0


def test_words() -> None:
    """Words are lower-case, Han characters are words, answers lose articles."""
    assert words("A man's RED-hat，红色 2!") == ["a", "man's", "red", "hat", "红", "色", "2"]
    assert answer("The  Two dogs.") == "2 dogs"


def test_iou() -> None:
    """Half a shift of a square is a third; touching is nothing."""
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0
    assert hit((0, 0, 2, 2), [(5, 5, 6, 6), (0, 0, 2, 3)])
    assert not hit(None, [(0, 0, 2, 3)])


def test_pair_f1() -> None:
    """A true pair is found once; another phrase or a far box is no hit."""
    box, far = (0.0, 0.0, 2.0, 2.0), (7.0, 7.0, 9.0, 9.0)
    assert pair_f1([("a", box), ("a", box), ("b", box)], [("a", box), ("b", far)]) == (1, 3, 2)
    assert pair_f1([], []) == (0, 0, 0)


def test_reading() -> None:
    """ANLS is 1 less the distance's share, 0 from a half on; the error rate is over all letters."""
    assert anls("hello", ["hallo", "x"]) == pytest.approx(0.8)
    assert anls("abcd", ["abxy"]) == 0.0
    assert anls("HELLO ", ["hello"]) == 1.0
    assert error_rate(["hallo", ""], ["hello", "abc"]) == pytest.approx(4 / 8)


def test_objects() -> None:
    """Objects are what stands between joining words, counted, without size and background."""
    assert objects("A picture of two small green crosses and a ring on a dotted background.") == Counter(
        {"green cross": 2, "ring": 1}
    )
    assert objects("条纹背景上有两个绿色的大十字和一个红色的圆环。") == Counter(
        {"绿色的十字": 2, "红色的圆环": 1}
    )
    assert objects("") == Counter()


def test_object_f1() -> None:
    """F1 is over all captions together."""
    truth = [Counter({"red circle": 1, "blue square": 1}), Counter({"ring": 2})]
    assert object_f1(["a red circle and a blue square", "two rings"], truth) == 1.0
    # hits 1 + 1, said 1 + 1, true 2 + 2
    assert object_f1(["a red circle", "a ring"], truth) == pytest.approx(2 * 2 / (2 + 4))
    assert object_f1(["a green circle", ""], truth) == 0.0
