"""Which files of a folder an annotation source reads, and which image a name in them stands for."""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.building import build, rows
from tests.pipelines.crawls import run_inline
from tests.pipelines.raw import picture
from tests.pipelines.sources.test_annotations import folder, line, lines, reasons, recipe


def taken(tmp_path: Path, files: dict[str, int], names: list[str], **source: Any) -> list[int | None]:
    """Returns for each name the number of the image that its record became; None where the record is not kept."""
    images = tmp_path / "images"
    for name, number in files.items():
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(picture(number))
    given = [line(number, image=name) for number, name in enumerate(names)]
    build(recipe(lines(tmp_path / "a.jsonl", given), images, source=source), tmp_path / "out")
    found = shown(tmp_path / "out", files.values())
    return [found[str(at)] for at in range(len(names))]


def shown(out: Path, numbers: Iterable[int]) -> dict[str, int | None]:
    """Returns for each record the number of its image; None where it has none."""
    number_of = {sha256(picture(number)).hexdigest(): number for number in numbers}
    return {row["member"]: number_of.get(row["sha256"]) for row in rows(out, "signals")}


@pytest.mark.parametrize("match", ["path", "basename"])
def test_a_name_is_first_what_the_file_is_called(tmp_path: Path, match: str) -> None:
    """`#`, `?`, `%20` and `:` are parts of a file's name; no record takes the image that is left when they are cut."""
    names = ["a.jpg", "a#2.jpg", "b%20c.jpg", "d?1.jpg", "Shot:1.jpg", "d?2.jpg", "a#3.jpg", "x/a#2.jpg"]
    files = {name: number for number, name in enumerate(names[:5])}
    found = taken(tmp_path, files, names, match=match)
    assert found == [*range(5), None, None, None if match == "path" else 1]


def test_an_address_is_also_looked_for_decoded_and_without_its_query(tmp_path: Path) -> None:
    """What a crawler wrote under the address itself is taken before what is left when it is cut."""
    files = {"b c.jpg": 0, "h/d.jpg?s=1": 1, "h/d.jpg": 2}
    names = ["https://h/b%20c.jpg#top", "https://h/d.jpg?s=1", "https://h/d.jpg?s=2"]
    assert taken(tmp_path, files, names) == [0, 1, 2]


def test_a_name_without_suffix_is_found_anywhere_below_with_one(tmp_path: Path) -> None:
    """`match: basename` looks for the suffixes of images too; a folder of that name is no image."""
    files = {"q/77.png": 0, "78/79.jpg": 1, "r/78.webp": 2}
    assert taken(tmp_path, files, ["77", "78", "a/79", "80"], match="basename") == [0, 2, 1, None]


def test_a_hostile_name_is_a_missing_image(tmp_path: Path) -> None:
    """A name that leads out of the folder, is too long for a file or holds a NUL is one row's reason."""
    names = [
        "../out.jpg",
        "a" * 5000,
        "data:image/png;base64," + "A" * 9000,
        "a\0.jpg",
        "C:\\0.jpg",
        "..",
        "https://",
    ]
    assert taken(tmp_path, {"0.jpg": 0}, [*names, "0.jpg"]) == [None] * 7 + [0]


def test_texts_in_folders_are_of_the_images_in_folders_of_that_name(tmp_path: Path) -> None:
    """train/gt_img_7.TXT and test/gt_img_7.txt are of two images."""
    for number, part in enumerate(("test", "train")):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "gt" / part).mkdir(parents=True)
        (tmp_path / f"images/{part}/img_7.jpg").write_bytes(picture(number))
        text = f"10,10,90,12,90,40,10,38,{part}"
        (tmp_path / f"gt/{part}/gt_img_7.{('txt', 'TXT')[number]}").write_text(text)
    build(recipe(tmp_path / "gt", tmp_path / "images", "ocr_labels"), tmp_path / "out")
    assert shown(tmp_path / "out", (0, 1)) == {"test/gt_img_7": 0, "train/gt_img_7": 1}


