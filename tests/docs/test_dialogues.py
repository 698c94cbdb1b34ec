"""docs/dialogues.md does what it says: each recipe reads ten records like the one above it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from pipelines.datasets.table import DATASETS
from tests.pipelines.building import build, rows
from tests.pipelines.sources.test_annotations import folder

PAGE = (Path(__file__).parents[2] / "docs" / "dialogues.md").read_text()
SECTIONS = re.findall(r"^## (.*?)\n.*?```json\n(.*?)```\n\n```yaml\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)

SHOWN = {yaml.safe_load(recipe)["sources"][0]["format"] for *_, recipe in SECTIONS}


@pytest.mark.parametrize(("title", "record", "recipe"), SECTIONS, ids=[title for title, *_ in SECTIONS])
def test_the_recipe_reads_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, record: str, recipe: str
) -> None:
    """Ten records, each of its own image, are ten kept rows."""
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "images", 10)
    records = [json.loads(record.replace("0.jpg", f"{number}.jpg")) for number in range(10)]
    Path("talk.json").write_text("".join(json.dumps(one) + "\n" for one in records))
    build(yaml.safe_load(recipe), tmp_path / "out")
    assert [(row["decision"], row["detail"]) for row in rows(tmp_path / "out", "decisions")] == [
        ("kept", None)
    ] * 10


def test_every_format_of_dialogues_has_a_recipe() -> None:
    """No format whose views are dialogues is left out."""
    assert {name for name, one in DATASETS.items() if one.tasks == ("chat",)} <= SHOWN
