"""A URL that stands often in a list is downloaded once, whatever tasks its rows are in and how often it is killed."""

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.table import RuleSettings
from pipelines.fetch.lists import LIST
from pipelines.fetch.raw import Raw
from pipelines.fetch.repeated import LEFT, among, candidates, list_of, planned, raw_of, save, saved
from pipelines.layout import Layout
from pipelines.parquet import read_table
from pipelines.progress import Reporter
from pipelines.recipe.model import Recipe
from pipelines.runs import Options, run
from tests.pipelines.fetch.fetching import QUICK, Row, fetch, shards, statuses, write_list
from tests.pipelines.fetch.hostile import HTML, Asked, Server
from tests.pipelines.fetch.test_resume import OPEN, SHARD, killed

SHAPE = {"shard_rows": 10, "task_shards": 1}


def _rows(server: Server, count: int, urls: int) -> list[Row | str | None]:
    drawn = random.Random(3)
    return [server.url(f"/img/{drawn.randrange(urls)}") for _ in range(count)]


def _asked(server: Server) -> Counter[str]:
    return Counter({path: times for path, times in server.asked.items() if path.startswith("/img/")})


def test_a_url_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    """N distinct URLs cost N requests over all tasks and lists; every row has its image and its own caption."""
    rows = _rows(server, 80, 20)
    listed = [write_list(tmp_path / f"{part}.parquet", rows[part * 40 :][:40]) for part in range(2)]
    found = fetch(tmp_path / "raw", listed, **SHAPE)
    assert [row["url"] for row in found] == rows
    assert {row["status"] for row in found} == {"ok"}
    assert _asked(server) == Counter(str(row).removeprefix(server.url("")) for row in set(rows))
    assert not (tmp_path / "raw/.unfinished").exists()
    fetch(tmp_path / "at-once", listed, shard_rows=10, task_shards=12)
    assert shards(tmp_path / "raw") == shards(tmp_path / "at-once")


def test_urls_that_differ_in_their_spelling_are_one_request(server: Server, tmp_path: Path) -> None:
    """No host sees a fragment, nor the case of the scheme: one request, in one task or in several."""
    urls = [server.url(f"/img/{at % 2}{end}") for end in ("", "#a", " ", "#b?c#d") for at in range(2)]
    urls[2:4] = [url.replace("http:", "HttP:") for url in urls[2:4]]
    for task_shards in (1, 8):
        server.asked.clear()
        folder = tmp_path / str(task_shards)
        found = fetch(folder, write_list(tmp_path / "l.parquet", urls), shard_rows=1, task_shards=task_shards)
        assert [(row["url"], row["status"]) for row in found] == [(url, "ok") for url in urls]
        assert _asked(server) == {"/img/0": 1, "/img/1": 1}
    assert shards(tmp_path / "1") == shards(tmp_path / "8")


def test_failures_and_sizes_are_shared(server: Server, tmp_path: Path) -> None:
    """Rows that share a URL share its failure; each is held against the hash that its own row of the list has."""
    good, gone = server.url("/img/1"), server.url("/gone")
    (first, *_) = fetch(tmp_path / "one", write_list(tmp_path / "one.parquet", [good]))
    rows: list[Row | str | None] = [
        {"url": url, "caption": "a", "width": 500, "height": 400, "sha256": digest}
        for digest in (first["sha256"], "0" * 64)
        for url in (good, gone)
    ]
    listed = write_list(tmp_path / "list.parquet", rows)
    server.asked.clear()
    shape = {"shard_rows": 1, "task_shards": 1, "resize": {"max_side": 50}}
    found = fetch(tmp_path / "raw", listed, **shape)
    assert server.asked["/img/1"] == server.asked["/gone"] == 1
    assert [row["status"] for row in found] == ["ok", "not_found"] * 2
    assert [row["verdict"] for row in found[::2]] == ["same", "unknown"]
    assert [(row["width"], row["stored_width"]) for row in found[::2]] == [(256, 50)] * 2
    assert [row["width"] for row in found[1::2]] == [500] * 2
    assert [row["code"] for row in found] == [200, 410] * 2
    fetch(tmp_path / "at-once", listed, **{**shape, "task_shards": 9})
    assert shards(tmp_path / "raw") == shards(tmp_path / "at-once")