@pytest.mark.parametrize("form", ["list", "lines", "values"])
def test_one_record_with_other_lists_never_damages_the_others(tmp_path: Path, form: str) -> None:
    """The first record lacks the format's fields but holds a list of objects: it alone is refused."""
    talk = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A dog."}]
    records = [
        {"image": "0.jpg", "turns": talk},
        *({"image": f"{n}.jpg", "conversations": talk} for n in (1, 2)),
    ]
    path = tmp_path / "a.json"
    written = {"list": json.dumps(records), "lines": "\n".join(map(json.dumps, records))}
    written["values"] = "\n".join(json.dumps(one, indent=1) for one in records)
    path.write_text(written[form])
    build(recipe(path, folder(tmp_path / "images", 3), "conversations"), tmp_path / "out")
    assert [*reasons(tmp_path / "out").values()] == ["bad_record", "kept", "kept"]


def test_every_file_of_a_folder_is_read_or_named(tmp_path: Path) -> None:
    """Suffixes are read in either case, hidden files never; what else lies there is named with its count."""
    notes = tmp_path / "notes"
    (notes / ".ipynb_checkpoints").mkdir(parents=True)
    images = folder(notes / "images", 4)
    (images / "sizes.csv").write_text("0,1\n")
    for number, name in enumerate(("a.jsonl", "D.JSON", "b.JsonL")):
        lines(notes / name, [line(number)])
    for name in ("._a.json", ".ipynb_checkpoints/a.jsonl", "c.ndjson", "b.jsonl.gz", "e.json.txt"):
        lines(notes / name, [line(3)])
    (notes / "empty.json").touch()
    (tmp_path / "r.yaml").write_text(json.dumps(recipe(notes, images)))
    done = run_inline("build", tmp_path / "r.yaml", "--out", tmp_path / "out")
    assert reasons(tmp_path / "out") == {"D.JSON:0": "kept", "a.jsonl:0": "kept", "b.JsonL:0": "kept"}
    assert "source boxes: 6 other files are ignored: " in done.stderr
    assert "1 .ndjson (c.ndjson)" in done.stderr


def test_a_folder_of_nothing_else_is_read_as_its_json(tmp_path: Path) -> None:
    """Lines in `.json` are MMC4's where no file has the usual suffix; beside one they are named."""
    notes = tmp_path / "notes"
    notes.mkdir()
    document = {
        "text_list": ["A dog sits."],
        "image_info": [{"image_name": "0.jpg", "matched_text_index": 0}],
    }
    lines(notes / "a.json", [document])
    told = recipe(notes, folder(tmp_path / "images", 1), "mmc4")
    build(told, tmp_path / "out")
    assert reasons(tmp_path / "out") == {"0": "kept"}
    lines(notes / "b.jsonl", [document | {"id": "x"}])
    _, heard = build(told, tmp_path / "both")
    assert "source boxes: 1 other files are ignored: 1 .json (a.json)" in heard.said


def test_a_missing_file_of_boxes_costs_its_image_s_sentences_alone(tmp_path: Path) -> None:
    """Flickr30k without Annotations/1.xml: that image's sentences are refused, the others are kept."""
    size = "<size><width>256</width><height>224</height></size>"
    sides = "<xmin>10</xmin><ymin>20</ymin><xmax>110</xmax><ymax>120</ymax>"
    for name in ("Sentences", "Annotations"):
        (tmp_path / "notes" / name).mkdir(parents=True)
    for number in range(2):
        (tmp_path / f"notes/Sentences/{number}.txt").write_text("[/EN#1/animals A dog] sits .\n")
    (tmp_path / "notes/Annotations/0.xml").write_text(
        f"<annotation><filename>0.jpg</filename>{size}"
        f"<object><name>1</name><bndbox>{sides}</bndbox></object></annotation>"
    )
    build(recipe(tmp_path / "notes", folder(tmp_path / "images", 2), "flickr30k"), tmp_path / "out")
    assert reasons(tmp_path / "out") == {"0#0": "kept", "1#0": "unknown_annotation"}


