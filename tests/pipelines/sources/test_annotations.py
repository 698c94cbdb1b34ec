"""Annotation sources through whole builds: every record is in the ledger, and boxes stay on what they name."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pipelines.audit.verify import verify
from schemas.errors import InputError
from schemas.sample import Example, Phrase
from tests.pipelines.building import build, rows
from tests.pipelines.crawls import build_inline, run_inline, vlcorpus
from tests.pipelines.phases.test_ground import samples
from tests.pipelines.raw import picture

SIZE = (256, 224)


def folder(path: Path, count: int) -> Path:
    """A folder of numbered pictures, 256 x 224."""
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (path / f"{number}.jpg").write_bytes(picture(number))
    return path


def line(number: int, **more: Any) -> dict[str, Any]:
    """One sound grounding tuple."""
    phrases = [
        {"text": "a dog", "start": 0, "end": 5, "boxes": [[10, 20, 110, 120]]},
        {"text": "two cats", "start": 9, "end": 17, "boxes": [[120, 20, 180, 80], [190, 100, 250, 200]]},
    ]
    told = {"image": f"{number}.jpg", "width": 256, "height": 224, "caption": f"a dog by two cats, {number}"}
    return {**told, "phrases": phrases, **more}


def lines(path: Path, records: list[Any]) -> Path:
    """A JSON lines file; texts are written as they are."""
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in records) + "\n")
    return path


def recipe(path: Path, images: Path, form: str = "grounding", **more: Any) -> dict[str, Any]:
    """A recipe of one annotation source."""
    source = {"id": "boxes", "kind": "annotations", "format": form, "path": str(path), "images": str(images)}
    return {"sources": [source | more.pop("source", {})], "max_quarantine": 1, **more}


def reasons(out: Path) -> dict[str, str]:
    """member -> the reason why it is not kept, or `kept`."""
    return {row["member"]: row["reason"] or row["decision"] for row in rows(out, "decisions")}


def phrases(sample: Example) -> list[Phrase]:
    """The phrases of a document."""
    return [one for one in sample.turns[0].segments if isinstance(one, Phrase)]


def test_tuples_become_the_three_tasks(tmp_path: Path) -> None:
    """Every kept record gives a grounded caption, and both views of each phrase, with the boxes as given."""
    images = folder(tmp_path / "images", 6)
    build(recipe(lines(tmp_path / "a.jsonl", [line(n) for n in range(6)]), images), tmp_path / "out")
    assert {
        task: len(samples(tmp_path / "out", task)) for task in ("grounding", "referring", "grounded_caption")
    } == {
        "grounding": 6,
        "referring": 12,
        "grounded_caption": 12,
    }
    for one in samples(tmp_path / "out", "grounding"):
        assert one.text == f"a dog by two cats, {one.text[-1]}"
        assert [phrase.boxes for phrase in phrases(one)] == [
            ((10, 20, 110, 120),),
            ((120, 20, 180, 80), (190, 100, 250, 200)),
        ]
    assert verify(str(tmp_path / "out")) == []


BAD: dict[str, Any] = {
    "sound": line(0),
    "missing_image": line(99),
    "image_size": line(1, width=512, height=448),
    "truncated": line(2),
    "trailing_garbage": json.dumps(line(3)) + " and more",
    "bad_json": '{"image": ',
    "span_mismatch": line(3, caption="the dog by two cats, 3"),
    "span_outside": line(3, phrases=[{"text": "a dog", "start": 0, "end": 500, "boxes": [[1, 2, 30, 40]]}]),
    "box_order": line(3, phrases=[{"text": "a dog", "start": 0, "end": 5, "boxes": [[200, 200, 100, 100]]}]),
    "box_xywh": line(3, phrases=[{"text": "a dog", "start": 0, "end": 5, "boxes": [[100, 90, 60, 50]]}]),
    "box_normalised": line(
        3, phrases=[{"text": "a dog", "start": 0, "end": 5, "boxes": [[0.1, 0.2, 0.5, 0.6]]}]
    ),
    "box_outside": line(3, phrases=[{"text": "a dog", "start": 0, "end": 5, "boxes": [[300, 10, 400, 90]]}]),
    "empty_caption": line(3, caption=" "),
    "no_image": line(3, image=""),
    "bad_record": line(3, phrases=3),
}
"""Reason -> a record that has it."""


def test_every_bad_record_is_in_the_ledger_with_its_reason(tmp_path: Path) -> None:
    """Reasons of their own in decisions, funnel and detail; one sentence each; no record lost."""
    images = folder(tmp_path / "images", 4)
    (images / "2.jpg").write_bytes(picture(2)[:2000])
    results, _ = build(recipe(lines(tmp_path / "a.jsonl", list(BAD.values())), images), tmp_path / "out")
    found = reasons(tmp_path / "out")
    assert [found[str(n)] for n in range(len(BAD))] == ["kept", *list(BAD)[1:]]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    funnel = manifest["funnel"]["boxes"]
    assert (funnel["rows"], funnel["kept"], funnel["quarantined"]) == (len(BAD), 1, 1)
    assert funnel["dropped"] == len(BAD) - 2
    assert {rule["rule"] for rule in funnel["rules"]} == set(BAD) - {"sound", "truncated"}
    for row in rows(tmp_path / "out", "decisions"):
        if row["decision"] != "kept":
            assert row["detail"]
            assert "\n" not in row["detail"]
    assert sum(receipt["rows"] for receipt in results["measure"].values()) == len(BAD)
    assert verify(str(tmp_path / "out")) == []


def test_a_large_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts take every n-th record: together they hold each once, and samples are those of one part."""
    images = folder(tmp_path / "images", 7)
    path = lines(tmp_path / "a.jsonl", [line(n) for n in range(7)])
    build(recipe(path, images), tmp_path / "whole")
    monkeypatch.setattr("pipelines.sources.annotations.BYTES_A_PART", 600)
    results, _ = build(recipe(path, images), tmp_path / "parts")
    assert len(results["measure"]) > 2
    assert sorted(reasons(tmp_path / "parts")) == [str(n) for n in range(7)]
    wanted = {one.key: one for one in samples(tmp_path / "whole")}
    assert {one.key: one for one in samples(tmp_path / "parts")} == wanted


