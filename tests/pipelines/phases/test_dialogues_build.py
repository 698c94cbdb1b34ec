"""Dialogues made of other samples: localisation, and several pictures in one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.verify import verify
from pipelines.phases.dialogues import Made, Place, with_dialogues
from schemas.ground import ChatSettings
from schemas.markup import parse, render
from schemas.sample import Example, Image, ImageRef, Phrase, Text, Turn, view_key
from tests.pipelines.building import build
from tests.pipelines.phases.test_ground import pairs, recipe, samples

FACTS: dict[str, Any] = {"phash": 1}


def made(number: int, split: str = "train", language: str = "en") -> list[Made]:
    """The three views of one picture."""
    pair, digest = f"{number:032x}", f"{number:064x}"
    image = Image("JPEG", 100, 80, digest)
    phrases = [Phrase(f"thing {at}", ((at, at, at + 20, at + 30),), (), True) for at in range(3)]
    caption: list[Any] = [ImageRef(0)]
    for phrase in phrases:
        caption += [phrase, Text(", ", True)]
    told = [("grounding", 0, tuple(caption))]
    for at, phrase in enumerate(phrases):
        told += [(task, at, (ImageRef(0), phrase)) for task in ("referring", "grounded_caption")]
    return [
        Made(
            Example(
                view_key(pair, task, at),
                task,
                split,
                language,
                "web",
                "CC0",
                (image,),
                (Turn("document", turns),),
            ),
            (Place(str(number), number),),
            FACTS,
        )
        for task, at, turns in told
    ]


def all_of(count: int) -> list[Made]:
    """The views of several pictures."""
    return [one for number in range(count) for one in made(number)]


def chats(found: list[Made]) -> list[Made]:
    """The dialogues among them."""
    return [one for one in found if one.example.task == "chat"]


def test_each_grounded_picture_is_talked_about_once() -> None:
    """localise: 1 adds a dialogue for each picture; every other sample stays as it was."""
    found = with_dialogues(all_of(5), ChatSettings(localise=1), 0)
    assert [one for one in found if one.example.task != "chat"] == all_of(5)
    assert Counter(one.example.images[0].sha256 for one in chats(found)) == {f"{n:064x}": 1 for n in range(5)}
    for one in chats(found):
        assert [turn.role for turn in one.example.turns] == ["user", "assistant"] * 4
        assert one.example.key.endswith("-chat-0")
        assert one.places == (Place(str(int(one.example.key[:32], 16)), int(one.example.key[:32], 16)),)


def test_a_thing_is_asked_about_once() -> None:
    """Two annotations of one picture that name the same thing, or the same box, give one question on it."""
    one, two = made(1), made(2)
    shared = [view._replace(example=replace(view.example, images=one[0].example.images)) for view in two]
    (dialogue,) = chats(with_dialogues([*one, *shared], ChatSettings(localise=1, rounds=9), 0))
    asked = [turn for turn in dialogue.example.turns if turn.role == "user"]
    assert len(asked) == 4
    assert len(set(asked)) == 4


def test_shares_are_drawn_by_key_alone() -> None:
    """A larger share holds the smaller one's pictures, and the order of samples changes nothing."""
    some, more = (
        {one.example.key for one in chats(with_dialogues(all_of(60), ChatSettings(localise=share), 3))}
        for share in (0.3, 0.6)
    )
    assert 5 < len(some) < len(more) < 55
    assert some <= more


@given(st.permutations(range(12)), st.integers(1, 4))
def test_order_changes_nothing(order: list[int], join: int) -> None:
    """Pictures in any order give the same dialogues."""
    settings = ChatSettings(localise=0.8, join=join)
    straight = with_dialogues(all_of(12), settings, 1)
    mixed = with_dialogues([one for number in order for one in made(number)], settings, 1)
    by_key = {one.example.key: one for one in straight}
    assert by_key == {one.example.key: one for one in mixed}
    assert len(by_key) == len(straight)


def test_joined_dialogues_hold_every_picture_and_word() -> None:
    """Seven dialogues joined by three become two of three and one left alone; answers and boxes stay."""
    alone = chats(with_dialogues(all_of(7), ChatSettings(localise=1), 0))
    joined = chats(with_dialogues(all_of(7), ChatSettings(localise=1, join=3), 0))
    assert sorted(len(one.example.images) for one in joined) == [1, 3, 3]
    shown = [image.sha256 for one in joined for image in one.example.images]
    assert sorted(shown) == sorted(one.example.images[0].sha256 for one in alone)
    answers = Counter(turn for one in alone for turn in one.example.turns if turn.role == "assistant")
    assert (
        Counter(turn for one in joined for turn in one.example.turns if turn.role == "assistant") == answers
    )
    for one in joined:
        refs = [seg.image for turn in one.example.turns for seg in turn.segments if isinstance(seg, ImageRef)]
        assert refs == list(range(len(one.example.images)))
        assert [int(place.member) for place in one.places] == [
            int(image.sha256, 16) for image in one.example.images
        ]
    assert all(one.facts == {"phash": None} for one in joined if len(one.example.images) > 1)


def test_splits_and_languages_are_never_joined() -> None:
    """A dialogue of val, or of Chinese, is joined with its like only."""
    given_ = [*made(1), *made(2, split="val"), *made(3, language="zh"), *made(4), *made(5, split="val")]
    joined = chats(with_dialogues(given_, ChatSettings(localise=1, join=2), 0))
    assert sorted((one.example.split, one.example.language, len(one.example.images)) for one in joined) == [
        ("train", "en", 2),
        ("train", "zh", 1),
        ("val", "en", 2),
    ]


def test_dialogues_of_pairs_go_through_to_shards(tmp_path: Path) -> None:
    """Grounded pairs become dialogues of two pictures in tars, whose markup reads back, with all bytes in place."""
    pairs(tmp_path / "in" / "a.tar", range(20))
    told = recipe(tmp_path / "in") | {"chat": {"localise": 1, "join": 2}}
    results, _ = build(told, tmp_path / "out")
    found = samples(tmp_path / "out", "chat")
    assert [len(one.images) for one in found] == [2] * 6
    assert verify(str(tmp_path / "out")) == []
    for one in found:
        written = render(one)
        assert "Picture 2: <img>" in written.text
        sizes = [(image.width, image.height) for image in one.images]
        assert len(parse(written.text, sizes, loss=written.loss, task="chat").turns) == len(one.turns)
    counted = [views for receipt in results["shard"].values() for views in receipt["views"]]
    assert sum(count for task, _, count in counted if task == "chat") == 6
    assert sum(receipt["rows"] for receipt in results["select"].values()) == 20


def test_dialogues_of_pairs_go_through_to_parquet(tmp_path: Path) -> None:
    """The same with several pictures a row of Parquet shards; and tasks without chat leave dialogues out."""
    pairs(tmp_path / "in" / "a.tar", range(10))
    told = recipe(tmp_path / "in") | {"chat": {"localise": 1, "join": 3}, "shards": {"format": "parquet"}}
    build(told, tmp_path / "out")
    assert [len(one.images) for one in samples(tmp_path / "out", "chat")] == [3, 3]
    assert verify(str(tmp_path / "out")) == []
    build(told | {"tasks": ["caption"]}, tmp_path / "out")
    assert samples(tmp_path / "out", "chat") == []
