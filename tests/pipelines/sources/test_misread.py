"""What a run says of annotation sources that are damaged, of another format, or without their images."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.audit.verify import verify
from tests.pipelines.building import build, rows
from tests.pipelines.crawls import run_inline
from tests.pipelines.phases.test_ground import samples
from tests.pipelines.sources.test_annotations import folder, lines, reasons


def talk(name: str, asked: str = "<image>\nWhere?", answered: str = "There.") -> dict[str, Any]:
    """A record of one question about an image, and its answer."""
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    return {"image": name, "conversations": turns}


def boxed(*box: float) -> dict[str, Any]:
    """A record whose answer is one box."""
    return talk("0.jpg", answered=json.dumps({"bbox_2d": box, "label": "it"}))


def run(tmp_path: Path, sources: list[dict[str, Any]], **more: Any) -> tuple[int, str]:
    """Builds the sources over one folder of images; returns the exit code and what the run says."""
    given = [{"kind": "annotations", "images": str(tmp_path / "images"), **source} for source in sources]
    (tmp_path / "r.yaml").write_text(json.dumps({"sources": given, "max_quarantine": 1, **more}))
    done = run_inline("build", tmp_path / "r.yaml", "--out", tmp_path / "out")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of four images, and a folder `talk` of three files, of which one is damaged."""
    folder(tmp_path / "images", 4)
    (tmp_path / "talk").mkdir()
    for number in range(3):
        (tmp_path / f"talk/{number}.json").write_text(json.dumps([talk(f"{number}.jpg")]))
    (tmp_path / "talk/1.json").write_text('[{"broken')
    return tmp_path


def test_a_damaged_file_ends_a_run_unless_it_is_allowed(inputs: Path) -> None:
    """The other files are read; the run names the file, and ends well where max_bad_shards allows it."""
    source = {"id": "t", "format": "conversations", "path": str(inputs / "talk")}
    code, text = run(inputs, [source])
    assert (code, "1 damaged input file (what could be read" in text) == (1, True)
    assert reasons(inputs / "out") == {
        "0.json:record-0": "kept",
        "1.json": "damaged_file",
        "2.json:record-0": "kept",
    }
    code, text = run(inputs, [source], max_bad_shards=3)
    assert code == 0
    said = f"1 damaged input file, which max_bad_shards 3 allows: t/conversations-0000-of-0001: {inputs}/talk"
    assert f"warning: {said}/1.json is not JSON" in text.replace("\n", "")
    assert verify(str(inputs / "out")) == []


def test_a_damaged_set_costs_no_other_set(inputs: Path) -> None:
    """Of several sets over one folder of images the others are read."""
    sets = [{"format": "conversations", "path": str(inputs / f"talk/{number}.json")} for number in (1, 2)]
    code, _ = run(inputs, [{"id": "t", "annotations": sets}], max_bad_shards=1)
    assert code == 0
    assert reasons(inputs / "out") == {
        "conversations:1.json": "damaged_file",
        "conversations.2:record-0": "kept",
    }


def test_a_source_of_another_format_is_named_at_the_end(inputs: Path) -> None:
    """Where records look like another format the last lines say which, also where one source of several is."""
    lines(inputs / "coco.jsonl", [{"image_id": n, "id": n, "caption": "a dog"} for n in range(3)])
    good = {"id": "t", "format": "conversations", "path": str(inputs / "talk/0.json")}
    wrong = {"id": "c", "format": "conversations", "path": str(inputs / "coco.jsonl")}
    code, text = run(inputs, [good, wrong])
    assert code == 0
    assert "warning: source c: 3 of its 3 rows look like format: coco_captions" in text
    code, text = run(inputs, [wrong])
    assert code == 1
    assert "look like format: coco_captions" in text


def test_boxes_from_0_to_1000_read_as_pixels_are_named(inputs: Path) -> None:
    """Boxes outside their images that would fit from 0 to 1000 name the format, unless another box is larger still."""
    records = [*(boxed(10, 100, 900 + n, 990) for n in range(8)), boxed(1, 2, 30, 40)]
    (inputs / "b.json").write_text(json.dumps(records))
    source = {"id": "b", "format": "qwen2_5_vl", "path": str(inputs / "b.json")}
    _, text = run(inputs, [source])
    assert "warning: source b: 8 of its 9 rows look like format: qwen3_vl" in text
    (inputs / "b.json").write_text(json.dumps([*records, boxed(1, 2, 3000, 40)]))
    _, text = run(inputs, [source])
    assert "look like" not in text


