"""A build over a corpus that is there says how many of its shards changed, and counts each by its reason."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import vlcorpus
from pipelines.phases import changes
from pipelines.phases.changes import REASONS
from pipelines.progress import Reporter
from tests.pipelines.building import build, rows
from tests.pipelines.raw import picture

COUNT = 30
Rows = Sequence[tuple[bytes, str]]


def said(number: int) -> str:
    return f"A photograph of {number + 2} flowers in the garden of an old house"


def folder(place: Path, name: str, rows: Rows) -> None:
    """A pair folder of the source's: images with captions."""
    (place / name).mkdir(parents=True)
    lines = []
    for number, (image, caption) in enumerate(rows):
        (place / name / f"{number:03d}.jpg").write_bytes(image)
        lines.append(
            json.dumps({"file": f"{number:03d}.jpg", "caption": caption, "score": (number % 10) / 10})
        )
    (place / name / "data.jsonl").write_text("\n".join(lines))


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    """A recipe over thirty pairs."""
    folder(tmp_path / "in", "a", [(picture(n), said(n)) for n in range(COUNT)])
    web = {"id": "web", "path": str(tmp_path / "in"), "kind": "folder", "columns": {"extra": ["score"]}}
    return {"languages": ["en", "zh"], "sources": [web], "shards": {"samples": 4}, "splits": {"val": 0.5}}


def counted(recipe: dict[str, Any], out: Path) -> dict[str, int]:
    """How many shards changed for which reason, and under `all` how many in all, as the build says."""
    _, heard = build(recipe, out)
    sentences = [one for one in heard.said if "shards that were there" in one]
    if not sentences:
        return {}
    (sentence,) = sentences
    found = {
        name: int(count) for name, text in REASONS.items() for count in re.findall(rf"(\d+) {text}", sentence)
    }
    changed = re.search(r"there (\d+) changed", sentence)
    assert changed is not None
    assert sum(found.values()) == int(changed[1])
    return found


def test_nothing_is_said_where_nothing_changed(base: dict[str, Any], tmp_path: Path) -> None:
    """The first build, and one that has nothing to do, say nothing."""
    assert counted(base, tmp_path / "out") == {}
    assert counted(base, tmp_path / "out") == {}


def test_new_rows(base: dict[str, Any], tmp_path: Path) -> None:
    """Rows of a new input shard change the last shard of a split at most, which takes them in."""
    build(base, tmp_path / "out")
    folder(tmp_path / "in", "b", [(picture(100 + n), said(100 + n)) for n in range(6)])
    found = counted(base, tmp_path / "out")
    assert found.keys() <= {"new"}
    assert sum(found.values()) <= 2


def test_a_better_duplicate(base: dict[str, Any], tmp_path: Path) -> None:
    """A larger copy of an image wins against the old row, whose shard loses it."""
    build(base, tmp_path / "out")
    folder(tmp_path / "in", "b", [(picture(3, (512, 448)), said(3))])
    assert counted(base, tmp_path / "out")["duplicate"] == 1


def test_evaluation_protection(base: dict[str, Any], tmp_path: Path) -> None:
    """An evaluation set that is added takes rows out of two shards at most."""
    build(base, tmp_path / "out")
    folder(tmp_path, "bench", [(picture(3), said(300)), (picture(20), said(301))])
    bench = {"id": "bench", "role": "eval", "path": str(tmp_path / "bench"), "kind": "folder"}
    found = counted({**base, "sources": [*base["sources"], bench]}, tmp_path / "out")
    assert 1 <= found["eval"] <= 2


def test_a_computed_threshold(base: dict[str, Any], tmp_path: Path) -> None:
    """Better rows that are added raise the cut of `keep`, and old rows fall below it."""
    scored = {"clip_score": "score", "rules": {"clip": {"keep": 0.5}}}
    recipe = {**base, "sources": [base["sources"][0] | scored]}
    build(recipe, tmp_path / "out")
    folder(tmp_path / "in", "b", [(picture(100 + n), said(100 + n)) for n in range(10)])
    path = tmp_path / "in" / "b" / "data.jsonl"
    path.write_text(re.sub(r'"score": 0\.\d', '"score": 0.99', path.read_text()))
    assert counted(recipe, tmp_path / "out")["clip"] >= 1


