"""What becomes of each annotation: its line in work/annotations, the language of its views, and its image."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

import vlcorpus
from pipelines.audit.verify import verify
from schemas.errors import InputError
from schemas.sample import Example
from tests.pipelines.building import build, rows
from tests.pipelines.phases.test_ground import samples
from tests.pipelines.raw import picture
from tests.pipelines.sources.test_annotations import folder, line, lines, reasons, recipe


def coco(path: Path, annotations: list[dict[str, Any]], count: int, **size: int) -> Path:
    """COCO's JSON over the pictures of `folder`."""
    size = size or {"width": 256, "height": 224}
    images = [{"id": n, "file_name": f"{n}.jpg", **size} for n in range(count)]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a red block"}]}
    path.write_text(json.dumps(data))
    return path


def box(number: int, bbox: Any, image: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": 1, "bbox": bbox, **more}


BAD: dict[int, tuple[Any, str]] = {
    1: ([10, 10, 0, 20], "box_degenerate"),
    2: ([20.2, 20.2, 0.1, 0.1], "box_grid"),
    3: ("10,10,20,20", "box_numbers"),
    4: ([float("nan"), 1, 2, 3], "box_numbers"),
    5: ([[1, 2], [3, 4]], "box_numbers"),
    6: ([300, 10, 20, 20], "box_outside"),
    7: (["10", "10", "20", "20"], "box_numbers"),
    8: ({"x": 1}, "box_numbers"),
    9: (None, "box_numbers"),
    10: ([10, 10, -5, 20], "box_order"),
}
"""Id of an object -> its box, and why it is lost."""


def test_one_bad_box_never_takes_the_good_ones(tmp_path: Path) -> None:
    """Each object has a line with its id; those with a good box are kept, each other has its own reason."""
    objects = [box(100, [10, 10, 50, 50]), *(box(number, bad) for number, (bad, _) in BAD.items())]
    path = coco(tmp_path / "a.json", objects, 1)
    build(recipe(path, folder(tmp_path / "images", 1), "coco_instances"), tmp_path / "out")
    found = {row["id"]: row["reason"] for row in rows(tmp_path / "out", "annotations")}
    assert found == {"100": None} | {str(number): reason for number, (_, reason) in BAD.items()}
    (view, _) = samples(tmp_path / "out")
    assert [phrase.boxes for phrase in view.phrases] == [((10, 10, 60, 60),)]


def test_annotations_add_up_and_verify_counts_them(tmp_path: Path) -> None:
    """annotations = kept + lost by reason: in the manifest and on the card; a changed count is noticed."""
    objects = [box(n, [10, 10, 50, 50], n) for n in range(3)] + [
        box(9, [10, 10, 0, 0]),
        box(10, [1, 2, 9, 9], 77),
    ]
    images = folder(tmp_path / "images", 2)  # of three that are named
    path = coco(tmp_path / "a.json", objects, 3)
    build(recipe(path, images, "coco_instances"), tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    lost = {"box_degenerate": 1, "missing_image": 1, "unknown_image": 1}
    assert manifest["annotations"]["boxes"] == {"annotations": 5, "kept": 2, "lost": lost}
    assert (
        "| boxes | 5 | 2 | box\\_degenerate 1, missing\\_image 1, unknown\\_image 1 |"
        in (tmp_path / "out/README.md").read_text()
    )
    assert verify(str(tmp_path / "out"), work=True) == []
    (table,) = (tmp_path / "out/work/annotations").rglob("*.parquet")
    pq.write_table(pq.ParquetFile(table).read().slice(1), table)
    assert any("5 annotations: 2 kept" in problem for problem in verify(str(tmp_path / "out")))


def test_a_rule_s_reason_is_that_of_the_row_s_annotations(tmp_path: Path) -> None:
    """Annotations of a row that a rule drops are lost for that rule, and come back with the threshold."""
    path = lines(tmp_path / "a.jsonl", [line(0), line(1)])
    told = recipe(path, folder(tmp_path / "images", 2), rules={"min_side": {"pixels": 500}})
    build(told, tmp_path / "out")
    (one,) = json.loads((tmp_path / "out/manifest.json").read_text())["annotations"].values()
    assert one == {"annotations": 6, "kept": 0, "lost": {"min_side": 6}}
    _, heard = build(told | {"rules": {"min_side": {"pixels": 100}}}, tmp_path / "out")
    (one,) = json.loads((tmp_path / "out/manifest.json").read_text())["annotations"].values()
    assert one == {"annotations": 6, "kept": 6, "lost": {}}
    assert heard.ran["measure"] == 0


def test_a_list_with_an_object_s_id_says_what_ids_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id of an object is that of no row; the sentence says where its row stands, whose id removes it."""
    path = coco(tmp_path / "a.json", [box(100 + n, [10, 10, 50, 50], n) for n in range(3)], 3)
    told = recipe(path, folder(tmp_path / "images", 3), "coco_instances")
    for name, value in (("object", "101"), ("row", "1")):
        listed = tmp_path / f"{name}.txt"
        listed.write_text(f"id\n{value}\n")
        vlcorpus.build(told, tmp_path / name, "inline", removed=str(listed))
        said = "".join(capsys.readouterr())
        assert ("rows removed: 1" in said) == (name == "row")
        assert ("the column member of work/annotations names the row" in said) == (name == "object")
    (member,) = [row["member"] for row in rows(tmp_path / "object", "annotations") if row["id"] == "101"]
    assert member == "1"


def captions(tmp_path: Path, texts: list[str], **source: Any) -> list[Example]:
    """The views of COCO captions with these texts."""
    notes = [{"id": n, "image_id": n, "caption": text} for n, text in enumerate(texts)]
    path = coco(tmp_path / "c.json", notes, len(texts))
    images = folder(tmp_path / "images", len(texts))
    build(recipe(path, images, "coco_captions", source=source), tmp_path / "out")
    return samples(tmp_path / "out")


TEXTS = {
    "en": "two dogs play with a ball in front of the house",
    "zh": "一个红色方块在条纹前面",
    "es": "dos perros juegan con una pelota delante de la casa",
    "pl": "dwa psy bawią się piłką przed domem w słoneczny dzień",
    "vi": "hai con chó chơi với quả bóng trước ngôi nhà",
}


def test_each_view_is_in_the_language_of_its_words(tmp_path: Path) -> None:
    """Captions of one file in five languages are each called by their own."""
    found = {one.text: one.language for one in captions(tmp_path, list(TEXTS.values()))}
    assert found == {text: language for language, text in TEXTS.items()}


def test_the_language_of_a_source_stands_above_the_signal(tmp_path: Path) -> None:
    """`language:` holds for every view, and for the rule by which `languages:` filters."""
    found = captions(tmp_path, ["dog", TEXTS["en"]], language="de", languages=["de"])
    assert [one.language for one in found] == ["de", "de"]


def test_languages_filter_annotations(tmp_path: Path) -> None:
    """`languages:` of an annotation source drops what is in another language."""
    assert {one.language for one in captions(tmp_path, list(TEXTS.values()), languages=["zh"])} == {"zh"}


def test_real_captions_are_in_their_language(tmp_path: Path, test_data: Path) -> None:
    """Of published captions in one file 99 % of each of five languages are called by what their publisher states."""
    lines_ = (test_data / "pairs/pairs.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [pair for pair in map(json.loads, lines_) if pair["lang"] in TEXTS]
    stated = {text.strip(): pair["lang"] for pair in pairs for text in pair["captions"] if text.strip()}
    notes = [{"id": n, "image_id": n % 50, "caption": text} for n, text in enumerate(stated)]
    path, images = coco(tmp_path / "c.json", notes, 50), folder(tmp_path / "images", 50)
    build(recipe(path, images, "coco_captions"), tmp_path / "out")
    found = {one.text: one.language for one in samples(tmp_path / "out")}
    right = Counter(language for text, language in stated.items() if found[text] == language)
    assert {*right} == {*TEXTS}
    for language, count in Counter(stated.values()).items():
        assert right[language] >= 0.99 * count, language


def test_an_image_is_where_its_name_says(tmp_path: Path) -> None:
    """Another set's image of the same last part is never taken; with `match: basename` a unique one is."""
    images = folder(tmp_path / "images/b", 2)
    (images.parent / "c").mkdir()
    (images.parent / "c/1.jpg").write_bytes(picture(7))
    path = lines(
        tmp_path / "a.jsonl", [line(0, image=name) for name in ("b/0.jpg", "a/0.jpg", "/x/0.jpg", "a/1.jpg")]
    )
    build(recipe(path, images.parent), tmp_path / "path")
    assert [*reasons(tmp_path / "path").values()] == ["kept", *["missing_image"] * 3]
    build(recipe(path, images.parent, source={"match": "basename"}), tmp_path / "base")
    assert [*reasons(tmp_path / "base").values()] == ["kept", "kept", "kept", "missing_image"]


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("boxes_on", ["upright", "stored"])
@pytest.mark.parametrize("size", [(400, 300), (300, 300)])
def test_boxes_stay_on_what_they_name_when_exif_turns(
    tmp_path: Path, orientation: int, boxes_on: str, size: tuple[int, int]
) -> None:
    """Boxes drawn before the turn and after it are both on the red block in the stored image.

    Where the sides differ and are exchanged the sizes in the file tell, else the setting does.
    """
    image = Image.new("RGB", size, "white")
    image.paste("red", (100, 20, 200, 60))
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images/0.png", exif=exif)
    with Image.open(tmp_path / "images/0.png") as found:
        seen = ImageOps.exif_transpose(found)
    x1, y1, x2, y2 = place_of(seen if boxes_on == "upright" else image)
    width, height = seen.size if boxes_on == "upright" else size
    path = coco(tmp_path / "a.json", [box(1, [x1, y1, x2 - x1, y2 - y1])], 1, width=width, height=height)
    path.write_text(path.read_text().replace(".jpg", ".png"))
    told = recipe(path, tmp_path / "images", "coco_instances")
    if seen.size == size:
        told["sources"][0]["boxes_on"] = boxes_on
    build(told, tmp_path / "out")
    (view, _) = samples(tmp_path / "out")
    assert view.phrases[0].boxes == (place_of(seen),)


def place_of(image: Image.Image) -> tuple[int, int, int, int]:
    """Where the red block is."""
    found = ImageOps.invert(image.getchannel("G")).getbbox()
    assert found is not None
    return found


def documents(tmp_path: Path, dead: int, **source: Any) -> dict[str, str]:
    """What becomes of an MMC4 document of four images, `dead` of which are missing."""
    images = folder(tmp_path / "images", 4 - dead)
    info = [{"image_name": f"{n}.jpg", "matched_text_index": n} for n in range(4)]
    text = {"text_list": [f"This is sentence {n} of the document." for n in range(4)], "image_info": info}
    sound = {"text_list": ["Only this one is sound."], "image_info": info[:1]}
    path = lines(tmp_path / "m.jsonl", [text, sound])
    build(recipe(path, images, "mmc4", source=source), tmp_path / "out")
    return reasons(tmp_path / "out")


def test_a_document_keeps_its_living_images(tmp_path: Path) -> None:
    """Two of four images are missing: the document keeps the others and all its words, the loss is counted."""
    assert documents(tmp_path, 2)["0"] == "kept"
    one = next(one for one in samples(tmp_path / "out") if len(one.images) == 2)
    assert "sentence 3" in one.text
    found = Counter(row["reason"] for row in rows(tmp_path / "out", "annotations"))
    assert found == {None: 3, "missing_image": 2}


def test_a_document_with_too_few_images_is_dropped(tmp_path: Path) -> None:
    """More than `max_missing` of its images are missing."""
    assert documents(tmp_path, 3)["0"] == "missing_image"


def test_max_missing_is_a_setting(tmp_path: Path) -> None:
    """With max_missing: 0 every image must be there."""
    assert documents(tmp_path, 1, max_missing=0)["0"] == "missing_image"


def test_grit_is_read_as_published(tmp_path: Path) -> None:
    """A folder of Parquet files whose keys are img2dataset's, without suffix, below folders by shard."""
    folder(tmp_path / "images/00001", 2)
    for number in range(2):
        (tmp_path / f"images/00001/{number}.jpg").rename(tmp_path / f"images/00001/00001000{number}.jpg")
    (tmp_path / "grit").mkdir()
    for number in range(2):
        row = {
            "key": f"00001000{number}",
            "caption": "a dog by two cats",
            "width": 256,
            "height": 224,
            "noun_chunks": [[0.0, 5.0, 0.1, 0.1, 0.5, 0.5, 0.9]],
            "ref_exps": [[0.0, 5.0, 0.1, 0.1, 0.5, 0.5, 0.9]],
        }
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"grit/coyo_{number}.parquet")
    build(recipe(tmp_path / "grit", tmp_path / "images", "grit"), tmp_path / "out")
    assert reasons(tmp_path / "out") == {"coyo_0.parquet:0": "kept", "coyo_1.parquet:0": "kept"}


def test_a_folder_for_a_single_file_names_the_file_wanted(tmp_path: Path) -> None:
    """`path` is a folder, but the format is read from one file."""
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann/val.json").write_text("{}")
    told = recipe(tmp_path / "ann", folder(tmp_path / "images", 1), "coco_captions")
    with pytest.raises(InputError, match=r"is a folder, but format coco_captions.*ann/val\.json"):
        build(told, tmp_path / "out")


ICDAR = "\ufeff10,10,90,12,90,40,10,38,Exit\r\n10,50,90,50,90,70,10,70,###\r\n1,2,3\r\n900,10,990,10,990,40,900,40,far"
PADDLE = [
    {"transcription": "Exit, now", "points": [[10, 10], [90, 12], [90, 40], [10, 38]], "difficult": False},
    {"transcription": "###", "points": [[10, 50], [90, 50], [90, 70], [10, 70]], "difficult": True},
]


def text_lines(out: Path) -> dict[str, list[tuple[str, Any]]]:
    """URL or key -> phrase and quad of each line of the kept samples."""
    return {one.key: [(phrase.phrase, phrase.quads[0]) for phrase in one.phrases] for one in samples(out)}


def test_ocr_labels_of_icdar(tmp_path: Path) -> None:
    """gt_NAME.txt is of NAME; what is unreadable, malformed or outside the image is named, the rest is taught."""
    images = folder(tmp_path / "images", 1)
    (images / "0.jpg").rename(images / "img_1.jpg")
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt/gt_img_1.txt").write_text(ICDAR, encoding="utf-8")
    build(recipe(tmp_path / "gt", images, "ocr_labels"), tmp_path / "out")
    assert [*text_lines(tmp_path / "out").values()] == [[("Exit", ((10, 10), (90, 12), (90, 40), (10, 38)))]]
    found = [row["reason"] for row in rows(tmp_path / "out", "annotations")]
    assert found == [None, "unreadable", "box_numbers", "box_outside"]


def test_ocr_labels_of_paddle_and_coco_text(tmp_path: Path) -> None:
    """PaddleOCR's label file names its images; COCO-Text is one JSON."""
    images = folder(tmp_path / "images", 1)
    (tmp_path / "Label.txt").write_text(f"0.jpg\t{json.dumps(PADDLE)}\n", encoding="utf-8")
    build(recipe(tmp_path / "Label.txt", images, "ocr_labels"), tmp_path / "paddle")
    assert [words for found in text_lines(tmp_path / "paddle").values() for words, _ in found] == [
        "Exit, now"
    ]
    notes = {
        "7": {"image_id": 0, "bbox": [10, 10, 80, 30], "utf8_string": "Exit", "legibility": "legible"},
        "8": {"image_id": 0, "bbox": [10, 50, 80, 30], "legibility": "illegible"},
    }
    data = {"imgs": {"0": {"file_name": "0.jpg"}}, "anns": notes}
    (tmp_path / "cocotext.json").write_text(json.dumps(data))
    build(recipe(tmp_path / "cocotext.json", images, "ocr_labels"), tmp_path / "coco")
    assert [row["id"] for row in rows(tmp_path / "coco", "annotations") if row["reason"] is None] == ["7"]


def test_all_annotators_answers_are_kept(tmp_path: Path) -> None:
    """A DocVQA question keeps every answer in `extra.answers`."""
    data = {
        "data": [{"questionId": 1, "question": "What is it?", "image": "0.jpg", "answers": ["a dog", "dog"]}]
    }
    (tmp_path / "d.json").write_text(json.dumps(data))
    build(recipe(tmp_path / "d.json", folder(tmp_path / "images", 1), "docvqa"), tmp_path / "out")
    (view,) = samples(tmp_path / "out")
    assert json.loads(view.extra or "")["answers"] == ["a dog", "dog"]