@pytest.mark.parametrize("form", ["qwen2_5_vl", "qwen3_vl", "qwen2_vl"])
def test_shares_are_no_pixels_and_no_thousandths(inputs: Path, form: str) -> None:
    """Boxes from 0 to 1 in a format of larger numbers are refused by name, whatever their extent."""
    tagged = "<|box_start|>(0.1,0.2),(0.9,0.9)<|box_end|>"
    record = talk("0.jpg", answered=tagged) if form == "qwen2_vl" else boxed(0.1, 0.2, 0.9, 0.9)
    (inputs / "b.json").write_text(json.dumps([record, talk("1.jpg")]))
    run(inputs, [{"id": "b", "format": form, "path": str(inputs / "b.json")}])
    assert reasons(inputs / "out") == {"record-0": "box_normalised", "record-1": "kept"}


NAMES = {
    "0.jpg": "kept",
    "sub\\0.jpg": "kept",
    "C:\\data\\sub\\0.jpg": "kept",
    "/elsewhere/sub/0.jpg": "kept",
    "/elsewhere/1.jpg": "kept",
    "/data/2.jpg": "missing_image",
    "deep/2.jpg": "kept",
    "other/3.jpg": "missing_image",
}
"""Names of images, and what becomes of their records with `match: basename`."""


def test_the_longest_unique_end_of_a_name_finds_its_image(tmp_path: Path) -> None:
    """Of files that share a base name the one that shares most folders is taken, if it is one; else all are named."""
    images = folder(tmp_path / "images", 2)
    for place in ("sub/0.jpg", "x/2.jpg", "x/deep/2.jpg", "y/2.jpg"):
        (images / place).parent.mkdir(parents=True, exist_ok=True)
        (images / place).write_bytes((images / "1.jpg").read_bytes())
    (tmp_path / "a.json").write_text(json.dumps([talk(name) for name in NAMES]))
    source = {"id": "t", "format": "conversations", "path": str(tmp_path / "a.json"), "match": "basename"}
    run(tmp_path, [source])
    assert [reasons(tmp_path / "out")[f"record-{n}"] for n in range(len(NAMES))] == list(NAMES.values())
    details = {row["member"]: row["detail"] for row in rows(tmp_path / "out", "decisions")}
    assert details["record-5"] == "3 files below images may be /data/2.jpg: x/2.jpg, x/deep/2.jpg, y/2.jpg"


def test_images_that_are_all_missing_are_in_the_ledger(test_data: Path, tmp_path: Path) -> None:
    """A file of the same base name in no folder that the records name is not taken for theirs."""
    case = test_data / "cases/basename_collision"
    if not case.exists():
        pytest.skip("the folder of real data holds no cases")
    (tmp_path / "images").symlink_to(case / "img")
    code, text = run(tmp_path, [{"id": "llava", "format": "conversations", "path": str(case / "llava.json")}])
    assert (code, "set match: basename" in text) == (1, True)
    assert reasons(tmp_path / "out") == {"record-0": "missing_image", "record-1": "missing_image"}


def test_a_document_that_is_dropped_keeps_count_of_its_good_images(tmp_path: Path) -> None:
    """Beyond max_missing the dead images are missing ones, and the good one is not; a page's address is kept."""
    images = folder(tmp_path / "images", 1)
    about = json.dumps({"url": "http://a.org/page", "warc_filename": "x"})
    texts = [None, "Some words.", None, "More words.", None]
    documents = [
        {"images": ["0.jpg", None, "a.jpg", None, "b.jpg"], "texts": texts, "general_metadata": about},
        {"images": ["0.jpg", None], "texts": [None, "Some words."], "general_metadata": about},
    ]
    source = {"id": "d", "kind": "annotations", "format": "obelics", "images": str(images)}
    path = lines(tmp_path / "a.jsonl", documents)
    build({"sources": [{**source, "path": str(path)}], "max_quarantine": 1}, tmp_path / "out")
    found = [(row["member"], row["id"], row["reason"]) for row in rows(tmp_path / "out", "annotations")]
    assert sorted(found, key=str) == [
        ("0", "0.jpg", "max_missing"),
        ("0", "a.jpg", "missing_image"),
        ("0", "b.jpg", "missing_image"),
        ("1", "0.jpg", None),
    ]
    (sample,) = samples(tmp_path / "out", "interleaved")
    assert json.loads(sample.extra or "{}") == {"url": "http://a.org/page"}


