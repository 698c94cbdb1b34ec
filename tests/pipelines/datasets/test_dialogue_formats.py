"""Dialogues as people publish them: each format reads its own markup, and names the format that reads another's."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.dataset import Built, build
from pipelines.datasets.drafts import Draft, Shown, finish
from pipelines.datasets.table import DATASETS
from schemas.sample import Box, Image, ImageRef, Phrase, Text
from tests.pipelines.datasets.common import as_sample, one, reason, said, segments


def outcomes(form: str, data: bytes) -> list[Built]:
    """What a format makes of a file."""
    dataset = DATASETS[form]
    assert dataset.records is not None
    return list(build(dataset.records({"records": io.BytesIO(data)}), dataset))


def made(form: str, *values: dict[str, Any]) -> list[Built]:
    """What a format makes of records in a JSON list."""
    return outcomes(form, json.dumps(values).encode())


def spoken(asked: str, answered: str, **more: Any) -> dict[str, Any]:
    """A record of one question and its answer, in LLaVA's shape."""
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    return {"conversations": turns} | more


def boxes(draft: Draft, width: int = 640, height: int = 480) -> list[tuple[str, tuple[Box, ...]]]:
    """Phrases and their boxes, in pixels of an image of that size."""
    images = [Shown(Image("JPEG", width, height, "0" * 64))] * len(draft.images)
    whole = finish(draft, "k", images, split="train", source="s", licence="l")
    return [(one.phrase, one.boxes) for one in whole.phrases]


RED = "Where is red?"
TAGGED = "<|object_ref_start|>red<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>"
LISTED = '```json\n[{"bbox_2d": [100, 200, 300, 400], "label": "red"}]\n```'
QWEN = "<ref>red</ref><box>(100,200),(300,400)</box>"
SHARES = "[0.1, 0.2, 0.3, 0.4]"
PIECES = {"qwen2_vl": TAGGED, "qwen3_vl": LISTED, "llava": SHARES, "qwen": QWEN}
SCALED = ((64.32, 96.24, 192.32, 192.24),)


@pytest.mark.parametrize(
    ("form", "answer", "expected"),
    [
        ("qwen2_vl", TAGGED, ("red", SCALED)),
        ("qwen3_vl", LISTED, ("red", SCALED)),
        ("qwen3_vl", '{"bbox_2d": [100, 200, 300, 400]}', ("", SCALED)),
        ("qwen2_5_vl", LISTED, ("red", ((100, 200, 300, 400),))),
        ("llava", SHARES, ("", ((64, 96, 192, 192),))),
    ],
)
def test_a_format_reads_its_own_boxes(form: str, answer: str, expected: tuple[str, Any]) -> None:
    """Boxes from 0 to 1000 and shares move to the stored image; pixels stay."""
    (draft,) = one(made(form, spoken(f"<image>\n{RED}", answer, image="a.jpg"))).drafts
    assert boxes(draft) == [expected]
    assert draft.turns[0].segments == (ImageRef(0), Text(RED))


def test_the_finetune_json_names_its_images_in_the_text() -> None:
    """Qwen-VL's tags become images and boxes, and no `Picture N:` stays in the words."""
    turns = [
        {"from": "user", "value": "Picture 1: <img>a.jpg</img>\nPicture 2: <img>b.jpg</img>\n" + RED},
        {"from": "assistant", "value": QWEN},
        {"from": "user", "value": "Sure?"},
        {"from": "assistant", "value": ""},
    ]
    built = one(made("qwen", {"id": "q", "conversations": turns}))
    (draft,) = built.drafts
    assert [image.name for image in draft.images] == ["a.jpg", "b.jpg"]
    assert said(draft) == [("user", f"<image><image>{RED}"), ("assistant", "red")]
    assert boxes(draft) == [("red", SCALED)]
    assert (draft.about.id, [lost.reason for lost in built.lost]) == ("q", ["empty_answer"])


