"""Images beside the one that a recipe's `columns` name: they stop a source, or are told at the end of its run."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError
from tests.pipelines.building import build
from tests.pipelines.raw import add, picture


def recipe(folder: Path, **more: Any) -> dict[str, Any]:
    return {"sources": [{"id": "web", "path": str(folder), "columns": {"image": ["jpg"]}, **more}]}


def test_images_that_the_recipe_does_not_name_are_not_lost(tmp_path: Path) -> None:
    """Of records of two images the unnamed ones stop the source by `max_unused`; raised, the run names some."""
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "0.tar", "w") as tar:
        for number in range(11):
            add(tar, f"{number}.jpg", picture(number))
            add(tar, f"{number}.a.jpg", picture(100 + number))
            add(tar, f"{number}.txt", b"a quiet photograph of the sea")
    with pytest.raises(
        InputError, match=r"11 of the 22 images.*further images.*0\.a\.jpg.*raise the source's max_unused"
    ):
        build(recipe(tmp_path / "in"), tmp_path / "out", until="measure")
    results, heard = build(recipe(tmp_path / "in", max_unused=0.5), tmp_path / "out", until="measure")
    assert results["measure"]["web", "0"]["rows"] == 11
    assert any("11 further images of a record (11 images; 0: 0.a.jpg" in sentence for sentence in heard.said)