def test_the_name_of_a_cluster(base: dict[str, Any], tmp_path: Path) -> None:
    """Captions in another language join the clusters of images, whose smallest key decides the split."""
    build(base, tmp_path / "out")
    folder(tmp_path / "in", "b", [(picture(n), f"花园里有{n}朵红色的花和一棵很高的树") for n in range(COUNT)])
    assert counted(base, tmp_path / "out")["split"] >= 1


def test_a_stricter_rule(base: dict[str, Any], tmp_path: Path) -> None:
    """What another rule drops is counted as such."""
    build(base, tmp_path / "out")
    strict = {**base, "rules": {"caption_length": {"min_chars": len(said(10))}}}
    assert counted(strict, tmp_path / "out")["rule"] >= 1


def test_rows_that_are_gone(base: dict[str, Any], tmp_path: Path) -> None:
    """What a source has no more is counted as such."""
    folder(tmp_path / "in", "c", [(picture(200), said(200))])
    build(base, tmp_path / "out")
    for path in (tmp_path / "in" / "c").iterdir():
        path.unlink()
    assert counted(base, tmp_path / "out")["gone"] == 1


class Said(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_a_list(base: dict[str, Any], tmp_path: Path) -> None:
    """What a list of removed rows takes is counted as such."""
    build(base, tmp_path / "out")
    keys = sorted(row["key"] for row in rows(tmp_path / "out", "decisions"))[:2]
    (tmp_path / "list.txt").write_text("\n".join(["key", *keys]))
    reporter = Said()
    vlcorpus.build(base, tmp_path / "out", "inline", progress=reporter, removed=str(tmp_path / "list.txt"))
    assert any(
        re.search(r"changed, [\d.]+% of their bytes: [12] lost rows that the list", one)
        for one in reporter.said
    )


def test_too_many_to_say(base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more shards change than are looked at, their number is said and no reason."""
    build(base, tmp_path / "out")
    monkeypatch.setattr(changes, "MOST", 1)
    _, heard = build({**base, "seed": 5}, tmp_path / "out")
    assert any("too many to say why" in one for one in heard.said)


def shard_files(out: Path) -> dict[str, bytes]:
    """The files below shards/ by their names."""
    top = out / "shards"
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["work", "tar", "cut", "index", "stray"])
def test_a_repair_changes_nothing(base: dict[str, Any], tmp_path: Path, damage: str) -> None:
    """Shards that are made again with the bytes that they had did not change; a file of another's is no shard."""
    build(base, tmp_path / "out")
    was = shard_files(tmp_path / "out")
    tar = min((tmp_path / "out" / "shards").rglob("*.tar"))
    if damage == "work":
        shutil.rmtree(tmp_path / "out" / "work")
    elif damage == "tar":
        tar.unlink()
    elif damage == "cut":
        tar.write_bytes(tar.read_bytes()[:1000])
    elif damage == "index":
        tar.with_suffix(".parquet").write_bytes(b"")
    else:
        tar.with_name("mine.txt").write_text("mine")
        tar.with_name("0000000000000001.parquet").write_bytes(b"PAR1")
    assert counted(base, tmp_path / "out") == {}
    assert shard_files(tmp_path / "out") == was


def test_a_repair_beside_a_change(base: dict[str, Any], tmp_path: Path) -> None:
    """Where rows come and all work is lost, only the shards with other bytes are counted."""
    build(base, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "work")
    folder(tmp_path / "in", "b", [(picture(100), said(100))])
    assert counted(base, tmp_path / "out").keys() <= {"new"}


def test_a_damaged_manifest(base: dict[str, Any], tmp_path: Path) -> None:
    """Without a manifest that can be read nobody knows what was there, and the build goes on."""
    build(base, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text("{")
    assert counted({**base, "seed": 5}, tmp_path / "out") == {}