@pytest.mark.parametrize("form", ["conversations", *PIECES])
@pytest.mark.parametrize("foreign", [*PIECES, "qwen2_5_vl"])
def test_markup_of_another_format_is_refused_with_its_name(form: str, foreign: str) -> None:
    """No format teaches another's markup as words: the sentence says which `format` reads it."""
    if form == foreign or {form, foreign} == {"qwen3_vl", "qwen2_5_vl"}:
        return
    text = PIECES.get(foreign, LISTED)
    shown = "<img>a.jpg</img>" if form == "qwen" else "<image>"
    more = {} if form == "qwen" else {"image": "a.jpg"}
    value = spoken(f"{shown}\n{RED}", text, **more)
    if form == "qwen":
        for turn, role in zip(value["conversations"], ("user", "assistant"), strict=True):
            turn["from"] = role
    (built,) = made(form, value)
    assert built.refusal is not None
    assert built.refusal.reason == "foreign_markup"
    assert f"format: {'qwen3_vl or ' if foreign == 'qwen2_5_vl' else ''}{foreign}" in built.refusal.text


def test_words_without_an_image_may_look_like_shares() -> None:
    """Four numbers in a dialogue without an image are words."""
    (draft,) = one(made("conversations", spoken("A row?", SHARES))).drafts
    assert segments(draft)[-1] == Text(SHARES, True)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (None, [[64, 96, 192, 192], [10, 20, 30, 40]], ((64, 96, 192, 192), (10, 20, 30, 40))),
        ("norm1", [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], ((64, 96, 192, 192), (0, 0, 640, 480))),
    ],
)
def test_objects_stand_where_their_marks_stand(
    kind: str | None, given: Any, expected: tuple[Box, ...]
) -> None:
    """ms-swift's phrases and boxes replace their marks, in pixels or as shares."""
    objects = {"ref": ["red"], "bbox": given} | ({"bbox_type": kind} if kind else {})
    value = {
        "messages": [
            {"role": "user", "content": "<image>Find <ref-object>."},
            {"role": "assistant", "content": "<bbox><bbox>"},
        ],
        "images": ["a.jpg"],
        "objects": objects,
    }
    (draft,) = one(made("conversations", value)).drafts
    assert boxes(draft) == [("red", ()), ("", expected)]
    assert segments(draft)[1:4] == (Text("Find "), Phrase("red"), Text("."))


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ({"ref": ["red"], "bbox": [[9, 9, 1, 1]]}, "box_order"),
        ({"ref": ["red"], "bbox": [[1, 1, 1, 9]]}, "box_degenerate"),
        ({"ref": ["red"], "bbox": [[1, 1, "9", 9]]}, "box_numbers"),
        ({"ref": ["red"], "bbox": [[1, 1, float("nan"), 9]]}, "box_numbers"),
        ({"ref": ["red"], "bbox": [[[1, 1, 9, 9]]]}, "box_numbers"),
        ({"ref": ["red"], "bbox": [[5, 5]]}, "box_numbers"),
        ({"ref": ["red"], "bbox": [[0, 0, 2, 1]], "bbox_type": "norm1"}, "box_outside"),
        ({"ref": ["red"], "bbox": [[1, 1, 9, 9]], "image_id": [1]}, "image_count"),
        ({"ref": ["red"], "bbox": [[1, 1, 9, 9]], "bbox_type": "polar"}, "bad_record"),
        ({"ref": ["red"], "bbox": [[1, 1, 9, 9]], "points": [[1, 1]]}, "unread_field"),
        ({"ref": ["red"], "bbox": []}, "bad_markup"),
        ({"ref": ["red", "blue"], "bbox": [[1, 1, 9, 9]]}, "bad_markup"),
        ({"ref": [3], "bbox": [[1, 1, 9, 9]]}, "bad_record"),
        ({"ref": "red", "bbox": [[1, 1, 9, 9]]}, "bad_record"),
        ([{"caption": "red", "bbox": [1, 1, 9, 9]}], "unread_field"),
    ],
)
def test_broken_objects_are_refused_by_name(objects: Any, expected: str) -> None:
    """Each kind of broken box or mark has a reason of its own."""
    value = spoken("<image>Find <ref-object>.", "<bbox>", image="a.jpg", objects=objects)
    assert reason(made("conversations", value)) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"query": "<image>What?", "response": "Red.", "images": ["a.jpg"]},
        {"instruction": "<image>What?", "input": "", "output": "Red.", "image": "a.jpg", "images": []},
        {
            "instruction": "<image>",
            "input": "What?",
            "output": "Red.",
            "images": [{"path": "a.jpg", "bytes": None}],
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": "file://a.jpg"},
                        {"type": "text", "text": "What?"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "Red."}]},
            ]
        },
    ],
)
def test_every_published_shape_is_the_same_dialogue(value: dict[str, Any]) -> None:
    """Questions with answers, instructions with inputs, and typed parts say the same."""
    (draft,) = one(made("conversations", value)).drafts
    assert [image.name for image in draft.images] == ["a.jpg"]
    assert [(who, text.strip("\n")) for who, text in said(draft)] == [
        ("user", "<image>What?"),
        ("assistant", "Red."),
    ]