def test_workers_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's process and two workers write equal manifests over several parts."""
    monkeypatch.setattr("pipelines.sources.annotations.BYTES_A_PART", 600)
    images = folder(tmp_path / "images", 7)
    told = recipe(lines(tmp_path / "a.jsonl", [line(n) for n in range(7)]), images)
    told["chat"] = {"localise": 1, "join": 2}
    build(told, tmp_path / "one")
    build(told, tmp_path / "two", workers=2)
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (
        tmp_path / "two" / "manifest.json"
    ).read_bytes()


def test_resized_pictures_move_their_boxes(tmp_path: Path) -> None:
    """resize: {max_side: 128} halves pictures and boxes alike."""
    images = folder(tmp_path / "images", 2)
    path = lines(tmp_path / "a.jsonl", [line(n) for n in range(2)])
    build(recipe(path, images, resize={"max_side": 128}), tmp_path / "out")
    for one in samples(tmp_path / "out", "grounding"):
        assert (one.images[0].width, one.images[0].height) == (128, 112)
        assert phrases(one)[0].boxes == ((5, 10, 55, 60),)


def test_tasks_choose_what_is_made(tmp_path: Path) -> None:
    """tasks: [referring] leaves the other views out."""
    images = folder(tmp_path / "images", 2)
    path = lines(tmp_path / "a.jsonl", [line(n) for n in range(2)])
    build(recipe(path, images, tasks=["referring"]), tmp_path / "out")
    assert {one.task for one in samples(tmp_path / "out")} == {"referring"}


