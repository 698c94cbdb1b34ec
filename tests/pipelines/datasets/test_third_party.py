"""Datasets of others: one that an installed package gives, and one that is a line of the table."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets import table
from pipelines.datasets.dataset import Dataset, Made
from pipelines.datasets.drafts import NamedImage, caption_draft, named
from pipelines.datasets.records import entries
from pipelines.init.survey import survey
from pipelines.recipe.load import load
from pipelines.recipe.model import Recipe
from pipelines.recipe.parse import parse
from schemas.errors import InputError, RecipeError
from tests.packages import install, use
from tests.pipelines.building import build, rows
from tests.pipelines.phases.test_ground import samples
from tests.pipelines.sources.test_annotations import folder, lines, reasons

MODULE = '''
"""Totals of scanned receipts."""

from pipelines.datasets.dataset import Dataset
from pipelines.datasets.drafts import NamedImage, named, vqa_draft
from pipelines.datasets.reasons import Refused
from pipelines.datasets.records import lines


def make(value):
    if value["total"] is None:
        raise Refused("unanswered", "a receipt without a total")
    return [vqa_draft(NamedImage(named(value["scan"])), "What is the total?", value["total"])], []


RECEIPTS = Dataset(
    "totals.jsonl: scan, total", "a receipt", ("vqa",), make, lines,
    recognised=lambda seen: seen.fields >= {"scan", "total"},
)
'''
POINTS = "[vlcorpus.datasets]\nreceipts = acme_receipts:RECEIPTS\n"


def receipts(path: Path, text: str = MODULE, points: str = POINTS) -> Path:
    """A package with a dataset."""
    return install(path, "acme-receipts", "2.1", {"acme_receipts.py": text}, points)


@pytest.fixture
def totals(tmp_path: Path) -> Path:
    """Six receipts, one without a total, one without its image."""
    folder(tmp_path / "images", 5)
    told = [{"scan": f"{number}.jpg", "total": None if number == 2 else number} for number in range(6)]
    return lines(tmp_path / "images" / "totals.jsonl", told)


def recipe(path: Path, form: str = "receipts") -> dict[str, Any]:
    """A recipe of one source of that format."""
    source = {
        "id": "made",
        "kind": "annotations",
        "format": form,
        "path": str(path),
        "images": str(path.parent),
    }
    return {"sources": [source], "max_quarantine": 1}


def test_a_package_gives_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: Path) -> None:
    """It is built in the caller's process and by workers, to equal bytes; its refusals are in the ledger."""
    use(monkeypatch, receipts(tmp_path / "site"))
    build(recipe(totals), tmp_path / "inline")
    build(recipe(totals), tmp_path / "local", workers=2)
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in ("inline", "local")]
    assert manifests[0] == manifests[1]
    assert reasons(tmp_path / "inline") == {
        **dict.fromkeys("0134", "kept"),
        "2": "unanswered",
        "5": "missing_image",
    }
    assert sorted(one.text for one in samples(tmp_path / "inline", "vqa"))[0] == "What is the total?0"
    (plugin,) = json.loads(manifests[0])["plugins"]
    assert (plugin["group"], plugin["name"]) == ("vlcorpus.datasets", "receipts")
    assert (plugin["package"], plugin["version"]) == ("acme-receipts", "2.1")


def test_another_source_of_the_package_builds_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: Path
) -> None:
    """The package's source is part of the recipe's digest and of what signals depend on."""
    use(monkeypatch, receipts(tmp_path / "a"))
    before = load(recipe(totals)).digest()
    build(recipe(totals), tmp_path / "out")
    assert build(recipe(totals), tmp_path / "out")[1].ran["measure"] == 0
    use(monkeypatch, receipts(tmp_path / "b", MODULE.replace("What is the total?", "How much?")))
    assert load(recipe(totals)).digest() != before
    assert build(recipe(totals), tmp_path / "out")[1].ran["measure"] == 1
    assert {one.text[:-1] for one in samples(tmp_path / "out", "vqa")} == {"How much?"}


