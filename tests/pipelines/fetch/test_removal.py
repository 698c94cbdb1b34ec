"""Removed rows leave what the fetch downloaded, and nothing is asked for again."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import vlcorpus
from pipelines import runs
from pipelines.engines.step import At, Json
from pipelines.phases.select.decide import Decide
from pipelines.progress import Reporter
from pipelines.recipe.load import load
from tests.pipelines.building import rows
from tests.pipelines.crawls import environment, ran
from tests.pipelines.fetch.fetching import PATIENCE, statuses
from tests.pipelines.fetch.hostile import HOST, Asked, Server, image, serving
from tests.pipelines.phases.test_removed import files, made, texts, written

WORDS = ("boat", "house", "river", "tower", "garden", "bridge", "window", "market")
FAILED, SMALL = 6, 7
"""A row whose host fails, so that it is worth another try, and one that falls by the sizes of its list."""

GONE = (3, FAILED, SMALL)


@dataclass(frozen=True)
class Case:
    """A recipe, its corpus, the list of rows that go, and the corpora with it: built with it, or given it later."""

    server: Server
    recipe: dict[str, Any]
    plain: Path
    gone: Path
    first: Path
    later: Path


async def broken(asked: Asked) -> None:
    await asked.answer(b"", "500 Broken")


def row(server: Server, number: int) -> dict[str, Any]:
    return {
        "url": server.url(f"/img/secret{number}/{number}"),
        "caption": f"A photograph of the {WORDS[number]} and a small garden, secret{number}",
        "width": 20 if number == SMALL else 256,
        "height": 224,
    }


def recipe_of(listed: Path) -> dict[str, Any]:
    settings = {**PATIENCE, "allow_addresses": [f"{HOST}/32"], "robots": False, "retries": 0, "shard_rows": 4}
    source = {"id": "web", "kind": "urls", "path": str(listed), "fetch": settings}
    return {
        "languages": ["en"],
        "rules": {"phash": False},
        "max_quarantine": 1,
        "sources": [source],
    }


@pytest.fixture(scope="module", params=["jsonl", "parquet"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """A case of a list that is copied as Parquet, and of one that is Parquet."""
    top = tmp_path_factory.mktemp("removal")
    with serving() as server:
        server.handlers[f"/img/secret{FAILED}/{FAILED}"] = broken
        told = [row(server, number) for number in range(len(WORDS))]
        listed = top / f"list.{request.param}"
        if request.param == "jsonl":
            listed.write_text("\n".join(map(json.dumps, told)))
        else:
            pq.write_table(pa.Table.from_pylist(told), listed)
        recipe = recipe_of(listed)
        plain = made(recipe, top / "plain")
        gone = written(top / "list.txt", "url", [told[number]["url"] for number in GONE])
        first = made(recipe, top / "first", gone)
        server.asked.clear()
        yield Case(
            server, recipe, plain, gone, first, made(recipe, shutil.copytree(plain, top / "later"), gone)
        )


def found(out: Path) -> set[int]:
    """The rows whose words are anywhere in a corpus."""
    return {n for n in range(len(WORDS)) for _, text in texts(out) if f"secret{n}" in text}


def test_no_text_of_a_removed_row_stays(case: Case, tmp_path: Path) -> None:
    """Nor does its image; nothing is downloaded for that, and the corpus is that of a build with the list."""
    assert found(case.plain) == {*range(len(WORDS))}
    assert found(case.later) == {*range(len(WORDS))} - {*GONE}
    tars = b"".join(path.read_bytes() for path in (case.later / "work/fetched").rglob("*.tar"))
    assert [image(n) in tars for n in range(FAILED)] == [n not in GONE for n in range(FAILED)]
    assert files(case.later) == files(case.first)
    again = made(case.recipe, shutil.copytree(case.later, tmp_path / "again"))
    assert {name for name, count in ran(again).items() if count} == set()
    assert files(again) == files(case.first)
    assert not case.server.asked


def test_statuses_of_removed_rows_stay(case: Case) -> None:
    """What became of their URLs is still known, and where the images of others lie."""
    kept = ("key", "row", "status", "sha256", "bytes", "offset", "size", "width", "height")
    before, after = (statuses(out / "work/fetched/web") for out in (case.plain, case.later))
    assert [[one[name] for name in kept] for one in before] == [[one[name] for name in kept] for one in after]
    assert [one["status"] for one in after][3:] == ["ok", "ok", "ok", "server_error", "dropped"]


def retried(case: Case, out: Path) -> None:
    options = runs.Options("inline", retry_failed=True)
    runs.run(load(case.recipe, {"out": str(out)}), "card", options, Reporter())


def opted_out(case: Case, out: Path, number: int = GONE[0]) -> None:
    """Another build, with a list of opt-outs that names one row."""
    recipe = json.loads(json.dumps(case.recipe))
    listed = written(out.parent / "out.txt", "url", [row(case.server, number)["url"]])
    recipe["sources"][0]["fetch"]["opt_out"] = [str(listed)]
    made(recipe, out)


def without(phase: str) -> Callable[[Case, Path], None]:
    def built(case: Case, out: Path) -> None:
        shutil.rmtree(out / "work" / "receipts" / phase, ignore_errors=phase == "lists")
        made(case.recipe, out)

    return built


@pytest.mark.parametrize(
    "change",
    [retried, opted_out, without("lists"), without("fetch"), without("measure")],
    ids=["retry", "opt-out", "lists", "fetch", "measure"],
)
def test_a_removed_row_is_not_fetched_again(
    change: Callable[[Case, Path], None], case: Case, tmp_path: Path
) -> None:
    """Whatever makes a phase run once more, its texts stay away and all decisions are as they were."""
    out = shutil.copytree(case.later, tmp_path / "out")
    change(case, out)
    assert found(out) == {*range(len(WORDS))} - {*GONE}
    assert rows(out, "decisions") == rows(case.first, "decisions")
    assert rows(out, "signals") == rows(case.first, "signals")
    assert not case.server.asked
    assert vlcorpus.Corpus.open(out).verify() == []


def test_a_raw_shard_that_is_written_anew(case: Case, tmp_path: Path) -> None:
    """Where another row of its shard goes from it, a removed row stays as it is, with what was measured of it."""
    out = shutil.copytree(case.later, tmp_path / "out")
    opted_out(case, out, 2)
    assert found(out) & {*GONE} == set()
    assert [one["status"] for one in statuses(out / "work/fetched/web")][2:4] == ["opted_out", "ok"]
    for folder in ("decisions", "signals"):
        then, now = rows(case.first, folder), rows(out, folder)
        assert [a["member"] for a, b in zip(then, now, strict=True) if a != b] == [then[2]["member"]]
    assert not case.server.asked


def test_a_removal_that_is_killed(case: Case, tmp_path: Path) -> None:
    """Killed at every file that it writes, and run again each time, it gives those bytes and asks for nothing."""
    out = shutil.copytree(case.plain, tmp_path / "out")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(case.recipe))
    options = ["--urls", str(case.gone), "--engine", "inline"]
    words = [sys.executable, "-m", "tests.killed", "remove", str(out), str(file), *options]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 8
    assert files(out) == files(case.first)
    assert not case.server.asked


def test_a_task_of_a_removal_that_is_done_twice(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task whose worker died after it took rows out finds other bytes than were measured; the corpus is the same."""
    real = Decide.run

    def twice(self: Decide, task: Json, at: At) -> Json:
        real(self, task, at)
        return real(self, task, at)

    monkeypatch.setattr(Decide, "run", twice)
    out = made(case.recipe, shutil.copytree(case.plain, tmp_path / "out"), case.gone)
    assert files(out) == files(case.first)
    assert not case.server.asked