def test_refcoco_keeps_its_own_splits(tmp_path: Path) -> None:
    """Objects of RefCOCO's val and testA are for evaluation alone."""
    images = folder(tmp_path / "images", 3)
    refs = [
        {
            "ref_id": n,
            "ann_id": n,
            "image_id": n,
            "split": part,
            "sentences": [{"sent": f"the thing number {n}"}],
        }
        for n, part in enumerate(("train", "val", "testA"))
    ]
    (tmp_path / "refs.p").write_bytes(pickle.dumps(refs, protocol=2))
    instances = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 256, "height": 224} for n in range(3)],
        "annotations": [
            {"id": n, "image_id": n, "bbox": [10, 20, 50, 60], "category_id": 1} for n in range(3)
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    told = recipe(tmp_path, images, "refcoco")
    del told["sources"][0]["path"]
    told["sources"][0]["files"] = {
        "refs": str(tmp_path / "refs.p"),
        "instances": str(tmp_path / "instances.json"),
    }
    build(told, tmp_path / "out")
    assert sorted((one.split, one.text) for one in samples(tmp_path / "out", "referring")) == [
        ("eval", "the thing number 1"),
        ("eval", "the thing number 2"),
        ("train", "the thing number 0"),
    ]


def test_a_whole_file_with_garbage_at_its_end_is_a_damaged_shard(tmp_path: Path) -> None:
    """Of a JSON file that goes on after its end nothing can be trusted: the run names it and ends non-zero."""
    images = folder(tmp_path / "images", 1)
    told = {
        "images": [{"id": 0, "file_name": "0.jpg"}],
        "annotations": [{"id": 1, "image_id": 0, "caption": "a dog"}],
    }
    (tmp_path / "captions.json").write_text(json.dumps(told) + "\n}")
    recipe_file = tmp_path / "r.yaml"
    recipe_file.write_text(json.dumps(recipe(tmp_path / "captions.json", images, "coco_captions")))
    done = run_inline("build", recipe_file, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "goes on after its JSON ends" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_part_is_one_sentence(tmp_path: Path) -> None:
    """A data set of two files that is given one names both."""
    told = recipe(tmp_path / "refs.p", tmp_path, "refcoco")
    with pytest.raises(InputError, match="read from 2 files; name each"):
        build(told, tmp_path / "out")
    told["sources"][0]["files"] = {"refs": str(tmp_path / "refs.p")}
    with pytest.raises(InputError, match="read from the files refs, instances, but files: names refs"):
        build(told, tmp_path / "out")


def test_a_missing_folder_of_pictures_is_one_sentence(tmp_path: Path) -> None:
    """Not one refusal a record: the folder itself is named."""
    path = lines(tmp_path / "a.jsonl", [line(0)])
    with pytest.raises(InputError, match="no folder of images at"):
        build(recipe(path, tmp_path / "nowhere"), tmp_path / "out")


def test_dialogues_keep_their_turns_and_are_joined(tmp_path: Path) -> None:
    """Conversations with one picture each become one with two; those out of turn are refused."""
    said = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A thing."},
    ]
    told = [{"id": f"c{n}", "image": f"{n}.jpg", "conversations": said} for n in range(2)]
    told += [
        {"id": "twice", "image": "0.jpg", "conversations": [said[0], said[0]]},
        {"id": "empty", "image": "0.jpg", "conversations": [said[0], {"from": "gpt", "value": " "}]},
        {"id": "up", "image": "../../secret.jpg", "conversations": said},
    ]
    (tmp_path / "chat.json").write_text(json.dumps(told))
    source = recipe(tmp_path / "chat.json", folder(tmp_path / "images", 2), "conversations", chat={"join": 2})
    build(source, tmp_path / "out")
    (sample,) = samples(tmp_path / "out", "chat")
    assert len(sample.images) == 2
    assert [turn.role for turn in sample.turns] == ["user", "assistant"] * 2
    assert reasons(tmp_path / "out") == {
        "record-0": "kept",
        "record-1": "kept",
        "record-2": "out_of_turn",
        "record-3": "empty_answer",
        "record-4": "missing_image",
    }


def test_a_picture_that_kills_is_blamed_alone(tmp_path: Path) -> None:
    """A picture at which the decoder aborts is quarantined as `crash`; its neighbours are kept."""
    images = folder(tmp_path / "images", 4)
    (images / "2.jpg").write_bytes(picture(2) + b"POISON-ABORT")
    recipe_file = tmp_path / "r.yaml"
    recipe_file.write_text(
        json.dumps(recipe(lines(tmp_path / "a.jsonl", [line(n) for n in range(4)]), images))
    )
    done = vlcorpus("measure", recipe_file, "--out", tmp_path / "out", "--workers", "1", poisoned=True)
    assert done.returncode == 0, done.stderr
    build_inline(recipe_file, "--out", tmp_path / "out")
    assert reasons(tmp_path / "out") == {"0": "kept", "1": "kept", "2": "crash", "3": "kept"}
    [one] = json.loads((tmp_path / "out" / "manifest.json").read_text())["verdicts"]
    assert one["message"] == "it crashed, in the decoder"
    [bad] = [row for row in rows(tmp_path / "out", "signals") if row["error"]]
    assert bad["error_message"] == one["message"]


def test_a_folder_that_holds_none_of_the_images_is_named(tmp_path: Path) -> None:
    """Where every record's image is missing the ledger has each, and the run says which folder was looked in."""
    (tmp_path / "pictures").mkdir()
    record = {"image": "a.jpg", "width": 8, "height": 8, "caption": "a cat", "phrases": []}
    record["phrases"] = [{"text": "a cat", "start": 0, "end": 5, "boxes": [[0, 0, 4, 4]]}]
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n")
    source = {"id": "a", "kind": "annotations", "format": "grounding"}
    source |= {"path": str(tmp_path / "records.jsonl"), "images": str(tmp_path / "pictures")}
    (tmp_path / "r.yaml").write_text(json.dumps({"sources": [source]}))
    done = run_inline("build", tmp_path / "r.yaml", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "none of the images that its 1 records name is in" in done.stderr
    assert reasons(tmp_path / "out") == {"0": "missing_image"}


@pytest.mark.parametrize(
    ("form", "records", "better"),
    [
        ("conversations", {"images": [], "annotations": [{"caption": "x"}]}, "coco_captions"),
        ("coco_captions", [{"image": "0.jpg", "conversations": []}], "conversations"),
        ("qwen", {"images": [], "annotations": [{"bbox": [0, 0, 1, 1]}]}, "coco_instances"),
        ("coco_instances", [{"conversations": [{"value": "<img>0.jpg</img>"}]}], "qwen"),
    ],
)
def test_a_format_that_does_not_fit_names_the_one_that_does(
    tmp_path: Path, form: str, records: Any, better: str
) -> None:
    """A file of another format stops the build with the name of that format."""
    path, recipe_file = tmp_path / "made.json", tmp_path / "r.yaml"
    path.write_text(json.dumps(records, indent=1))
    recipe_file.write_text(json.dumps(recipe(path, folder(tmp_path / "images", 1), form)))
    done = run_inline("build", recipe_file, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert f" (it looks like format: {better})" in done.stderr


def test_a_record_that_does_not_fit_names_the_format_that_does(tmp_path: Path) -> None:
    """A line of another format is refused with the name of that format."""
    path = lines(tmp_path / "made.jsonl", [{"image": "0.jpg", "prefix": "caption en", "suffix": "A dog."}])
    build(recipe(path, folder(tmp_path / "images", 1), "conversations"), tmp_path / "out")
    (row,) = rows(tmp_path / "out", "decisions")
    assert row["reason"] == "bad_record"
    assert row["detail"].endswith("fields: image, prefix, suffix (it looks like format: paligemma)")
