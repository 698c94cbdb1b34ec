"""From a list of URLs to samples: one recipe fetches, builds and is verified, and every URL is accounted for."""

from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

import vlcorpus
from pipelines.audit import status
from pipelines.progress import Reporter
from pipelines.recipe.load import load
from pipelines.runs import Options, run
from tests.pipelines.fetch.fetching import PATIENCE, Row, statuses, write_list
from tests.pipelines.fetch.hostile import ENDPOINTS, HOST, Server

WORDS = ("boat", "house", "river", "tower", "garden", "bridge", "window", "market", "forest", "harbour")


def _rows(server: Server, count: int) -> list[Row | str | None]:
    """A list of which one URL in twenty is hostile; some rows fall by their columns."""
    hostile = [
        path for path, (_, status) in ENDPOINTS.items() if "|" not in status and not path.startswith("/later")
    ]
    rows: list[Row | str | None] = []
    for number in range(count):
        path = hostile[number // 20 % len(hostile)] if number % 20 == 7 else f"/img/{number}"
        caption = f"the old {WORDS[number % 10]} and the small {WORDS[number // 10 % 10]} in the morning, part {number}"
        width = 100 if number % 20 == 3 else 256
        rows.append(
            {
                "URL": server.url(path),
                "TEXT": caption,
                "WIDTH": width,
                "HEIGHT": 224,
                "similarity": number / count,
            }
        )
    return rows


def _recipe(listed: str, **settings: Any) -> dict[str, Any]:
    return {
        "languages": ["en"],
        "rules": {"phash": False},
        "max_quarantine": 1,
        "sources": [
            {
                "id": "web",
                "kind": "urls",
                "path": listed,
                "columns": {"extra": ["similarity"]},
                "rules": {"columns": {"similarity": {"min": 0.1}}},
                "fetch": {
                    **PATIENCE,
                    "list": "laion-2b-en",
                    "allow_addresses": [f"{HOST}/32"],
                    "shard_rows": 50,
                    "task_shards": 2,
                    **settings,
                },
            }
        ],
    }


def _check_chain(server: Server, folder: Path, count: int) -> dict[str, Any]:
    """Builds from a list; returns the recipe."""
    recipe = _recipe(write_list(folder / "list.parquet", _rows(server, count)), per_host=64)
    one = vlcorpus.build(recipe, out=folder / "one", engine="inline", progress=False)
    assert one.verify() == []
    assert status.read(str(folder / "one")).finished
    found = statuses(folder / "one/work/fetched/web")
    assert len(found) == count
    decisions = pq.read_table(folder / "one/work/decisions/web").to_pylist()
    assert [row["member"] for row in decisions] == [row["key"] for row in found]
    fell = Counter(row["decision"] if row["decision"] != "dropped" else row["reason"] for row in decisions)
    assert fell.total() == count
    for asked_for, decision in zip(found, decisions, strict=True):
        if asked_for["status"] == "dropped":
            assert decision["reason"] == asked_for["detail"]
        elif asked_for["status"] != "ok":
            assert decision["reason"] == f"fetch.{asked_for['status']}"
    assert min(fell["columns.similarity"], fell["min_side"]) > 0
    asked = {row["url"] for row in found if row["status"] != "dropped"} | {
        server.url("/img/5")
    }  # a redirect's end
    dropped = {row["url"] for row in found if row["status"] == "dropped"} - asked
    assert dropped.isdisjoint(map(server.url, server.asked))
    samples = datasets.load_dataset(str(folder / "one"), split="train", cache_dir=str(folder / "cache"))
    assert len(samples) == fell["kept"] > count // 2
    return recipe


def test_from_list_to_samples(server: Server, tmp_path: Path) -> None:
    """Fetch, build, verify and load_dataset give every URL its place; a changed threshold fetches what came to life."""
    recipe = _check_chain(server, tmp_path, 200)
    before = statuses(tmp_path / "one/work/fetched/web")
    server.asked.clear()
    recipe["sources"][0]["rules"] = {}
    loaded = load({**recipe, "out": str(tmp_path / "one")})
    run(loaded, "select", Options("inline"), Reporter(), dry=True)
    assert not server.asked, "a dry run downloads nothing"
    assert statuses(tmp_path / "one/work/fetched/web") == before
    vlcorpus.build(recipe, out=tmp_path / "one", engine="inline", progress=False)
    alive = {row["url"] for row in before if row["detail"] == "columns.similarity"}
    assert {server.url(path) for path in server.asked if path.startswith("/img/")} <= alive
    again = {server.url(path) for path in server.asked if path in ENDPOINTS} - alive
    assert not again - {server.url("/img/5")}


@pytest.mark.long
def test_from_a_long_list_to_samples(server: Server, tmp_path: Path) -> None:
    """The same with two thousand URLs, and the same manifest with four workers."""
    recipe = _check_chain(server, tmp_path, 2000)
    vlcorpus.build(recipe, out=tmp_path / "four", engine="local", workers=4, progress=False)
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "four/manifest.json").read_bytes()
