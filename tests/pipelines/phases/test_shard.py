"""The plan of output shards."""

import io
import random
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.verify import verify
from pipelines.phases.shard import Gathered, Planned, Run, Stratum, form_of, plan, repeats, shard_fingerprint
from pipelines.recipe.model import Recipe
from pipelines.writers.columns import SIGNALS, key_hash
from schemas.errors import OutputError
from schemas.sample import Example, Image, ImageRef, Text, Turn
from tests.pipelines.building import build
from tests.pipelines.corpora import alone
from tests.pipelines.raw import OFF
from tests.pipelines.raw import shard as raw

ONE = Stratum("train", "caption", "web")
counts_lists = st.lists(st.integers(0, 60), max_size=12)


def run(shard: int, numbers: Sequence[int], stratum: Stratum = ONE) -> Run:
    """The samples of these numbers in an input shard."""
    return Run(stratum, f"{shard:05d}", [f"key-{n}" for n in numbers], [f"digest-{n}" for n in numbers])


def runs(counts: Sequence[int]) -> list[Run]:
    """Input shards of so many samples, numbered through."""
    starts = [sum(counts[:at]) for at in range(len(counts))]
    return [
        run(at, range(start, start + count))
        for at, (start, count) in enumerate(zip(starts, counts, strict=True))
    ]


def count(one: Planned) -> int:
    return sum(part.stop - part.start for part in one.parts)


@given(counts_lists, st.integers(1, 30))
def test_every_sample_is_in_one_shard(counts: list[int], size: int) -> None:
    """The shards, laid end to end, are the input shards laid end to end: nothing twice, nothing lost."""
    found = [
        (part.shard, number)
        for one in plan(runs(counts), size)
        for part in one.parts
        for number in range(part.start, part.stop)
    ]
    assert found == [(one.shard, number) for one in runs(counts) for number in range(len(one.keys))]


@given(counts_lists, st.integers(1, 30))
def test_sizes_are_bounded(counts: list[int], size: int) -> None:
    """No shard but the last has fewer than a quarter of the samples asked for, none more than four times."""
    found = [count(one) for one in plan(runs(counts), size)]
    assert all(size <= 4 * samples for samples in found[:-1])
    assert all(0 < samples <= 4 * size for samples in found)


def test_sizes_are_met_on_average() -> None:
    """Over many shards the average is what is asked for, to a few percent."""
    for size in (1, 2, 10, 100):
        planned = plan(runs([1000] * 100), size)
        assert abs(100_000 / len(planned) / size - 1) < 0.08, size


def test_a_shard_is_named_by_its_first_sample() -> None:
    """The name is the first 16 hex digits of the BLAKE2b of the first sample's key."""
    first, *_ = plan(runs([40]), 10)
    assert first.name == "shards/train/caption/web/510c41f53ff9ac1f"
    assert first.first == key_hash("key-0")


def test_a_removed_sample_changes_its_own_shard() -> None:
    """Of 100,000 samples 100 are gone: some hundred shards of a thousand change, all others keep name and digest."""
    gone = set(random.Random(1).sample(range(100_000), 100))
    whole = [run(at, range(at * 1000, at * 1000 + 1000)) for at in range(100)]
    less = [run(at, [n for n in range(at * 1000, at * 1000 + 1000) if n not in gone]) for at in range(100)]
    before, after = ({(one.name, one.digest) for one in plan(given, 100)} for given in (whole, less))
    assert 900 < len(before) < 1100
    # 95 on average if each sample lay in a shard of its own, and a few more where a shard ended with one
    assert len(after - before) <= 115
    assert len(before - after) <= 115


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


def test_input_that_comes_after_leaves_shards_alone() -> None:
    """Input shards added behind change the last shard of the stratum alone."""
    before, after = plan(runs([500] * 4), 50), plan(runs([500] * 6), 50)
    assert after[: len(before) - 1] == before[:-1]


def test_input_shards_that_are_cut_anew_change_nothing_written() -> None:
    """The same samples in other input shards give shards of the same names and digests."""
    shapes = ([100, 100], [1, 199], [200])
    found = [[(one.name, one.digest) for one in plan(runs(shape), 20)] for shape in shapes]
    assert found[0] == found[1] == found[2]


def test_strata_are_planned_apart() -> None:
    """Each (split, task, source) has shards of its own, in the order of strata, however their runs alternate."""
    other = Stratum("eval", "caption", "web")
    mixed = [run(0, range(20)), run(0, range(20, 25), other), run(1, range(30, 50))]
    found = plan(mixed, 10)
    assert found == plan([mixed[1]], 10) + plan([mixed[0], mixed[2]], 10)
    assert {one.stratum for one in found} == {ONE, other}


def test_a_fingerprint_is_of_the_own_samples() -> None:
    """Another sample, form or resize changes what a shard depends on; how many samples a shard has does not."""
    recipe = Recipe.model_validate({"sources": [{"id": "web", "path": "x"}]})
    one, other = plan(runs([4]), 10)[0], plan([run(0, [0, 1, 2, 9])], 10)[0]
    assert one.name == other.name
    marks = {shard_fingerprint(recipe, one), shard_fingerprint(recipe, other)}
    for changes in ({"shards": {"format": "parquet"}}, {"resize": {"max_side": 64}}):
        marks.add(shard_fingerprint(recipe.model_copy(update=settings(changes)), one))
    assert len(marks) == 4
    wider = recipe.model_copy(update=settings({"shards": {"samples": 7}}))
    assert shard_fingerprint(wider, one) == shard_fingerprint(recipe, one)


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


@given(st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), max_size=6), st.integers(1, 12))
def test_a_key_of_several_input_shards_is_one_sample(numbers: list[list[int]], size: int) -> None:
    """Of samples with one key the first stays in its place; the others join it in the same output shard."""
    given_ = [run(at, own) for at, own in enumerate(numbers)]
    planned = plan(given_, size, repeats(lambda: given_))
    keys = {one.shard: one.keys for one in given_}
    own, joining = [], []
    for one in planned:
        mine = {
            key for part in one.parts if not part.joins for key in keys[part.shard][part.start : part.stop]
        }
        for part in one.parts:
            (joining if part.joins else own).extend(keys[part.shard][part.start : part.stop])
            assert set(keys[part.shard][part.start : part.stop]) <= mine
    every = [key for one in given_ for key in one.keys]
    assert own == list(dict.fromkeys(every))
    assert Counter(own) + Counter(joining) == Counter(every)
