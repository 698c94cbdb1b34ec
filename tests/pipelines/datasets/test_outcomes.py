import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.dataset import Dataset, Made, Record, build, unique
from pipelines.datasets.drafts import Draft, NamedImage, Shown, caption_draft, finish
from pipelines.datasets.reasons import REASONS, Refusal, Refused
from pipelines.datasets.records import jsonl, jsonl_from, load
from pipelines.datasets.table import DATASETS
from schemas.errors import InputError, ShardError
from schemas.sample import Image, ImageRef, Phrase, Turn


def test_lines_are_records_whatever_they_hold() -> None:
    """Each line is one record; what is no JSON object has a reason of its own."""
    lines = [
        b'{"a": 1}\n',
        b"\n",
        b'{"a": 1} x\n',
        b'{"a": \n',
        b"[1]\n",
        b"\xff\n",
        b"[" * 100_000,
        b"1" * 5000,
    ]
    found = [(one.member, one.refusal and one.refusal.reason) for one in jsonl(lines)]
    assert found == [
        ("0", None),
        ("2", "trailing_garbage"),
        ("3", "bad_json"),
        ("4", "bad_record"),
        ("5", "bad_json"),
        ("6", "bad_json"),
        ("7", "bad_json"),
    ]


def test_a_line_of_several_objects_is_several_records() -> None:
    """Objects one behind the other on a line are read; a line with anything else beside them is one bad record."""
    lines = [
        b'{"a": 1} {"a": 2}{"a": 3}\r\n',
        b'{"a": 4}\n',
        b'{"a": 5}{"a": \n',
        b'{"a": 6} [7]\n',
        b'{"a": 8},{}\n',
    ]
    assert [(one.member, one.value.get("a")) for one in jsonl(lines) if one.refusal is None] == [
        ("0", 1),
        ("0.2", 2),
        ("0.3", 3),
        ("1", 4),
    ]
    assert [(one.member, one.refusal.reason) for one in jsonl(lines) if one.refusal] == [
        (name, "trailing_garbage") for name in "234"
    ]
    assert [one.member for one in jsonl_from(lines[:2], 7)] == ["7", "7.2", "7.3", "8"]


def test_of_two_records_of_one_name_the_one_that_is_read_is_kept() -> None:
    """A bad record costs no good one, before it or after; of two good ones the second is refused."""
    bad, worse = Refusal("bad_json", "cut"), Refusal("too_large", "large")
    given = [("a", bad), ("a", None), ("a", None), ("a", worse), ("b", None), ("b", bad), ("a~2", None)]
    found = [
        (one.member, one.refusal and one.refusal.reason)
        for one in unique(Record(name, {}, refusal) for name, refusal in given)
    ]
    assert found == [
        ("a", "bad_json"),
        ("a~2", None),
        ("a~3", "repeated_id"),
        ("a~4", "too_large"),
        ("b", None),
        ("b~2", "bad_json"),
        ("a~2~2", None),
    ]


@pytest.mark.parametrize(
    "document",
    [
        '[{"a": 1}, {"a": 2}]',
        '[{"a": 1},\n{"a": 2}]\n',
        '\n[\n {\n  "a": 1\n }\n]\n',
        '\ufeff[{\n "a": 1}]',
        '{\n "a": 1\n}\n',
    ],
)
def test_a_document_is_not_read_as_lines(document: str) -> None:
    """A JSON list or object over lines stops with one sentence, not a reason a line."""
    with pytest.raises(
        ShardError, match=r"(one JSON list|JSON over many lines), not a record a line; make lines"
    ):
        list(jsonl(io.BytesIO(document.encode())))


def test_a_list_among_lines_is_one_bad_record() -> None:
    """A first line that is a whole list costs one record where other lines follow."""
    found = [one.refusal and one.refusal.reason for one in jsonl([b'[{"a": 1}]\n', b'{"a": 1}\n'])]
    assert found == ["bad_record", None]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n\n{"b": 1}\n', "train.json is JSON lines .*; make a list of them"),
        (b'{"a": 1}\n}', "train.json goes on after its JSON ends, at character 9; cut it there"),
        (b'{"a": 1} trailing', "train.json goes on after its JSON ends, at character 9"),
        (b'{"a": ', "train.json is not JSON"),
        (b"\xff", "train.json is no text in utf-8: invalid start byte at byte 0; write it again in UTF-8"),
        (b" ", "train.json is empty; fetch it again"),
        (b"PAR1", "train.json is Parquet, not JSON"),
        (b"[" * 100_000, "train.json is not JSON"),
    ],
)
def test_a_file_read_whole_must_be_json(data: bytes, message: str) -> None:
    """Garbage after the end, or no JSON at all, stops the source with a sentence."""
    with pytest.raises(ShardError, match=message):
        load(data, "train.json")


def make(value: Any) -> Made:
    kind = value["kind"]
    if kind == "refused":
        raise Refused("empty_answer")
    if kind == "nothing":
        return [], []
    if kind == "lost":
        return [], [Refusal("box_outside", "x"), Refusal("crowd", "y")]
    return [caption_draft(NamedImage("a"), value["caption"])], []