def test_a_recipe_whose_package_is_not_here_is_one_sentence(totals: Path) -> None:
    """File, line, the nearest name, and which packages give datasets."""
    text = json.dumps(recipe(totals, "recipts"), indent=0)
    sentence = (
        r"r\.yaml:6: sources\.0\.format: 'recipts' is unknown here; .*entry point in vlcorpus\.datasets"
    )
    with pytest.raises(RecipeError, match=sentence):
        parse(text, "r.yaml")
    with pytest.raises(RecipeError, match=r"did you mean docvqa\? known are grounding, "):
        parse(json.dumps(recipe(totals, "docvqs")), "r.yaml")


@pytest.mark.parametrize(
    ("text", "points", "sentence"),
    [
        (
            "1 / 0\n",
            POINTS,
            "sources.0.format: 'receipts' of the package .* cannot be imported: ZeroDivision",
        ),
        (
            MODULE.replace('("vqa",)', '("vqaa",)'),
            POINTS,
            "cannot be imported: ValueError: there is no task vqaa",
        ),
        (MODULE.replace("make, lines,", "make,"), POINTS, "ValueError: a dataset has either records"),
        (MODULE, "[vlcorpus.datasets]\nreceipts = acme_receipts:make\n", "is a function, not a .*Dataset"),
    ],
)
def test_a_broken_package_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: Path, text: str, points: str, sentence: str
) -> None:
    """What is wrong with a dataset is said when the recipe is read, at the key that names it."""
    use(monkeypatch, receipts(tmp_path / "site", text, points))
    with pytest.raises(RecipeError, match=sentence):
        load(recipe(totals))


def test_a_package_with_a_name_of_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: Path
) -> None:
    """Our own dataset is neither replaced nor used beside another of its name."""
    use(monkeypatch, receipts(tmp_path / "site", points=POINTS.replace("receipts =", "grit =")))
    with pytest.raises(RecipeError, match=r"acme-receipts 2\.1 gives 'grit' .* a name of ours: uninstall it"):
        load(recipe(totals, "grit"))


def test_samples_of_an_unknown_task_stop_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: Path
) -> None:
    """A dataset whose samples no task would take is not silently empty."""
    use(monkeypatch, receipts(tmp_path / "site", MODULE.replace("], []", "._replace(task='sums')], []")))
    with pytest.raises(InputError, match="record '0' became samples of the unknown task sums"):
        build(recipe(totals), tmp_path / "out")


def test_init_recognises_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: Path) -> None:
    """`vlcorpus init` asks datasets of packages too."""
    use(monkeypatch, receipts(tmp_path / "site"))
    (found,) = survey([str(totals)])
    assert found.annotations == "receipts"


def tag(value: Any) -> Made:
    """A file's one caption: its tag."""
    return [caption_draft(NamedImage(named(value["photo"])), value["tag"])], []


def test_a_dataset_is_one_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in the table is all that a recipe, a build, the ledger and the card need."""
    tags = Dataset("tags.json", "a tag", ("caption",), tag, entries("tags", ids=("photo",)))
    monkeypatch.setitem(table.DATASETS, "tags", tags)
    images = folder(tmp_path / "images", 2)
    path = images / "tags.json"
    path.write_text(
        json.dumps({"tags": [{"photo": "0.jpg", "tag": "a red barn"}, {"photo": "1.jpg", "tag": " "}]})
    )
    told = recipe(path, "tags")
    build(told, tmp_path / "out")
    assert reasons(tmp_path / "out") == {"0.jpg": "kept", "1.jpg": "empty_caption"}
    assert [one.text for one in samples(tmp_path / "out", "caption")] == ["a red barn"]
    assert Recipe.model_validate(told).plugins == ()
    assert {row["source"] for row in rows(tmp_path / "out", "signals")} == {"made"}
