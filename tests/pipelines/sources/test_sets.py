"""Several sets of annotations over one folder of images: one sample an image, with the views of all its rows."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pixels

import vlcorpus
from pipelines.recipe.model import Recipe
from schemas.sample import Sample, image_key
from tests.pipelines.building import build, rows
from tests.pipelines.raw import picture

LICENCES = [{"id": 1, "name": "Attribution License"}, {"id": 2, "name": "No known copyright restrictions"}]


def images(folder: Path, count: int, twins: dict[str, int] | None = None) -> Path:
    """A folder of numbered images, and further names for the bytes of some of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in {**{str(n): n for n in range(count)}, **(twins or {})}.items():
        (folder / f"{name}.jpg").write_bytes(picture(number))
    return folder


def known(names: list[str]) -> list[dict[str, Any]]:
    """COCO's `images`: by turns under two licences, the first without an address."""
    return [
        {"id": n, "file_name": f"{name}.jpg", "width": 256, "height": 224, "license": n % 2 + 1}
        | ({"flickr_url": f"http://flickr.example/{name}.jpg"} if n else {})
        for n, name in enumerate(names)
    ]


def sets(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """Two captions, two objects and a question for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {"images": known(names), "licenses": LICENCES}
    count = range(len(names))
    captions = [{"id": 100 + n, "image_id": n // 2, "caption": f"caption {n}"} for n in range(2 * len(names))]
    boxes = [
        {"id": 500 + 2 * n + at, "image_id": n, "category_id": at, "bbox": [10 + at, 20, 50, 60]}
        for n in count
        for at in range(2)
    ]
    named = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]
    asked = [
        {"image": f"{names[n]}.jpg", "question": f"what is {n}?", "answer": "it", "question_id": n}
        for n in count
    ]
    files = {
        "captions": head | {"annotations": captions},
        "instances": head | {"annotations": boxes, "categories": named},
        "questions": asked,
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return [
        {"format": "coco_captions", "path": str(folder / "captions.json")},
        {"format": "coco_instances", "path": str(folder / "instances.json")},
        {"format": "dvqa", "path": str(folder / "questions.json"), "licence": "CC BY 4.0"},
    ]


def recipe(top: Path, names: list[str], twins: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    """A recipe of those sets as one source."""
    count = len(names) - len(twins or {})
    source = {"id": "coco", "kind": "annotations", "images": str(images(top / "images", count, twins))}
    source |= {"annotations": sets(top / "sets", names), "licence": "as each site says"}
    return {"sources": [source | more.pop("source", {})], **more}


def samples(out: Path) -> dict[str, Sample]:
    """The samples by key; each is there once."""
    found = [one.sample for one in vlcorpus.Corpus.open(out).samples()]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def test_an_image_is_stored_once_with_all_its_views(tmp_path: Path) -> None:
    """Captions, objects and a question of one image are views of one sample, in the order of tasks."""
    build(recipe(tmp_path, [str(n) for n in range(6)]), tmp_path / "out")
    corpus = vlcorpus.Corpus.open(tmp_path / "out")
    found = samples(tmp_path / "out")
    assert len(found) == 6
    assert corpus.verify() == []
    for key, sample in found.items():
        (image,) = sample.images
        assert key == image_key("coco", image.original_sha256)
        assert [one.task for one in sample.views] == [
            *["caption"] * 2, *["referring"] * 2, *["grounded_caption"] * 2, "vqa",
        ]  # fmt: skip
    (count,) = corpus.manifest.samples
    assert (count.group, count.samples, count.images) == ("views", 6, 6)
    assert {(one.task, one.views) for one in corpus.manifest.views} == {
        ("caption", 12), ("referring", 12), ("grounded_caption", 12), ("vqa", 6),
    }  # fmt: skip
    assert len(rows(tmp_path / "out", "decisions")) == 12 + 6 + 6


def test_what_rows_say_of_themselves_reaches_views_index_and_card(tmp_path: Path) -> None:
    """COCO's ids, licences and addresses are kept; a set's licence is that of rows without one of their own."""
    build(recipe(tmp_path, ["0", "1"]), tmp_path / "out")
    found = {one.images[0].url: one for one in samples(tmp_path / "out").values()}
    second = found["http://flickr.example/1.jpg"]
    assert found.keys() == {None, "http://flickr.example/1.jpg"}
    said = {(one.task, one.id, one.licence, one.extra) for one in second.views}
    plain = "No known copyright restrictions"
    assert said == {
        ("caption", "102", plain, '{"image_id": "1"}'),
        ("caption", "103", plain, '{"image_id": "1"}'),
        *((task, "1", plain, '{"annotation_ids": ["502"]}') for task in ("referring", "grounded_caption")),
        *((task, "1", plain, '{"annotation_ids": ["503"]}') for task in ("referring", "grounded_caption")),
        ("vqa", "1", "CC BY 4.0", None),
    }
    manifest = vlcorpus.Corpus.open(tmp_path / "out").manifest
    assert manifest.licences == {"coco": {"Attribution License": 6, "CC BY 4.0": 2, plain: 6}}
    assert f"| coco | {plain} | 6 |" in (tmp_path / "out" / "README.md").read_text()
    (path,) = (tmp_path / "out").glob("shards/*/views/coco/*.parquet")
    (row,) = [one for one in pq.read_table(path).to_pylist() if one["url"]]
    assert (row["url"], row["licence"], row["id"]) == ("http://flickr.example/1.jpg", None, None)
    assert {one["id"] for one in row["views"]} == {"102", "103", "1"}


@pytest.mark.parametrize("twins", [{}, {"twin": 0, "other": 3}])
def test_parts_change_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twins: dict[str, int]
) -> None:
    """Read in parts, all rows of an image are in one; equal bytes under two names are one sample all the same."""
    told = recipe(tmp_path, [*(str(n) for n in range(9)), *twins], twins)
    build(told, tmp_path / "whole")
    monkeypatch.setattr("pipelines.sources.annotations.BYTES_A_PART", 1200)
    results, _ = build(told, tmp_path / "parts")
    assert len(results["measure"]) > 4
    found = samples(tmp_path / "parts")
    assert found == samples(tmp_path / "whole")
    assert len(found) == 9
    assert vlcorpus.Corpus.open(tmp_path / "parts").verify() == []
    part_of = {row["member"]: row["shard"] for row in rows(tmp_path / "parts", "decisions")}
    for n in range(9):
        own = [
            f"coco_captions:{100 + 2 * n}",
            f"coco_captions:{101 + 2 * n}",
            f"coco_instances:{n}",
            f"dvqa:{n}",
        ]
        assert len({part_of[member] for member in own}) == 1
    twin_parts = {part_of[f"coco_captions:{100 + 2 * n}"] for n in (0, 9)} if twins else {"", " "}
    assert len(twin_parts) == 2  # the phase that plans shards joins them
    sizes = Counter(len(one.views) for one in found.values())
    assert sizes == ({7: 7, 14: 2} if twins else {7: 9})


def test_bytes_on_disk_are_those_of_distinct_images_and_text(tmp_path: Path) -> None:
    """Six sets' rows, or one's, of an image take its bytes once: a tenth is left for tars and indexes."""
    told = recipe(tmp_path, [str(n) for n in range(6)])
    for n in range(6):
        noise = np.random.default_rng(n).integers(0, 255, (224, 256, 3), np.uint8)
        Pixels.fromarray(noise).save(tmp_path / "images" / f"{n}.jpg", quality=95)
    build(told, tmp_path / "out")
    stored = sum(path.stat().st_size for path in (tmp_path / "images").iterdir())
    text = sum(len(one.to_json().encode()) for one in samples(tmp_path / "out").values())
    disk = sum(path.stat().st_size for path in (tmp_path / "out" / "shards").rglob("*") if path.is_file())
    assert stored < disk <= 1.1 * (stored + text)


def test_a_sample_is_removed_by_its_key(tmp_path: Path) -> None:
    """The key of a sample, as the index has it, names all rows of its image."""
    told = recipe(tmp_path, [str(n) for n in range(4)])
    build(told, tmp_path / "out")
    key, *others = sorted(samples(tmp_path / "out"))
    (tmp_path / "list.txt").write_text(f"key\n{key}\n")
    vlcorpus.build(told, tmp_path / "less", "inline", progress=False, removed=str(tmp_path / "list.txt"))
    assert sorted(samples(tmp_path / "less")) == others
    reasons = Counter(row["reason"] for row in rows(tmp_path / "less", "decisions"))
    assert reasons == {None: 12, "removed": 4}


def test_the_group_is_the_recipe_s(tmp_path: Path) -> None:
    """A source names the folder of samples that can have several tasks; where they can have one, it is the task."""
    told = recipe(tmp_path, ["0"], source={"group": "coco_views"})
    build(told, tmp_path / "out")
    assert [one.group for one in vlcorpus.Corpus.open(tmp_path / "out").manifest.samples] == ["coco_views"]
    build(told | {"tasks": ["vqa"]}, tmp_path / "vqa")
    assert [one.group for one in vlcorpus.Corpus.open(tmp_path / "vqa").manifest.samples] == ["vqa"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "annotations need images"),
        ({"path": "x"}, "format, path and files stand in each of the annotations"),
        ({"format": "coco_captions"}, "format, path and files stand in each of the annotations"),
        ({"kind": "parquet"}, "annotations is for kind: annotations"),
        ({"annotations": [{"format": "coco_captions"}]}, "path is missing"),
        ({"annotations": [{"format": "ocr", "path": "x"}]}, "format ocr is not for kind: annotations"),
        ({"annotations": [{"format": "koko", "path": "x"}]}, "koko"),
        ({"group": "caption"}, "caption is a task"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], message: str) -> None:
    """A source of several sets has its images beside them, and all else within each."""
    one = {"format": "coco_captions", "path": "captions.json"}
    source = {"id": "coco", "kind": "annotations", "images": "images", "annotations": [one]} | changes
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate({"sources": [{k: v for k, v in source.items() if v is not None}]})