def test_a_history_and_a_system_are_turns() -> None:
    """What came before the question stands before it, and the system first."""
    value = {"query": "c", "response": "d", "history": [["a", "b"]], "system": "Be brief."}
    (draft,) = one(made("conversations", value)).drafts
    assert [text for _, text in said(draft)] == ["Be brief.", "a", "b", "c", "d"]


@pytest.mark.parametrize("form", ["conversations", "qwen3_vl", "llava"])
def test_lists_and_lines_are_read_alike(form: str) -> None:
    """A format of dialogues reads a JSON list and JSON lines, and names records by their position."""
    values = [spoken("Hi", f"Ho {n}", id="same") for n in range(3)]
    listed = made(form, *values)
    lines = outcomes(form, b"".join(json.dumps(one).encode() + b"\n" for one in values))
    assert [one.drafts for one in listed] == [one.drafts for one in lines]
    assert [one.member for one in listed] == ["record-0", "record-1", "record-2"]
    assert {draft.about.id for one in listed for draft in one.drafts} == {"same"}


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ([("human", "More?"), ("gpt", " ")], "empty_answer"),
        ([("human", " "), ("gpt", "Yes.")], "empty_question"),
        ([("human", "More?"), ("gpt", "See <image>")], "answer_image"),
        ([("human", "<image>And here?")], "unanswered"),
    ],
)
def test_a_dialogue_is_kept_up_to_where_it_breaks(last: list[tuple[str, str]], why: str) -> None:
    """Rounds before an empty turn, an image in an answer or an open question stay, and the loss is named."""
    value = spoken("<image>\nWhat?", "Red.", image=["a.jpg", "b.jpg"][: 1 + ("<image>" in last[0][1])])
    value["conversations"] += [{"from": who, "value": text} for who, text in last]
    built = one(made("conversations", value))
    assert said(built.drafts[0]) == [("user", "<image>What?"), ("assistant", "Red.")]
    assert [image.name for image in built.drafts[0].images] == ["a.jpg"]
    assert [lost.reason for lost in built.lost] == [why]


def test_ten_thousand_turns_are_one_dialogue() -> None:
    """A dialogue of 10,000 turns over two images, one named twice, is read."""
    turns = [{"from": "human", "value": "<image>\n<image>\n<image>Go"}, {"from": "gpt", "value": "On."}] + [
        turn for n in range(4999) for turn in spoken(f"{n}?", f"{n}!")["conversations"]
    ]
    value = {"image": ["a.jpg", "b.jpg", "a.jpg"], "conversations": turns}
    (draft,) = one(made("llava", value)).drafts
    assert (len(draft.turns), [image.name for image in draft.images]) == (10_000, ["a.jpg", "b.jpg"])
    assert [one.image for one in draft.turns[0].segments if isinstance(one, ImageRef)] == [0, 1, 0]
    assert as_sample(draft).task == "chat"


