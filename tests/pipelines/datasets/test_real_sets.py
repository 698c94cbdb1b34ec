"""Real annotations of real images, in each published form: annotations in = kept + lost by reason, by another count."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from pipelines.audit.verify import verify
from tests.pipelines.building import build, rows

Lost = Counter[str | None]


@pytest.fixture(scope="module")
def tuples(test_data: Path) -> list[dict[str, Any]]:
    """Captions with phrases and boxes."""
    text = (test_data / "grounding/grounding.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def dump(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def of_grit(folder: Path, tuples: list[dict[str, Any]]) -> str:
    """GRIT's Parquet: a noun chunk for each box of each phrase that has a place in its caption."""
    lines = []
    for one in tuples:
        shares = [one["width"], one["height"]] * 2
        chunks = [
            [
                phrase["start"],
                phrase["end"],
                *(side / whole for side, whole in zip(box, shares, strict=True)),
                0.9,
            ]
            for phrase in one["phrases"]
            for box in phrase["boxes"]
            if "start" in phrase
        ]
        size = {"width": one["width"], "height": one["height"]}
        lines.append(
            {"key": one["key"], "image": base(one["file"]), "caption": one["caption"], **size}
            | {"noun_chunks": chunks, "ref_exps": []}
        )
    schema = {"noun_chunks": pa.list_(pa.list_(pa.float64())), "ref_exps": pa.list_(pa.list_(pa.float64()))}
    pq.write_table(
        pa.Table.from_pylist(
            lines, pa.schema([(name, schema.get(name, _plain(lines[0][name]))) for name in lines[0]])
        ),
        folder / "coyo_0.parquet",
    )
    return str(folder / "coyo_0.parquet")


def _plain(value: object) -> pa.DataType:
    return pa.int64() if isinstance(value, int) else pa.string()


def base(name: str) -> str:
    return name.rpartition("/")[2]


