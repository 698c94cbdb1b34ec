"""How much of each stratum an epoch draws."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.mixture import Portion, matching, portion, read, shares, to_json
from schemas.strict import FieldError

TASKS, SOURCES = ("caption", "ocr", "vqa"), ("web", "pages", "coco-2014")
NAMES = [f"{task}/{source}" for task in TASKS for source in SOURCES]

views = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 10**9), min_size=1)
weights = st.floats(1e-6, 1e6, allow_nan=False)


def test_without_a_mixture() -> None:
    """Every view is drawn once."""
    assert {name: share.drawn for name, share in shares({}, {"ocr/pages": 7}).items()} == {"ocr/pages": 7}


@given(views, st.data())
def test_weights(counts: dict[str, int], data: st.DataObject) -> None:
    """An epoch draws as many views as take part, of each stratum in proportion to its weight."""
    given = {name: data.draw(weights) for name in counts}
    found = shares(read(given), counts)
    assert sum(share.drawn for share in found.values()) == sum(counts.values())
    first = next(iter(counts))
    for name, share in found.items():
        expected = share.drawn * Fraction(str(given[first]))
        assert expected == found[first].drawn * Fraction(str(given[name]))


@given(views, st.data())
def test_epochs(counts: dict[str, int], data: st.DataObject) -> None:
    """Each view that takes part is drawn as often as its stratum's epochs say."""
    given: dict[str, Any] = {
        name: {
            "epochs": data.draw(st.sampled_from([0.25, 1, 2, 3.5])),
            "max_samples": data.draw(st.integers(1, 100)),
        }
        for name in counts
    }
    for name, share in shares(read(given), counts).items():
        assert share.views == min(counts[name], given[name]["max_samples"])
        assert share.drawn == Fraction(str(given[name]["epochs"])) * share.views


def test_numbers_are_as_written() -> None:
    """A tenth is a tenth: 0.29 epochs of 100 views are 29 draws, which they are not in binary."""
    assert shares(read({"vqa/*": {"epochs": 0.29}}), {"vqa/web": 100})["vqa/web"].drawn == 29


def test_strata_share_the_weight_of_their_pattern() -> None:
    """A pattern's weight is divided by the views that take part; what no pattern matches, or 0 does, is left out."""
    mixture = read({"caption/*": 3, "caption/coco*": {"weight": 1, "max_samples": 100}, "vqa/web": 0})
    counts = {"caption/web": 300, "caption/pages": 100, "caption/coco-2014": 999, "vqa/web": 5, "ocr/web": 6}
    found = {name: (share.views, share.drawn) for name, share in shares(mixture, counts).items()}
    assert found == {
        "caption/web": (300, Fraction(500 * 9, 16)),
        "caption/pages": (100, Fraction(500 * 3, 16)),
        "caption/coco-2014": (100, Fraction(500, 4)),
    }


RISING = ("*/*", "caption/*", "caption/w*", "caption/we?", "caption/web")


@given(st.lists(st.sampled_from(RISING), min_size=1, unique=True))
def test_the_most_specific_pattern_holds(patterns: list[str]) -> None:
    """Whatever the order of patterns, the one that fixes most of task and source holds."""
    assert matching(patterns, ["caption/web"]) == {"caption/web": max(patterns, key=RISING.index)}


