from functools import partial
from typing import Any

import pytest

from pipelines.datasets import dataset
from pipelines.datasets.conversations import CONVERSATIONS, LINES
from schemas.sample import ImageRef, Text, Turn
from tests.pipelines.datasets.common import as_sample, one, read, reason, records, said

build = partial(dataset.build, dataset=CONVERSATIONS)


def turn(who: str, text: str) -> dict[str, str]:
    return {"from": who, "value": text}


ASK, REPLY = turn("human", "<image>\nWhat is it?"), turn("gpt", "A dog.")


def chat(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"id": "7", "conversations": list(turns)} | more


def test_a_conversation_becomes_a_chat_sample() -> None:
    """Turns alternate, the answer alone is supervised, and the picture stands where <image> stood."""
    asked = chat(ASK, REPLY, turn("human", "Sure?"), turn("gpt", "Yes."), image="a.jpg")
    built = one(read(CONVERSATIONS, records=[asked]))
    assert (built.member, built.drafts[0].about.id) == ("record-0", "7")
    assert built.drafts[0].images[0].name == "a.jpg"
    assert built.drafts[0].turns[:2] == (
        Turn("user", (ImageRef(0), Text("What is it?"))),
        Turn("assistant", (Text("A dog.", True),)),
    )
    assert as_sample(built.drafts[0]).task == "chat"


def test_openai_style_messages_are_read_too() -> None:
    """Messages with role and content, and a system turn, are the same conversation."""
    value = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "First <image> and\n<image>\nsecond?"},
            {"role": "assistant", "content": "Alike."},
        ],
        "images": ["a.jpg", "b.jpg"],
    }
    built = one(build(records(value)))
    assert said(built.drafts[0]) == [
        ("system", "Be brief."),
        ("user", "First <image> and<image>second?"),
        ("assistant", "Alike."),
    ]
    assert len(as_sample(built.drafts[0]).images) == 2


def test_a_picture_without_a_place_comes_first() -> None:
    """One listed picture that no turn shows stands before the first question."""
    built = one(build(records(chat(turn("human", "What?"), REPLY, image="a.jpg"))))
    assert said(built.drafts[0])[0] == ("user", "<image>What?")


def test_a_leading_answer_is_left_out_and_named() -> None:
    """As in the published scripts, a conversation begins with the user."""
    built = one(build(records(chat(turn("gpt", "Hello!"), ASK, REPLY, image="a.jpg"))))
    assert [lost.reason for lost in built.lost] == ["leading_answer"]
    assert said(built.drafts[0])[0][0] == "user"


def test_a_picture_shown_twice_is_held_once() -> None:
    """Repeated names are one picture, shown twice."""
    ask = turn("human", "<image>\n<image>\nSame?")
    built = one(build(records(chat(ask, REPLY, image=["a.jpg", "a.jpg"]))))
    assert [picture.name for picture in built.drafts[0].images] == ["a.jpg"]
    assert built.drafts[0].turns[0].segments[:2] == (ImageRef(0), ImageRef(0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (chat(ASK, ASK, REPLY, image="a"), "out_of_turn"),
        (chat(ASK, REPLY, REPLY, image="a"), "out_of_turn"),
        (chat(ASK, turn("moderator", "Stop."), image="a"), "out_of_turn"),
        (chat(ASK, turn("system", "Stop."), image="a"), "out_of_turn"),
        (chat({"value": "x"}), "out_of_turn"),
        (chat(ASK, image="a"), "unanswered"),
        (chat(ASK, turn("gpt", " "), image="a"), "empty_answer"),
        (chat(turn("human", ""), REPLY), "empty_question"),
        (chat(), "no_turns"),
        (chat(turn("gpt", "Hello")), "no_turns"),
        (chat(turn("system", "Hello")), "no_turns"),
        (chat(ASK, REPLY), "image_count"),
        (chat(ASK, REPLY, image=["a", "b"]), "image_count"),
        (chat(ASK, REPLY, image=[None]), "no_image"),
        (chat(turn("human", "\ud800"), REPLY), "bad_record"),
        (chat(ASK, turn("gpt", "See <image>"), image="a"), "answer_image"),
        (chat(ASK, REPLY, image="a", images=["b"]), "bad_record"),
        (chat(ASK, REPLY, image={"bytes": "x"}), "inline_image"),
        (chat(ASK, REPLY, image="data:image/png;base64,x"), "inline_image"),
        (chat(ASK, REPLY, video="a.mp4"), "other_media"),
        (chat(ASK, REPLY, image="a", tools="[]"), "unread_field"),
        (chat(ASK, REPLY | {"tool_calls": [1]}, image="a"), "unread_field"),
        (chat(ASK, REPLY | {"loss": False}, image="a"), "unread_field"),
        (chat(ASK, REPLY, image="a", system=3), "bad_record"),
        (chat(ASK, turn("gpt", "A dog.<|im_end|>"), image="a"), "foreign_markup"),
        (chat(ASK, turn("gpt", "Here: <bbox>"), image="a"), "bad_markup"),
        (chat(ASK, REPLY, messages=[ASK, REPLY], image="a"), "bad_record"),
        ({"instruction": "?", "output": None}, "bad_record"),
        ({"query": "?", "response": "!", "history": [["one"]]}, "bad_record"),
        (chat(turn("human", 3), REPLY), "bad_record"),  # type: ignore[arg-type]
        ({"id": 1}, "bad_record"),
        ({"conversations": "hello"}, "bad_record"),
    ],
)
def test_a_bad_conversation_is_refused_for_what_is_wrong(value: dict[str, Any], expected: str) -> None:
    """Turns out of order, empty turns and pictures that do not match have reasons of their own."""
    assert reason(build(records(value))) == expected


def test_words_that_spell_tags_stay_words() -> None:
    """A user who writes a tag of the markup is quoted, not obeyed."""
    built = one(build(records(chat(turn("human", "What is <|im_end|><ref>?"), REPLY))))
    assert as_sample(built.drafts[0]).turns[0].segments == (Text("What is <|im_end|><ref>?"),)
    assert LINES.make == CONVERSATIONS.make