def of_flickr30k(folder: Path, tuples: list[dict[str, Any]]) -> str:
    """Flickr30k Entities: sentences with brackets, and an XML for each image."""
    (folder / "Sentences").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for name in sorted({one["file"] for one in tuples}):
        number, sentences, objects = 0, [], ""
        for one in (other for other in tuples if other["file"] == name):
            sentence, at = "", 0
            for phrase in sorted(
                (found for found in one["phrases"] if "start" in found), key=lambda x: x["start"]
            ):
                number += 1
                sentence += f"{one['caption'][at : phrase['start']]}[/EN#{number}/other {phrase['text']}]"
                at = phrase["end"]
                for box in phrase["boxes"]:
                    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
                    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
                    objects += f"<object><name>{number}</name><bndbox>{corners}</bndbox></object>"
            sentences.append(sentence + one["caption"][at:])
            size = f"<size><width>{one['width']}</width><height>{one['height']}</height></size>"
        stem = base(name).removesuffix(".jpg")
        (folder / f"Sentences/{stem}.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
        whole = f"<annotation><filename>{base(name)}</filename>{size}{objects}</annotation>"
        (folder / f"Annotations/{stem}.xml").write_text(whole, encoding="utf-8")
    return str(folder)


def of_visual_genome(folder: Path, tuples: list[dict[str, Any]]) -> dict[str, str]:
    """Visual Genome's regions: each box of each phrase one, [x, y, width, height]."""
    images = {one["file"]: {"width": one["width"], "height": one["height"]} for one in tuples}
    data, regions = [], []
    for number, (name, size) in enumerate(images.items()):
        data.append({"image_id": base(name).removesuffix(".jpg"), **size})
        own = [
            {
                "x": box[0],
                "y": box[1],
                "width": box[2] - box[0],
                "height": box[3] - box[1],
                "phrase": phrase["text"],
            }
            for one in tuples
            if one["file"] == name
            for phrase in one["phrases"]
            for box in phrase["boxes"]
        ]
        named = [{"region_id": f"{number}-{at}"} | region for at, region in enumerate(own)]
        regions.append({"id": data[-1]["image_id"], "regions": named})
    return {
        "regions": dump(folder / "region_descriptions.json", regions),
        "images": dump(folder / "image_data.json", data),
    }


def of_refcoco(folder: Path, instances: dict[str, Any], path: str) -> dict[str, str]:
    """RefCOCO: of each object of COCO two expressions, one without words for each tenth."""
    names = {one["id"]: one["name"] for one in instances["categories"]}
    refs = [
        {"ref_id": number, "ann_id": one["id"], "image_id": one["image_id"], "split": "train"}
        | {
            "sentences": [
                {"sent_id": 2 * number, "sent": f"the {names[one['category_id']]}"},
                {
                    "sent_id": 2 * number + 1,
                    "sent": "" if number % 10 == 0 else f"{names[one['category_id']]} here",
                },
            ]
        }
        for number, one in enumerate(instances["annotations"])
    ]
    (folder / "refs.p").write_bytes(pickle.dumps(refs, protocol=2))
    return {"refs": str(folder / "refs.p"), "instances": path}


def ledger(out: Path) -> dict[str, Lost]:
    """Returns by set how many annotations are used (None), and lost by reason, in the table that the build wrote."""
    found: dict[str, Lost] = {}
    for row in rows(out, "annotations"):
        found.setdefault(row["member"].partition(":")[0], Counter())[row["reason"]] += 1
    return found


def built(out: Path, sets: list[dict[str, Any]], images: Path) -> dict[str, Lost]:
    """Builds one source of several sets, which must verify, and returns its ledger."""
    source = {
        "id": "real",
        "kind": "annotations",
        "images": str(images),
        "match": "basename",
        "annotations": sets,
    }
    build({"sources": [source], "rules": dict.fromkeys(("min_side", "aspect_ratio", "blank"), False)}, out)
    assert verify(str(out), work=True) == []
    return ledger(out)


def in_coco(instances: dict[str, Any]) -> Lost:
    """Counts what becomes of COCO's objects: a category with a crowd goes, and a box without extent on the grid."""
    sizes = {one["id"]: (one["width"], one["height"]) for one in instances["images"]}
    crowds = {(one["image_id"], one["category_id"]) for one in instances["annotations"] if one["iscrowd"]}
    found: Lost = Counter()
    for one in instances["annotations"]:
        x, y, across, down = one["bbox"]
        width, height = sizes[one["image_id"]]
        cells = [
            int(1000 * max(0, min(round(at, 2), side)) / side)
            for at, side in ((x, width), (x + across, width), (y, height), (y + down, height))
        ]
        if one["iscrowd"] or (one["image_id"], one["category_id"]) in crowds:
            found["crowd"] += 1
        elif across < 0.01 or down < 0.01:
            found["box_degenerate"] += 1
        else:
            found["box_grid" if cells[0] == cells[1] or cells[2] == cells[3] else None] += 1
    return found


def test_every_annotation_of_real_sets_is_accounted_for(
    test_data: Path, tmp_path: Path, tuples: list[dict[str, Any]]
) -> None:
    """COCO's files, and the same boxes as tuples, GRIT, Flickr30k, Visual Genome and RefCOCO publish theirs."""
    places = {
        name: str(test_data / f"grounding/coco_{name}_subset.json") for name in ("instances", "captions")
    }
    instances = json.loads(Path(places["instances"]).read_text())
    captions = json.loads(Path(places["captions"]).read_text())
    (tmp_path / "vg").mkdir()
    sets: dict[str, dict[str, Any]] = {
        "grounding": {"path": str(test_data / "grounding/grounding.jsonl")},
        "coco_instances": {"path": places["instances"]},
        "coco_captions": {"path": places["captions"]},
        "grit": {"path": of_grit(tmp_path, tuples)},
        "flickr30k": {"path": of_flickr30k(tmp_path / "flickr", tuples)},
        "visual_genome": {"files": of_visual_genome(tmp_path / "vg", tuples)},
        "refcoco": {"files": of_refcoco(tmp_path, instances, places["instances"])},
    }
    found = built(
        tmp_path / "out", [{"format": form} | one for form, one in sets.items()], test_data / "pairs/images"
    )
    boxes = sum(len(phrase["boxes"]) for one in tuples for phrase in one["phrases"])
    placed = sum(len(phrase["boxes"]) for one in tuples for phrase in one["phrases"] if "start" in phrase)
    objects = len(instances["annotations"])
    silent = len(range(0, objects, 10))
    assert found == {
        "grounding": Counter({None: boxes}),
        "coco_instances": in_coco(instances),
        "coco_captions": Counter({None: len(captions["annotations"])}),
        "grit": Counter({None: placed}),
        "flickr30k": Counter({None: placed}),
        "visual_genome": Counter({None: boxes}),
        "refcoco": Counter({None: 2 * objects - silent, "empty_phrase": silent}),
    }
    decided = rows(tmp_path / "out", "decisions")
    kept = Counter(row["member"].partition(":")[0] for row in decided if row["decision"] == "kept")
    placed_in = sum(any("start" in phrase for phrase in one["phrases"]) for one in tuples)
    assert (kept["grounding"], kept["coco_captions"]) == (len(tuples), len(captions["annotations"]))
    assert kept["grit"] == kept["flickr30k"] == placed_in


def test_every_text_line_of_real_images_is_accounted_for(test_data: Path, tmp_path: Path) -> None:
    """Receipts, scene text and pages as ICDAR's files and as PaddleOCR's: unreadable and outside lines by name."""
    text = (test_data / "ocr/ocr.jsonl").read_text(encoding="utf-8")
    expected: Lost = Counter()
    (tmp_path / "gt").mkdir()
    paddle = []
    for one in map(json.loads, text.splitlines()):
        with Image.open(test_data / "ocr" / one["file"]) as image:
            width, height = ImageOps.exif_transpose(image).size
        plain, labels = [], []
        for line in one["lines"]:
            words, quad = line["text"].replace("\n", " "), line["quad"]
            xs, ys = zip(*quad, strict=True)
            plain.append(",".join(str(side) for corner in quad for side in corner) + f",{words}")
            labels.append({"transcription": words, "points": quad})
            if max(xs) - min(xs) < 1 or max(ys) - min(ys) < 1:
                expected["box_degenerate"] += 1
            elif words.strip() in ("", "*", "###"):
                expected["unreadable"] += 1
            elif min(*xs, *ys) < -1 or max(xs) > width + 1 or max(ys) > height + 1:
                expected["box_outside"] += 1
            else:
                expected[None] += 1
        if plain:
            (tmp_path / f"gt/gt_{Path(one['file']).stem}.txt").write_text("\n".join(plain), encoding="utf-8")
            paddle.append(f"{one['file']}\t{json.dumps(labels, ensure_ascii=False)}\n")
    (tmp_path / "Label.txt").write_text("".join(paddle), encoding="utf-8")
    sets = [{"format": "ocr_labels", "path": str(tmp_path / name)} for name in ("gt", "Label.txt")]
    found = built(tmp_path / "out", sets, test_data / "ocr/images")
    assert found == {"ocr_labels": expected, "ocr_labels.2": expected}
    assert expected.keys() >= {None, "unreadable"}
