"""A made file of each format, or its files by part, from the pages that show each."""

import json
from pathlib import Path

from pipelines.datasets.table import DATASETS
from tests.docs import test_annotations as annotations
from tests.docs.test_dialogues import SECTIONS

Made = dict[str, dict[str, Path]]

FOLDERS = ("flickr30k", "pages")
"""Formats that are read from a folder alone."""


def made_files(folder: Path) -> Made:
    """Writes ten rows of each format below the folder; returns the files by format and part."""
    (folder / "images").mkdir(parents=True)
    annotations.boxes(folder)
    annotations.texts(folder)
    found: Made = {}
    sources = [source for recipe in annotations.RECIPES for source in recipe["sources"]]
    for source in sources:
        files = source.get("files") or {"records": source["path"]}
        found[source["format"]] = {part: folder / name for part, name in files.items()}
    found["grit"] = {"records": folder / "grit/coyo_0_snappy.parquet"}
    found["ai2d"] = {"records": folder / "questions/0.jpg.json"}
    found["ocr_labels"] = {"records": folder / "gt/gt_0.txt"}
    for _, record, recipe in SECTIONS:
        form = recipe.partition("format: ")[2].partition(",")[0]
        if form not in found:
            values = [json.loads(record.replace("0.jpg", f"{n}.jpg")) for n in annotations.TEN]
            path = folder / f"talk_{form}.json"
            path.write_text(json.dumps(values))
            found[form] = {"records": path}
    assert found.keys() == DATASETS.keys()
    return {form: files for form, files in found.items() if form not in FOLDERS}
