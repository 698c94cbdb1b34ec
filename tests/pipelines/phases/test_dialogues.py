from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.dataset import build
from pipelines.datasets.drafts import Draft, NamedImage
from pipelines.datasets.reasons import Refused
from pipelines.datasets.tuples import GROUNDING
from pipelines.phases.dialogues import PROMPTS, concatenated, localisation
from schemas.markup import render
from schemas.sample import ImageRef, Phrase, Text, Turn
from tests.pipelines.datasets.common import as_sample, one, records, said, segments


def views(language: str = "en", count: int = 2) -> tuple[Draft, ...]:
    names = ["dog", "ball", "tree", "cat"][:count]
    caption = " ".join(names)
    labels = [
        {
            "text": name,
            "start": caption.index(name),
            "end": caption.index(name) + len(name),
            "boxes": [[n * 9, 9, 90, 90]],
        }
        for n, name in enumerate(names)
    ]
    value: dict[str, Any] = {
        "image": "a.jpg",
        "width": 100,
        "height": 100,
        "caption": caption,
        "phrases": labels,
    }
    return one(build(records(value | {"lang": language}), GROUNDING)).drafts


def chat(name: str, *words: str, system: bool = False) -> Draft:
    turns = [Turn("system", (Text("Be kind."),))] if system else []
    for at, text in enumerate(words):
        shown = (ImageRef(0),) if at == 0 else ()
        turns.append(Turn("assistant" if at % 2 else "user", (*shown, Text(text, at % 2 == 1))))
    return Draft("chat", "en", (NamedImage(name),), tuple(turns))


@pytest.mark.parametrize("language", ["en", "zh", "fr"])
def test_places_are_asked_and_told(language: str) -> None:
    """The caption comes first, then phrase to box and box to phrase, with supervised answers alone."""
    draft = localisation(views(language, 4), rounds=4)
    roles = [turn.role for turn in draft.turns]
    assert roles == ["user", "assistant"] * 4
    for turn in draft.turns:
        taught = [one.supervised for one in turn.segments if not isinstance(one, ImageRef)]
        assert taught == [turn.role == "assistant"] * len(taught)
    (answer,) = draft.turns[3].segments
    assert isinstance(answer, Phrase)
    assert answer.boxes
    assert [one.phrase for one in draft.turns[2].segments if isinstance(one, Phrase)] == [answer.phrase]
    assert [one.boxes for one in draft.turns[4].segments if isinstance(one, Phrase)] == [((9, 9, 90, 90),)]
    assert draft.turns[5].segments == (Text("ball", True),)
    assert [one for one in segments(draft) if isinstance(one, ImageRef)] == [ImageRef(0)]
    assert as_sample(draft).images[0].width == 100
    chinese = any(
        "\u4e00" <= one <= "\u9fff" for one in "".join(words for role, words in said(draft) if role == "user")
    )
    assert chinese == (language == "zh")


def test_a_picture_without_regions_has_no_such_dialogue() -> None:
    """No view with a region, no dialogue about places."""
    with pytest.raises(Refused):
        localisation([])
    with pytest.raises(ValueError, match="one picture"):
        localisation([chat("a", "x", "y"), chat("b", "x", "y")])


def test_dialogues_are_joined_with_pictures_renumbered() -> None:
    """Pictures are numbered through, later dialogues are announced by their picture's number in the text."""
    joined = concatenated(
        [chat("a", "A?", "a", system=True), chat("b", "B?", "b", system=True), chat("a", "C?", "c")]
    )
    assert [picture.name for picture in joined.images] == ["a", "b"]
    assert [one.image for one in segments(joined) if isinstance(one, ImageRef)] == [0, 1, 0]
    assert [turn.role for turn in joined.turns] == ["system", *["user", "assistant"] * 3]
    text = render(as_sample(joined)).text
    for number in (1, 2, 3):
        assert text.count(f"Picture {number}: <img>") == 1
    assert "Picture 2" in said(joined)[3][1]
    assert "Picture 3" in said(joined)[5][1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 4), st.integers(0, 9))
def test_joining_keeps_every_turn_and_picture(names: list[int], size: int, seed: int) -> None:
    """Groups hold all dialogues in order, each showing its own pictures."""
    dialogues = [chat(f"{name}.jpg", f"Q{at}", f"A{at}") for at, name in enumerate(names)]
    groups = [concatenated(dialogues[at : at + size], seed) for at in range(0, len(names), size)]
    shown = [
        group.images[one.image].name
        for group in groups
        for one in segments(group)
        if isinstance(one, ImageRef)
    ]
    assert shown == [f"{name}.jpg" for name in names]
    answers = [words for group in groups for role, words in said(group) if role == "assistant"]
    assert answers == [f"A{at}" for at in range(len(names))]
    with pytest.raises(ValueError, match="nothing"):
        concatenated([])


def test_regions_stay_with_their_picture() -> None:
    """After joining, boxes still belong to the picture shown last before them."""
    joined = concatenated([chat("z", "Z?", "z"), localisation(views())])
    sample = as_sample(joined)
    shown = -1
    for segment in (found for turn in sample.turns for found in turn.segments):
        if isinstance(segment, ImageRef):
            shown = segment.image
        elif isinstance(segment, Phrase) and segment.boxes:
            assert joined.images[shown].name == "a.jpg"


def test_both_languages_have_all_prompts() -> None:
    """English and Chinese ask for the same things, each prompt once and with its places."""
    assert PROMPTS["en"].keys() == PROMPTS["zh"].keys()
    for prompts in PROMPTS.values():
        for ask, words in prompts.items():
            assert len(set(words)) == len(words) >= 3
            place = {"where": "{phrase}", "what": "{phrase}", "compare": "{number}"}.get(ask, "")
            assert all(place in one for one in words)