@pytest.mark.parametrize("what", ["work/fetched", "work/fetched/web/status", "a tar", "work/receipts/fetch"])
def test_what_was_downloaded_is_lost(case: Case, tmp_path: Path, what: str) -> None:
    """A folder of raw shards, or a part of it, that is gone is downloaded again, and the corpus is as before."""
    out = shutil.copytree(case.plain, tmp_path / "out")
    if what == "a tar":
        min((out / "work/fetched").rglob("*.tar")).unlink()
    else:
        shutil.rmtree(out / what)
    made(case.recipe, out)
    assert bool(case.server.asked) == (what != "work/receipts/fetch")
    case.server.asked.clear()
    assert files(out) == files(case.plain)


def test_a_folder_of_a_persons_own_is_named(case: Case, tmp_path: Path) -> None:
    """A removal says in which folder of raw shards, that a person named, the removed rows stay."""
    recipe = json.loads(json.dumps(case.recipe))
    recipe["sources"][0]["fetch"]["raw"] = str(tmp_path / "raw")
    out = made(recipe, tmp_path / "out", case.gone)
    said = "".join(path.read_text() for path in (out / "work/log").glob("*.jsonl"))
    assert f"removed rows stay in {tmp_path / 'raw'} (fetch.raw), which is yours" in said
    case.server.asked.clear()