@pytest.mark.parametrize(
    ("case", "form", "refused"),
    [
        ("qwen_json/qwen.json", "qwen", {}),
        ("qwen_json/qwen.json", "conversations", dict.fromkeys((1, 2), "foreign_markup")),
        ("messages/train.jsonl", "conversations_lines", dict.fromkeys((7, 8, 9, 10), "foreign_markup")),
        ("jsonl_as_json/train.jsonl", "conversations", dict.fromkeys((7, 8, 9, 10), "foreign_markup")),
        (
            "llava_mix/llava.json",
            "llava",
            {
                6: "answer_image",
                8: "image_count",
                12: "out_of_turn",
                13: "empty_answer",
                25: "other_media",
                27: "out_of_turn",
                28: "bad_record",
                29: "bad_record",
            },
        ),
    ],
)
def test_real_cases(test_data: Path, case: str, form: str, refused: dict[int, str]) -> None:
    """Files as users reported them: every record is read, or refused for what is wrong with it."""
    path = test_data / "cases" / case
    if not path.exists():
        pytest.skip("the folder of real data holds no cases")
    found = outcomes(form, path.read_bytes())
    assert {n: one.refusal.reason for n, one in enumerate(found) if one.refusal} == refused


@pytest.mark.parametrize(
    "text",
    ["<box>[[100, 200, 300, 400]]</box>", "[[010,020,300,400]]", "<loc_10><loc_20>", '<point x="1.5" y="2">'],
)
def test_markup_that_no_format_reads_is_refused(text: str) -> None:
    """It is never taught as words."""
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": text}]
    (one,) = made("conversations", {"image": "a.jpg", "conversations": turns})
    assert one.refusal is not None
    assert (one.refusal.reason, "no format reads it" in one.refusal.text) == ("foreign_markup", True)


def test_an_answer_that_people_rejected_is_not_taught() -> None:
    """ms-swift's label says so."""
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody."}]
    bad, good = made("conversations", {"messages": turns, "label": False}, {"messages": turns, "label": True})
    assert bad.refusal is not None
    assert (bad.refusal.reason, good.refusal) == ("unread_field", None)


def test_shares_that_call_themselves_pixels_are_refused() -> None:
    """ms-swift's boxes are pixels unless bbox_type says otherwise."""
    turns = [{"role": "user", "content": "<image>Where?"}, {"role": "assistant", "content": "<bbox>"}]
    given = {"bbox": [[0.1, 0.2, 0.9, 0.9]]}
    (one,) = made("conversations", {"messages": turns, "images": ["a.jpg"], "objects": given})
    assert one.refusal is not None
    assert one.refusal.reason == "box_normalised"


def test_the_rest_of_a_dialogue_that_is_cut_is_an_annotation_that_is_lost() -> None:
    """The ledger has the dialogue, which is used, and the part that went."""
    said = ["Who?", "Ann.", "Where?", "", "Why?", "Rain."]
    turns = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(said)]
    (one,) = made("conversations", {"conversations": turns})
    assert [annotation.refusal and annotation.refusal.reason for annotation in one.annotations] == [
        None,
        "empty_answer",
    ]


@pytest.mark.parametrize("form", ["conversations", "llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_an_image_at_the_end_leaves_no_line_feed(form: str) -> None:
    """A question whose image stands on a last line of its own is the same in every format."""
    (draft,) = one(made(form, spoken(f"{RED}\n<image>", "There.", image="a.jpg"))).drafts
    assert draft.turns[0].segments == (Text(RED), ImageRef(0))


@pytest.mark.parametrize("form", ["qwen2_5_vl", "qwen3_vl"])
def test_the_numbers_of_a_bbox_2d_are_no_markup_of_another(form: str) -> None:
    """Shares in a bbox_2d are refused as shares; the format of shares in brackets would not read them either."""
    record = spoken("<image>\nWhere?", '{"bbox_2d": [0.1, 0.2, 0.3, 0.4]}', image="a.jpg")
    assert reason(made(form, record)) == "box_normalised"