def test_rows_that_rules_drop_share_nothing(server: Server, tmp_path: Path) -> None:
    """A URL that one row alone is to be asked for is left to its task; one whose rows all fall is not asked for."""
    widths = (300, 10, 10, 10, 300, 300)
    rows: list[Row | str | None] = [
        {"url": server.url(f"/img/{at % 3}"), "caption": "x", "width": width, "height": 300}
        for at, width in enumerate(widths)
    ]
    off = {rule.name: False for rule in RuleSettings.table if rule.on and not rule.always}
    fetched = {**QUICK, "shard_rows": 1, "task_shards": 1, "raw": str(tmp_path / "raw")}
    source = {"id": "a", "kind": "urls", "path": write_list(tmp_path / "l.parquet", rows), "fetch": fetched}
    recipe = {"sources": [source], "rules": {**off, "min_side": {"pixels": 200}}, "out": str(tmp_path / "c")}
    run(Recipe.model_validate(recipe), "fetch", Options("inline"), Reporter())
    assert [row["status"] for row in statuses(tmp_path / "raw")] == [
        "dropped" if width == 10 else "ok" for width in widths
    ]
    assert _asked(server) == {f"/img/{at}": 1 for at in range(3)}


def test_a_retry_asks_once_for_a_url_that_tasks_share(server: Server, tmp_path: Path) -> None:
    """--retry-failed asks once for a shared URL that failed for a passing reason, and for no other."""

    async def busy(asked: Asked) -> None:
        await asked.answer(HTML, "503 Busy")

    rows = _rows(server, 60, 10)
    listed = write_list(tmp_path / "list.parquet", rows)
    server.handlers["/img/3"] = busy
    found = fetch(tmp_path / "raw", listed, retries=0, **SHAPE)
    assert {row["status"] for row in found if row["url"] == server.url("/img/3")} == {"server_error"}
    server.handlers.clear()
    server.asked.clear()
    fetch(tmp_path / "raw", listed, again=True, retries=0, **SHAPE)
    assert _asked(server) == {"/img/3": 1}
    fetch(tmp_path / "whole", listed, **SHAPE, retries=0)
    assert shards(tmp_path / "raw") == shards(tmp_path / "whole")


def test_kills_ask_again_for_what_was_under_way(server: Server, tmp_path: Path) -> None:
    """A run that is killed goes on with its plan: a kill costs no more URLs again than were under way."""
    rows = _rows(server, 120, 40)
    listed = write_list(tmp_path / "list.parquet", rows)
    again = killed(server, tmp_path, listed, 1, "--engine", "inline")
    assert len(_asked(server)) == len(set(rows))
    assert again <= OPEN
    fetch(tmp_path / "undisturbed", listed, shard_rows=SHARD, task_shards=3)
    assert shards(tmp_path / "raw") == shards(tmp_path / "undisturbed")


URLS = st.lists(st.lists(st.none() | st.sampled_from("abcdefgh"), max_size=6), max_size=5)


@settings(max_examples=25)
@given(URLS, URLS, st.integers(1, 4))
def test_what_tasks_share_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    tasks: list[list[str | None]],
    left: list[list[str | None]],
    size: int,
) -> None:
    """The parts hold each URL of several tasks once, in its first order, then those that earlier runs answered.

    A task is given the parts with its URLs.
    """
    tables = [pa.Table.from_pylist([{"url": url} for url in urls], LIST) for urls in tasks]
    answered = [pa.table({"url": pa.array([url for url in urls if url], pa.string())}) for urls in left]
    first = dict.fromkeys(url for urls in tasks for url in urls if url)
    old = [url for url in first if any(url in urls for urls in left)]
    several = [url for url in first if url not in old and sum(url in urls for urls in tasks) > 1]
    sought = candidates([*((LEFT, table) for table in answered), *enumerate(tables)])
    assert [table.filter(among(table, sought))["url"].to_pylist() for table in tables] == [
        [url for url in urls if url in [*several, *old]] for urls in tasks
    ]
    folder = str(tmp_path_factory.mktemp("raw"))
    raw = raw_of(Raw(Layout(folder), folder))
    asked = ((at, table.filter(among(table, sought))["url"]) for at, table in enumerate(tables))
    plan = planned(raw, asked, ((f"s{at}", table["url"]) for at, table in enumerate(answered)), size)
    parts = [read_table(raw.layout, list_of(raw, part))["url"].to_pylist() for part in plan.parts]
    downloaded = [urls for part, urls in zip(plan.parts, parts, strict=True) if not part.left]
    taken = [(part, urls) for part, urls in zip(plan.parts, parts, strict=True) if part.left]
    assert [url for urls in downloaded for url in urls] == several
    assert sorted(url for _, urls in taken for url in urls) == sorted(old)
    assert all(any(url in left[int(name[1:])] for name in part.left) for part, urls in taken for url in urls)
    assert [len(part) for part in parts] == [part.rows for part in plan.parts]
    assert all(0 < len(part) <= size for part in parts)
    for at, urls in enumerate(tasks):
        assert plan.of(at) == [
            part for part, held in zip(plan.parts, parts, strict=True) if set(held) & set(urls)
        ]
    save(raw, plan, "mark")
    assert (saved(raw, "mark"), saved(raw, "other")) == (plan, None)