def dataset(make: Callable[[Mapping[str, Any]], Made]) -> Dataset:
    """A dataset of records without annotations of their own."""
    return Dataset("records", "a record", ("caption",), make, lambda _: iter(()))


members = st.sampled_from(["a", "b", "a~2", "\ud800", "\\ud800"])
values: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(["refused", "nothing", "lost"]).map(lambda kind: {"kind": kind}),
    st.just({"kind": "kept", "caption": "x"}),
    st.just({"kind": "kept"}),
    st.just({"kind": "kept", "caption": []}),
    st.just({}),
)


@settings(deadline=None)
@given(st.lists(st.tuples(members, values)))
def test_every_record_has_one_outcome_with_a_name_of_its_own(given_: list[tuple[str, Any]]) -> None:
    """No record is lost, none is counted twice, and each is drafts or a reason of the table."""
    built = list(build([Record(member, value) for member, value in given_], dataset(make)))
    assert len(built) == len(given_)
    assert len({one.member for one in built}) == len(built)
    assert all(one.member.encode() for one in built)
    for one in built:
        assert (one.refusal is None) == bool(one.drafts)
        assert one.refusal is None or one.refusal.reason in REASONS


def test_the_first_part_lost_is_the_reason_of_the_whole() -> None:
    """A record that lost all its parts says why the first went, and keeps the list."""
    (one,) = build([Record("a", {"kind": "lost"})], dataset(make))
    assert one.refusal == Refusal("box_outside", "x")
    assert len(one.lost) == 2


def test_a_refusal_s_sentence_fits_a_ledger() -> None:
    """Half characters and endless texts of a record never reach the ledger as they are."""

    def refuse(_: Any) -> Made:
        raise Refused("bad_record", "\ud83d" + "x" * 10_000)

    (one,) = build([Record("a", {})], dataset(refuse))
    assert one.refusal is not None
    assert one.refusal.text.startswith("\\ud83dxxx")
    assert len(one.refusal.text) < 600


def test_reasons_are_a_table() -> None:
    """A reason outside the table cannot be used;"""
    with pytest.raises(InputError, match="which is no reason"):
        Refused("because")


def stored(width: int, height: int) -> Image:
    return Image("JPEG", width, height, "0" * 64)


def draft(relative: bool = False, width: int = 640, height: int = 480) -> Draft:
    phrase = Phrase("dog", ((10, 20, 30, 40),), (((0, 0), (4, 0), (4, 4), (0, 4)),), True)
    turns = (Turn("document", (ImageRef(0), phrase)),)
    return Draft("referring", "en", (NamedImage("a.jpg", width, height),), turns, relative)


def finished(one: Draft, *images: Image) -> Any:
    return (
        finish(one, "k", [Shown(image) for image in images], split="train", source="s", licence="l")
        .turns[0]
        .segments[1]
    )


def test_regions_hold_for_the_picture_as_stored() -> None:
    """Regions given as shares move to the stored size; those given in pixels need the very size."""
    assert finished(draft(), stored(640, 480)).boxes == ((10, 20, 30, 40),)
    small = finished(draft(relative=True), stored(320, 240))
    assert (small.boxes, small.quads) == (((5, 10, 15, 20),), (((0, 0), (2, 0), (2, 2), (0, 2)),))
    assert finished(draft(width=0, height=0), stored(90, 90)).boxes == ((10, 20, 30, 40),)
    unsized = draft(relative=True, width=0, height=0)
    assert finished(unsized, stored(2000, 500)).boxes == ((20, 10, 60, 20),)


@pytest.mark.parametrize(
    ("one", "images", "reason"),
    [
        (draft(), [stored(320, 240)], "image_size"),
        (draft(), [stored(480, 640)], "image_size"),
        (draft(relative=True), [stored(320, 320)], "image_size"),
        (draft(), [], "missing_image"),
        (draft(width=0, height=0), [stored(9, 9)], "box_outside"),
    ],
)
def test_another_picture_is_refused(one: Draft, images: list[Image], reason: str) -> None:
    """A size or proportion that does not match says both sizes."""
    with pytest.raises(Refused) as caught:
        finished(one, *images)
    assert caught.value.refusal.reason == reason


@pytest.mark.parametrize("name", [name for name, one in DATASETS.items() if one.records is not None])
def test_every_dataset_refuses_another_file_with_a_sentence(name: str) -> None:
    """Files of the wrong kind are errors or refusals, never a crash."""
    dataset = DATASETS[name]
    assert dataset.records is not None
    for junk in (
        b"[]",
        b"{}",
        b"3",
        b'{"a": [1, {"b": null}]}',
        b'[1, {"id": []}]',
        json.dumps([None]).encode(),
        b"x",
    ):
        files = {part: io.BytesIO(junk) for part in dataset.parts}
        try:
            built = list(build(dataset.records(files), dataset))
        except ShardError as error:
            assert str(error)  # noqa: PT017
        else:
            assert not any(one.drafts for one in built)