def test_a_pair_of_grit_keeps_the_key_of_its_image(tmp_path: Path) -> None:
    """The key of img2dataset stays beside an id of the record's own."""
    images = folder(tmp_path / "images", 1)
    (images / "00001").mkdir()
    (images / "0.jpg").rename(images / "00001/000010002.jpg")
    entry = [0.0, 5.0, 0.1, 0.1, 0.5, 0.5, 0.9]
    record = {"key": "000010002", "id": 12, "caption": "a dog", "width": 256, "height": 224}
    path = lines(tmp_path / "a.jsonl", [record | {"noun_chunks": [entry], "ref_exps": []}])
    source = {"id": "g", "kind": "annotations", "format": "grit", "path": str(path), "images": str(images)}
    build({"sources": [source]}, tmp_path / "out")
    (sample,) = samples(tmp_path / "out", "grounding")
    assert (sample.id, json.loads(sample.extra or "{}")) == ("12", {"key": "000010002"})


def mmc4(*names: str) -> dict[str, Any]:
    """A document of one sentence with these images."""
    shown = [{"image_name": name, "matched_text_index": 0} for name in names]
    return {"text_list": ["A dog sits on the grass."], "image_info": shown}


def test_documents_that_lack_too_many_images_name_max_missing(inputs: Path) -> None:
    """Where some images of each document are there, the last lines say max_missing, not another folder."""
    lines(inputs / "m.jsonl", [mmc4("0.jpg", "1.jpg", "no.jpg"), mmc4("2.jpg", "3.jpg", "no.jpg")])
    source = {"id": "m", "format": "mmc4", "path": str(inputs / "m.jsonl"), "max_missing": 0.2}
    code, text = run(inputs, [source])
    assert code == 1
    assert "of 2 of its 2 documents more images are missing than max_missing 0.2 allows" in text
    assert "none of the images" not in text


def test_missing_images_are_named_beside_rows_of_other_reasons(inputs: Path) -> None:
    """A damaged file or a bad record is no image that is there; one image that is there ends the hint."""
    (inputs / "talk/0.json").write_text(json.dumps([talk("x.jpg"), {"image": "y.jpg"}]))
    (inputs / "talk/2.json").write_text(json.dumps([talk("z.jpg")]))
    source = {"id": "t", "format": "conversations", "path": str(inputs / "talk")}
    _, text = run(inputs, [source], max_bad_shards=1)
    assert "none of the images that 2 of its 4 records name is in" in text
    (inputs / "talk/2.json").write_text(json.dumps([talk("0.jpg")]))
    _, text = run(inputs, [source], max_bad_shards=1)
    assert "none of the images" not in text


QWEN_VL = "<ref>it</ref><box>(1,2),(300,400)</box>"
QWEN2_VL = "<|object_ref_start|>it<|object_ref_end|><|box_start|>(1,2),(300,400)<|box_end|>"
OBJECTS = {"objects": {"ref": ["it"], "bbox": [[1, 2, 30, 40]]}}


@pytest.mark.parametrize(
    ("form", "record", "right"),
    [
        ("conversations", talk("0.jpg", answered=QWEN_VL), "qwen"),
        ("llava", talk("0.jpg", answered=QWEN2_VL), "qwen2_vl"),
        ("conversations", talk("0.jpg", answered="It is at [0.1, 0.2, 0.3, 0.4]."), "llava"),
        ("conversations", boxed(1, 2, 30, 40), "qwen3_vl or qwen2_5_vl"),
        ("llava", talk("0.jpg") | OBJECTS, "conversations"),
        ("qwen", talk("0.jpg") | OBJECTS, "conversations"),
        ("qwen3_vl", talk("0.jpg") | OBJECTS, "conversations"),
    ],
)
def test_markup_of_another_format_names_it_at_the_end(
    inputs: Path, form: str, record: dict[str, Any], right: str
) -> None:
    """Rows that are all refused for their markup, or for ms-swift's objects, name the format in the last lines."""
    (inputs / "b.json").write_text(json.dumps([record]))
    _, text = run(inputs, [{"id": "b", "format": form, "path": str(inputs / "b.json")}])
    assert f"source b: 1 of its 1 rows look like format: {right}" in text


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("<video>\nWhat?", "other_media"),
        ("What is heard?\n<audio>", "other_media"),
        ("What happens here? <video>", "other_media"),
        ("<image>\n<video>What?", "other_media"),
        ("<image>\nWhat does the tag <video> do in HTML?", "kept"),
        ("<image>\nMend this:\n<video>\n<source src='a'>\n</video>", "kept"),
    ],
)
def test_a_video_without_a_field_is_no_text(inputs: Path, asked: str, reason: str) -> None:
    """The mark of a video or a sound where an image's would stand refuses the record; a word of a question does not."""
    (inputs / "v.json").write_text(json.dumps([talk("0.jpg", asked), talk("1.jpg")]))
    run(inputs, [{"id": "v", "format": "conversations", "path": str(inputs / "v.json")}])
    assert reasons(inputs / "out") == {"record-0": reason, "record-1": "kept"}