def test_a_folder_of_coco_text_is_read_whatever_happens_to_one_file(tmp_path: Path) -> None:
    """Where no text lies in the folder its JSON is read; a damaged one has a row and a sentence."""
    notes = {"7": {"image_id": 0, "bbox": [10, 10, 80, 30], "utf8_string": "Exit", "legibility": "legible"}}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.json").write_text("[{")
    (tmp_path / "notes/b.JSON").write_text(json.dumps({"imgs": {"0": {"file_name": "0.jpg"}}, "anns": notes}))
    told = recipe(tmp_path / "notes", folder(tmp_path / "images", 1), "ocr_labels")
    build(told, tmp_path / "out", until="select")
    assert reasons(tmp_path / "out") == {"a.json": "damaged_file", "0": "kept"}


@pytest.mark.parametrize(
    "end", [b'{"image": "0.jp', '{"image": "图'.encode()[:-1]], ids=["a text", "a character"]
)
def test_a_single_file_that_is_cut_has_a_row(tmp_path: Path, end: bytes) -> None:
    """Of one file as of several: whole records are kept, the rest is a row under the file's name, and a sentence."""
    path = tmp_path / "a.json"
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "There."}]
    whole = (json.dumps({"image": f"{number}.jpg", "conversations": turns}).encode() for number in range(2))
    path.write_bytes(b"[" + b", ".join([*whole, end]))
    results, _ = build(recipe(path, folder(tmp_path / "images", 2), "conversations"), tmp_path / "out")
    (said,) = next(iter(results["measure"].values()))["damaged"]
    assert said.startswith(f"{path} is no")
    assert reasons(tmp_path / "out") == {"record-0": "kept", "record-1": "kept", "a.json": "damaged_file"}


def test_a_bad_line_costs_no_good_line_about_its_image(tmp_path: Path) -> None:
    """PaddleOCR's lines are called by their image: a good one after a bad one stays."""
    labels = json.dumps([{"transcription": "Exit", "points": [[10, 10], [90, 12], [90, 40], [10, 38]]}])
    (tmp_path / "Label.txt").write_text(f"0.jpg\t[{{\n0.jpg\t{labels}\n1.jpg\t{labels}\n1.jpg\t[{{\n")
    build(recipe(tmp_path / "Label.txt", folder(tmp_path / "images", 2), "ocr_labels"), tmp_path / "out")
    assert reasons(tmp_path / "out") == {
        "0.jpg": "bad_json",
        "0.jpg~2": "kept",
        "1.jpg": "kept",
        "1.jpg~2": "bad_json",
    }


def test_files_that_another_set_reads_are_not_named_as_unread(tmp_path: Path) -> None:
    """Two sets over one folder: each file is read by one of them, and the rest is named once."""
    notes = tmp_path / "notes"
    notes.mkdir()
    lines(notes / "a.jsonl", [line(0)])
    (notes / "gt_1.txt").write_text("10,10,90,12,90,40,10,38,Exit")
    (notes / "README").write_text("")
    sets = [{"format": form, "path": str(notes)} for form in ("grounding", "ocr_labels")]
    source = {
        "id": "s",
        "kind": "annotations",
        "images": str(folder(tmp_path / "images", 2)),
        "annotations": sets,
    }
    _, heard = build({"sources": [source], "max_quarantine": 1}, tmp_path / "out")
    assert reasons(tmp_path / "out") == {"grounding:0": "kept", "ocr_labels:gt_1": "kept"}
    assert "source s: 1 other files are ignored: 1 without suffix (README)" in heard.said


def test_a_bad_first_line_of_a_label_file_costs_no_other(tmp_path: Path) -> None:
    """PaddleOCR's lines are known by any of them, not by the first alone."""
    labels = json.dumps([{"transcription": "Exit", "points": [[10, 10], [90, 12], [90, 40], [10, 38]]}])
    (tmp_path / "Label.txt").write_text(f"no tab\n0.jpg\t{labels}\n")
    build(recipe(tmp_path / "Label.txt", folder(tmp_path / "images", 1), "ocr_labels"), tmp_path / "out")
    assert reasons(tmp_path / "out") == {"no tab": "bad_json", "0.jpg": "kept"}
