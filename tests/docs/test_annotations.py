"""docs/annotations.md: each of its recipes builds a corpus from ten made rows."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.audit.verify import verify
from pipelines.datasets.table import DATASETS
from tests.docs.test_dialogues import SHOWN as DIALOGUES
from tests.pipelines.building import build
from tests.pipelines.raw import picture
from tests.pipelines.sources.test_annotations import line, lines

PAGE = (Path(__file__).parents[2] / "docs/annotations.md").read_text(encoding="utf-8")
RECIPES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
TEN = range(10)
SIZE = {"width": 256, "height": 224}


def dump(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def boxes(folder: Path) -> None:
    """COCO, RefCOCO, GRIT, tuples, Visual Genome, Flickr30k."""
    images = [{"id": n, "file_name": f"{n}.jpg", **SIZE} for n in TEN]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 50, 60]} for n in TEN]
    coco = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}
    dump(folder, "instances.json", coco)
    dump(
        folder,
        "captions.json",
        coco | {"annotations": [{"id": n, "image_id": n, "caption": f"dog {n}"} for n in TEN]},
    )
    refs = [
        {"ref_id": n, "ann_id": n, "image_id": n, "sentences": [{"sent_id": n, "sent": "a dog"}]} for n in TEN
    ]
    (folder / "refs.p").write_bytes(pickle.dumps(refs, protocol=2))
    lines(folder / "tuples.jsonl", [line(n) for n in TEN])
    entry = [0.0, 5.0, 0.1, 0.1, 0.5, 0.5, 0.9]
    grit = [
        {"key": f"{n}", "caption": "a dog", **SIZE, "noun_chunks": [entry], "ref_exps": [entry]} for n in TEN
    ]
    lines(folder / "grit.jsonl", grit)
    (folder / "grit").mkdir()
    pq.write_table(pa.Table.from_pylist(grit), folder / "grit/coyo_0_snappy.parquet")
    dump(folder, "image_data.json", [{"image_id": n, **SIZE} for n in TEN])
    region = {"x": 10, "y": 10, "width": 50, "height": 60, "phrase": "a dog"}
    dump(
        folder, "region_descriptions.json", [{"id": n, "regions": [{"region_id": n, **region}]} for n in TEN]
    )
    qa = {"question": "What is it?", "answer": "A dog."}
    dump(
        folder, "question_answers.json", [{"id": n, "qas": [{"qa_id": n, "image_id": n, **qa}]} for n in TEN]
    )
    for name in ("Sentences", "Annotations"):
        (folder / "flickr30k" / name).mkdir(parents=True)
    for n in TEN:
        (folder / f"flickr30k/Sentences/{n}.txt").write_text("[/EN#1/animals A dog] sits .\n")
        corners = "<xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>70</ymax>"
        found = f"<object><name>1</name><bndbox>{corners}</bndbox></object>"
        size = "<size><width>256</width><height>224</height></size>"
        (folder / f"flickr30k/Annotations/{n}.xml").write_text(
            f"<annotation><filename>{n}.jpg</filename>{size}{found}</annotation>"
        )


def texts(folder: Path) -> None:
    """Text lines, questions, dialogues, documents."""
    asked, said = "What is it?", "A dog."
    for name in ("gt", "questions", "ai2d/images", "pages"):
        (folder / name).mkdir(parents=True)
    for n in TEN:
        (folder / f"gt/gt_{n}.txt").write_text("10,10,90,10,90,40,10,40,Exit\n")
        question = {"questionId": f"{n}-0", "answerTexts": [said, "A cat."], "correctAnswer": 0}
        dump(folder, f"questions/{n}.jpg.json", {"imageName": f"{n}.jpg", "questions": {asked: question}})
        for place in ("ai2d/images", "pages"):
            (folder / place / f"{n}.jpg").write_bytes(picture(n))
        (folder / f"pages/{n}.html").write_text(f"<p>A dog, number {n}.</p><img src='{n}.jpg'>")
    questions = [{"question_id": n, "image_id": n, "question": asked} for n in TEN]
    dump(folder, "questions.json", {"questions": questions, "data_subtype": "val2014"})
    answers = [{"question_id": n, "answers": [{"answer": "dog"}, {"answer": "a dog"}]} for n in TEN]
    dump(folder, "answers.json", {"annotations": answers})
    for n in TEN:
        (folder / f"images/COCO_val2014_{n:012d}.jpg").write_bytes(picture(n))
    dump(folder, "gqa.json", {f"{n}": {"imageId": f"{n}", "question": asked, "answer": said} for n in TEN})
    dump(folder, "ocrvqa.json", {f"{n}": {"questions": [asked], "answers": [said], "split": 1} for n in TEN})
    own = {"question": asked, "answers": ["dog", "dog"]}
    dump(folder, "docvqa.json", {"data": [{"questionId": n, "image": f"{n}.jpg", **own} for n in TEN]})
    dump(folder, "textvqa.json", {"data": [{"question_id": n, "image_id": f"{n}", **own} for n in TEN]})
    dump(folder, "chartqa.json", [{"imgname": f"{n}.jpg", "query": asked, "label": "7"} for n in TEN])
    dvqa = [{"question_id": n, "image": f"{n}.jpg", "question": asked, "answer": said} for n in TEN]
    dump(folder, "dvqa.json", dvqa)
    turns = [{"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": said}]
    talks = [{"id": f"{n}", "image": f"{n}.jpg", "conversations": turns} for n in TEN]
    dump(folder, "llava.json", talks)
    lines(folder / "llava.jsonl", talks)
    lines(
        folder / "obelics.jsonl",
        [{"images": [f"{n}.jpg", None], "texts": [None, "A dog sits."]} for n in TEN],
    )
    info = [[{"image_name": f"{n}.jpg", "matched_text_index": 0}] for n in TEN]
    lines(folder / "mmc4.jsonl", [{"text_list": ["A dog sits."], "image_info": info[n]} for n in TEN])


@pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda recipe: "+".join(one["format"] for one in recipe["sources"])
)
def test_each_recipe_works(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one of ten rows is kept, and every annotation."""
    (tmp_path / "images").mkdir()
    for n in TEN:
        (tmp_path / f"images/{n}.jpg").write_bytes(picture(n))
    boxes(tmp_path)
    texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    build(recipe, tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for source in recipe["sources"]:
        assert manifest["funnel"][source["id"]]["kept"] == 10, source
        counted = manifest["annotations"][source["id"]]
        assert counted["kept"] >= 10, source
        assert counted["kept"] + sum(counted["lost"].values()) == counted["annotations"]
    assert verify(str(tmp_path / "out"), work=True) == []


def test_every_format_has_a_recipe() -> None:
    """The page shows a recipe for each dataset of the table, but for those of docs/dialogues.md."""
    shown = {one["format"] for recipe in RECIPES for one in recipe["sources"]}
    assert shown | DIALOGUES == DATASETS.keys()