@pytest.mark.parametrize(
    ("patterns", "named"),
    [
        (["caption/*", "*/web"], "*/web"),
        (["caption/*b", "caption/w*"], "caption/w*"),
        (["c*/web", "*n/web"], "c*/web"),
        (["caption/w[ae]b", "caption/we?"], "caption/we?"),
    ],
)
def test_equally_specific_patterns(patterns: list[str], named: str) -> None:
    """Two patterns of which neither is more specific are refused where both match, unless the stratum is named."""
    with pytest.raises(FieldError, match=r"both match caption/web, and neither is more specific") as caught:
        matching(patterns, ["vqa/coco", "caption/web"])
    assert named in str(caught.value)
    assert matching([*patterns, "caption/web"], ["caption/web"]) == {"caption/web": "caption/web"}
    assert matching(patterns, ["vqa/coco"]) == {}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"vqa/a": -1}, "vqa/a: weight must be a number from 0 to 1,000,000, not -1"),
        ({"vqa/a": float("nan")}, "vqa/a: weight must be a number from 0 to 1,000,000, not nan"),
        ({"vqa/a": {"epochs": float("inf")}}, "vqa/a: epochs must be a number from 0 to 1,000, not inf"),
        ({"vqa/a": 10**400}, "vqa/a: weight must be a number from 0 to 1,000,000, not 1"),
        ({"vqa/a": {"epochs": 1e-9}}, "vqa/a: epochs must be 0 or at least 0.001"),
        ({"vqa/a": "1e-3"}, "vqa/a: weight must be a number such as 0.5, not '1e-3'"),
        ({"vqa/a": True}, "vqa/a: weight must be a number such as 0.5, not True"),
        ({"vqa/a": None}, "vqa/a: give weight or epochs, one of them"),
        ({"vqa/a": {}}, "vqa/a: give weight or epochs, one of them"),
        ({"vqa/a": {"weight": 1, "epochs": 1}}, "vqa/a: give weight or epochs, one of them"),
        (
            {"vqa/a": {"weight": 1, "max_samples": 0}},
            "max_samples must be a whole number from 1 to 1,000,000,000,000",
        ),
        (
            {"vqa/a": {"weight": 1, "max_samples": 2.5}},
            "max_samples must be a whole number such as 10000, not 2.5",
        ),
        (
            {"vqa/a": {"wieght": 1}},
            "vqa/a: unknown key wieght; did you mean weight? allowed are weight, epochs, max_",
        ),
        ({"vqa/a": {3: 1}}, "vqa/a: unknown key 3; allowed are weight"),
        ({"vqa": 1}, "strata are named by TASK/SOURCE, such as caption/web or ocr/*, not 'vqa'"),
        ({"vqa/": 1}, "strata are named by TASK/SOURCE"),
        ({"a/b/c": 1}, "strata are named by TASK/SOURCE"),
        ({"x" * 1000: 1}, "strata are named by TASK/SOURCE"),
        ({7: 1}, "strata are named by TASK/SOURCE"),
        ({"vqa/a": 1, "vqa/b": {"epochs": 1}}, "vqa/a has a weight and vqa/b epochs"),
        ({"vqa/a": 0, "vqa/b": 0}, "every portion is 0, so nothing is drawn"),
        ({f"vqa/{at}": 1 for at in range(1001)}, "a mixture has at most 1,000 patterns, not 1,001"),
        ([["vqa/a", 1]], "a mixture is a map of TASK/SOURCE"),
        (3, "a mixture is a map of TASK/SOURCE"),
    ],
)
def test_refused(value: Any, sentence: str) -> None:
    """What is no mixture is one sentence that names the pattern."""
    with pytest.raises(FieldError) as caught:
        read(value)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("mixture", "sentence"),
    [
        ({"vqa/web": 1, "ocr/*": 1}, "ocr/* matches nothing; there is vqa/web, caption/web"),
        ({"vqa/web": 0, "caption/*": 1}, ""),
        ({"vqa/web": {"epochs": 0}, "*/web": {"epochs": 1}}, ""),
        ({"caption/*": 0, "*/w*": 1, "vqa/web": 0, "caption/web": 0}, "nothing is drawn; there is vqa/web"),
    ],
)
def test_what_the_corpus_lacks(mixture: Any, sentence: str) -> None:
    """A pattern that matches no stratum is refused with the strata that are there."""
    counts = {"vqa/web": 3, "caption/web": 4}
    if not sentence:
        assert list(shares(read(mixture), counts)) == ["caption/web"]
        return
    with pytest.raises(FieldError) as caught:
        shares(read(mixture), counts)
    assert sentence in str(caught.value)


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.builds(Portion, weight=weights, max_samples=st.integers(1, 10**12))
    )
)
def test_round_trip(mixture: dict[str, Portion]) -> None:
    """What is written as JSON is read back; a number is a weight."""
    assert read(to_json(mixture)) == mixture
    assert portion(2) == Portion(weight=2.0)
