"""The plan of output shards."""

import io
import tarfile
from pathlib import Path

import pytest

from pipelines.audit.verify import verify
from pipelines.phases.cutting import Planned, Stratum
from pipelines.phases.shard import Gathered, form_of, shard_fingerprint, written_with
from pipelines.recipe.model import Recipe
from pipelines.writers.columns import SIGNALS
from schemas.errors import OutputError
from schemas.sample import Example, Image, ImageRef, Text, Turn
from tests.pipelines.building import build
from tests.pipelines.corpora import alone
from tests.pipelines.raw import OFF
from tests.pipelines.raw import shard as raw


def test_a_row_less_rewrites_its_own_shard(tmp_path: Path) -> None:
    """A build over the same input without one row writes one shard or two; all other files stay as they were."""

    def built() -> tuple[dict[Path, int], int]:
        sources = [{"id": "web", "path": str(tmp_path / "in")}]
        _, heard = build({"sources": sources, "rules": OFF, "shards": {"samples": 3}}, tmp_path / "out")
        files = (tmp_path / "out" / "shards").rglob("*.*")
        return {path: path.stat().st_mtime_ns for path in files}, heard.ran["shard"]

    raw(tmp_path / "in" / "0.tar", range(60))
    before, first = built()
    assert built() == (before, 0)
    with tarfile.open(tmp_path / "less.tar", "w") as less, tarfile.open(tmp_path / "in" / "0.tar") as whole:
        for member in whole:
            if not member.name.startswith("000000031"):
                less.addfile(member, whole.extractfile(member))
    (tmp_path / "less.tar").rename(tmp_path / "in" / "0.tar")
    after, again = built()
    assert first >= 12
    assert again <= 2
    assert len(after.items() - before.items()) <= 4
    assert verify(str(tmp_path / "out")) == []


def test_a_fingerprint_is_of_the_own_samples() -> None:
    """Another digest, form or resize changes what a shard depends on; how many samples a shard has does not."""
    recipe = Recipe.model_validate({"sources": [{"id": "web", "path": "x"}]})
    one, other = (Planned(Stratum("train", "caption", "web"), 1, (), digest) for digest in ("a", "b"))

    def mark(changed: Recipe, planned: Planned = one) -> str:
        return shard_fingerprint(written_with(changed), form_of(changed, "caption"), planned)

    marks = {mark(recipe), mark(recipe, other)}
    for changes in ({"shards": {"format": "parquet"}}, {"resize": {"max_side": 64}}):
        marks.add(mark(recipe.model_copy(update=settings(changes))))
    assert len(marks) == 4
    assert mark(recipe.model_copy(update=settings({"shards": {"samples": 7}}))) == mark(recipe)


def settings(changes: dict[str, dict[str, object]]) -> dict[str, object]:
    """The changed blocks of a recipe."""
    changed = Recipe.model_validate({"sources": [{"id": "web", "path": "x"}], **changes})
    return {name: getattr(changed, name) for name in changes}


def test_tasks_of_several_images_are_parquet_unless_the_recipe_says_otherwise() -> None:
    """By default only they are; a format in the recipe is that of every task."""
    forms = {}
    for name in ("auto", "webdataset", "parquet"):
        recipe = Recipe.model_validate({"sources": [{"id": "web", "path": "x"}], "shards": {"format": name}})
        forms[name] = [form_of(recipe, task) for task in ("caption", "text", "chat", "interleaved")]
    assert forms == {
        "auto": ["webdataset", "webdataset", "parquet", "parquet"],
        "webdataset": ["webdataset"] * 4,
        "parquet": ["parquet"] * 4,
    }


def test_several_images_need_a_task_for_them() -> None:
    """A sample of several images whose task has a column for one stops the phase: readers would lose the others."""
    image = Image("JPEG", 8, 8, "0" * 64)
    turn = Turn("document", (ImageRef(0), ImageRef(1), Text("x", True)))
    for task, fits in (("vqa", False), ("interleaved", True)):
        samples = Gathered(io.BytesIO())
        sample = alone(Example("k-0", task, "train", "en", "web", "", (image, image), (turn,)))
        row = dict.fromkeys(SIGNALS.names) | {"key": "k-0", "sample": sample.to_json()}
        samples.add(row, (samples.keep(b"1"), samples.keep(b"2")))
        if fits:
            assert [one.images for one in samples.items(None)] == [[b"1", b"2"]]
        else:
            with pytest.raises(OutputError, match=r"k-0 has 2 images.*give such samples the task chat or"):
                list(samples.items(None))
