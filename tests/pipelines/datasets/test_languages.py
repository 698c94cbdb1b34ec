"""Languages of texts: what a text says of itself, and where the others of its image and shard decide."""

from hypothesis import given
from hypothesis import strategies as st

from filters.language import UNDETERMINED
from pipelines.datasets.languages import Heard, settled

LONG = 40


def sure(language: str, letters: int = LONG, script: str = "Latin") -> Heard:
    return Heard(language, 0.9, script, letters)


def unsure(language: str, letters: int = LONG) -> Heard:
    return Heard(language, 0.3, "Latin", letters)


def many(language: str, count: int) -> dict[tuple[str, str], Heard]:
    """Returns long sure texts, each of an image of its own."""
    return {(f"{language}{number}", f"{language} text {number}"): sure(language) for number in range(count)}


def test_a_long_sure_text_stands_alone() -> None:
    """It is in its own language among any number of others."""
    found = settled(many("en", 1000) | {("a", "x"): sure("pl")})
    assert found["a", "x"] == "pl"


def test_a_word_does_not_stand_alone() -> None:
    """A short text of which the model is sure is in the language of a hundred others, where none is in its own."""
    word = {("a", "schnitzel"): sure("de", 9)}
    assert settled(many("en", 101) | word)["a", "schnitzel"] == "en"
    assert settled(many("en", 5) | word)["a", "schnitzel"] == "de"
    assert settled(many("en", 98) | many("de", 2) | word)["a", "schnitzel"] == "de"


def test_the_other_captions_of_an_image_decide() -> None:
    """An unsure text is in the language of its image's other texts, however rare that is in the shard."""
    image = {("a", "x"): sure("es"), ("a", "y"): unsure("gl"), ("a", "z"): unsure("es", 8)}
    found = settled(many("en", 1000) | image)
    assert found["a", "y"] == found["a", "z"] == "es"


def test_an_unsure_long_text_may_be_in_a_language_of_one_in_a_hundred() -> None:
    """A guess holds where others of the shard are in the language; it does not where none is."""
    texts = many("en", 970) | many("es", 30) | {("a", "x"): unsure("es"), ("b", "y"): unsure("gl")}
    found = settled(texts)
    assert (found["a", "x"], found["b", "y"]) == ("es", "en")


def test_scripts_are_apart() -> None:
    """Chinese texts say nothing of Latin ones; a few Han characters stand alone."""
    texts = {(f"{n}", f"{n}"): sure("zh", 12, "Han") for n in range(50)} | {
        ("a", "x"): unsure(UNDETERMINED, 4)
    }
    found = settled(texts | {("b", "红"): sure("zh", 1, "Han")})
    assert (found["a", "x"], found["b", "红"]) == (UNDETERMINED, "zh")


heard = st.builds(
    Heard,
    st.sampled_from(["en", "es", "zh", UNDETERMINED]),
    st.sampled_from([0.1, 0.4, 0.6, 1.0]),
    st.sampled_from(["Latin", "Han"]),
    st.sampled_from([1, 20, 21, 200]),
)


@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.text("xyz", max_size=3)), heard, max_size=30))
def test_every_text_has_a_language_that_a_text_says(texts: dict[tuple[str, str], Heard]) -> None:
    """No language is made up; the order of the texts decides nothing; a sure long text keeps its own."""
    found = settled(texts)
    assert found.keys() == texts.keys()
    assert {*found.values()} <= {one.language for one in texts.values()} | {UNDETERMINED}
    assert settled(dict(reversed(texts.items()))) == found
    assert all(found[at] == one.language for at, one in texts.items() if one.is_sure and not one.is_short)
