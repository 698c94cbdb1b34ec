"""A list that grows or changes costs the download of its new URLs alone, and ends as if it were fetched at once."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.fetch import lists
from pipelines.fetch.digests import Ranges, of_rows
from pipelines.fetch.lists import LIST, count
from pipelines.files import Store
from pipelines.sources import InputShard
from tests.pipelines.fetch.fetching import Row, fetch, shards, statuses, write_list
from tests.pipelines.fetch.hostile import HOST, HTML, Asked, Server
from tests.pipelines.fetch.test_resume import OPEN, SHARD, killed

SHAPE: dict[str, Any] = {"shard_rows": 10, "task_shards": 2}


def _row(server: Server, number: int, **more: object) -> Row:
    return {"url": server.url(f"/img/{number}"), "caption": f"a thing number {number}", **more}


def _rows(server: Server, *numbers: int) -> list[Row | str | None]:
    return [_row(server, number) for number in numbers]


def _images(server: Server) -> Counter[str]:
    return Counter({path: times for path, times in server.asked.items() if path.startswith("/img/")})


def _once(*numbers: int) -> Counter[str]:
    return Counter({f"/img/{number}": 1 for number in numbers})


def _stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tar")}


def _is_as_at_once(folder: Path, listed: str | Sequence[str], **settings: Any) -> bool:
    fetch(folder / "at-once", listed, **{**SHAPE, **settings})
    return shards(folder / "raw") == shards(folder / "at-once")


@pytest.mark.parametrize("before", [40, 37, 33, 20, 5])
def test_rows_that_are_appended(server: Server, tmp_path: Path, before: int) -> None:
    """Their URLs alone are asked for, whole raw shards are not written again, and all is as if fetched at once."""
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(before)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    stamps = _stamps(tmp_path / "raw")
    server.asked.clear()
    write_list(tmp_path / "list.parquet", _rows(server, *range(52)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    assert _images(server) == _once(*range(before, 52))
    whole = [f"list-{number:05d}.tar" for number in range(before // 10)]
    assert {name: _stamps(tmp_path / "raw")[name] for name in whole} == {name: stamps[name] for name in whole}
    assert _is_as_at_once(tmp_path, listed)


@pytest.mark.parametrize("suffix", ["csv", "txt", "jsonl"])
def test_lines_that_are_appended(server: Server, tmp_path: Path, suffix: str) -> None:
    """The same of lists that are no Parquet."""
    path = tmp_path / f"list.{suffix}"
    written: dict[str, Callable[[int], str]] = {
        "csv": lambda at: f"{server.url(f'/img/{at}')},thing {at}",
        "txt": lambda at: server.url(f"/img/{at}"),
        "jsonl": lambda at: f'{{"url": "{server.url(f"/img/{at}")}"}}',
    }
    for rows in (13, 25):
        server.asked.clear()
        lines = ["url,caption"] * (suffix == "csv") + list(map(written[suffix], range(rows)))
        path.write_text("\n".join(lines) + "\n")
        fetch(tmp_path / "raw", str(path), **SHAPE)
    assert _images(server) == _once(*range(13, 25))
    assert _is_as_at_once(tmp_path, str(path))


def test_a_file_that_is_added(server: Server, tmp_path: Path) -> None:
    """A new file of the folder, here before those that were there, costs its own URLs; none is asked for twice."""
    write_list(tmp_path / "lists/b.parquet", _rows(server, *range(15)))
    fetch(tmp_path / "raw", str(tmp_path / "lists"), **SHAPE)
    server.asked.clear()
    write_list(tmp_path / "lists/a.parquet", _rows(server, *range(10, 30)))
    fetch(tmp_path / "raw", str(tmp_path / "lists"), **SHAPE)
    assert _images(server) == _once(*range(15, 30))
    assert _is_as_at_once(tmp_path, str(tmp_path / "lists"))


def test_the_same_rows_in_another_file(server: Server, tmp_path: Path) -> None:
    """A file that is written anew with the same rows has no raw shard written again; so has one task less or more."""
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(35)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    server.asked.clear()
    stamps, data = _stamps(tmp_path / "raw"), Path(listed).read_bytes()
    pq.write_table(pq.read_table(listed), listed, compression="zstd", row_group_size=7)
    assert Path(listed).read_bytes() != data
    fetch(tmp_path / "raw", listed, **SHAPE)
    fetch(tmp_path / "raw", listed, shard_rows=10, task_shards=1)
    assert not _images(server)
    assert _stamps(tmp_path / "raw") == stamps


@pytest.mark.parametrize("resize", [None, {"max_side": 50}])
def test_rows_that_change(server: Server, tmp_path: Path, resize: dict[str, int] | None) -> None:
    """A caption that changes, rows that move or go and URLs that repeat old ones have nothing asked for again."""
    shape = {**SHAPE, "resize": resize} if resize else SHAPE
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(33)))
    fetch(tmp_path / "raw", listed, **shape)
    server.asked.clear()
    changed = [_row(server, 40), *(_row(server, at, caption=f"one more, {at}") for at in range(9))]
    rows = [*changed, *_rows(server, *range(12, 30)), *_rows(server, 3, 41, 3, 41, 15)]
    write_list(tmp_path / "list.parquet", rows)
    found = fetch(tmp_path / "raw", listed, **shape)
    assert _images(server) == _once(40, 41)
    assert [row["url"] for row in found] == [row["url"] for row in rows if isinstance(row, dict)]
    assert not (tmp_path / "raw/.unfinished").exists()
    assert _is_as_at_once(tmp_path, listed, **shape)


def test_a_list_of_another_name(server: Server, tmp_path: Path) -> None:
    """A list that is called otherwise has its shards called otherwise, and nothing asked for again."""
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(33)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    server.asked.clear()
    renamed = str(Path(listed).rename(tmp_path / "other.parquet"))
    found = fetch(tmp_path / "raw", renamed, **SHAPE)
    assert [row["status"] for row in found] == ["ok"] * 33
    assert not _images(server)
    assert _is_as_at_once(tmp_path, renamed)


def test_a_hash_that_changes(server: Server, tmp_path: Path) -> None:
    """An image of an earlier run is taken where it has the hash that the list has now, else the URL is asked for."""
    listed = write_list(tmp_path / "list.parquet", _rows(server, 1, 2, 3))
    first, second, _ = (row["sha256"] for row in fetch(tmp_path / "raw", listed, **SHAPE))
    server.asked.clear()
    rows: list[Row | str | None] = [
        _row(server, 1, sha256=first),
        _row(server, 2, sha256=first),
        _row(server, 3, sha256=None),
    ]
    found = fetch(tmp_path / "raw", write_list(tmp_path / "list.parquet", rows), **SHAPE)
    assert [(row["status"], row["verdict"]) for row in found] == [
        ("ok", "same"),
        ("ok", "unknown"),
        ("ok", None),
    ]
    assert second == found[1]["sha256"]
    assert _is_as_at_once(tmp_path, listed)


@pytest.mark.parametrize("task_shards", [1, 9])
def test_hashes_that_come_to_images_made_smaller(server: Server, tmp_path: Path, task_shards: int) -> None:
    """An image is held against a hash as it came: its URL is asked for once more, for all rows of all tasks."""
    shape: dict[str, Any] = {"shard_rows": 2, "task_shards": task_shards, "resize": {"max_side": 50}}
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(4)))
    digest = fetch(tmp_path / "raw", listed, **shape)[1]["sha256"]
    server.asked.clear()
    repeated: list[Row | str | None] = [
        _row(server, 1, sha256=digest, caption=f"one more, {at}") for at in range(6)
    ]
    rows = [_row(server, number, sha256=None) for number in range(4)]
    write_list(
        tmp_path / "list.parquet", [*rows, *repeated, *(_row(server, at, sha256=None) for at in (0, 1, 2))]
    )
    found = fetch(tmp_path / "raw", listed, **shape)
    assert _images(server) == _once(1)
    assert [row["verdict"] for row in found] == [None] * 4 + ["same"] * 6 + [None] * 3
    assert _is_as_at_once(tmp_path, listed, **shape)


def test_failures_of_old_rows(server: Server, tmp_path: Path) -> None:
    """What failed for good stays failed; a new row with a URL that failed for a passing reason has it asked for."""

    async def busy(asked: Asked) -> None:
        await asked.answer(HTML, "503 Busy")

    server.handlers["/img/1"] = busy
    rows = [*_rows(server, 0, 1), {"url": server.url("/gone"), "caption": "a thing"}]
    listed = write_list(tmp_path / "list.parquet", rows)
    fetch(tmp_path / "raw", listed, retries=0, **SHAPE)
    server.handlers.clear()
    server.asked.clear()
    write_list(tmp_path / "list.parquet", [*rows, *rows])
    found = [row["status"] for row in fetch(tmp_path / "raw", listed, retries=0, **SHAPE)]
    assert found == ["ok", "server_error", "not_found", "ok", "ok", "not_found"]
    assert (_images(server), server.asked["/gone"]) == (_once(1), 0)
    fetch(tmp_path / "raw", listed, again=True, retries=0, **SHAPE)
    assert _is_as_at_once(tmp_path, listed, retries=0)


def test_rows_that_are_appended_while_nobody_answers(server: Server, tmp_path: Path) -> None:
    """Old images stay, the new rows fail for a passing reason, and --retry-failed ends as if fetched at once."""
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(15)))
    patient = {**SHAPE, "resolvers": [server.resolver], "retries": 0, "allow_addresses": ["127.0.0.0/8"]}
    fetch(tmp_path / "raw", listed, **patient)
    server.names = {"a.test": ["127.0.0.9"]}
    rows = [*_rows(server, *range(15)), server.url("/img/20", "a.test"), server.url("/img/21", "a.test")]
    write_list(tmp_path / "list.parquet", rows)
    fetch(tmp_path / "raw", listed, **patient)
    assert [row["status"] for row in statuses(tmp_path / "raw")] == ["ok"] * 15 + ["connect_failed"] * 2
    server.names = {"a.test": [HOST]}
    fetch(tmp_path / "raw", listed, again=True, **patient)
    assert [row["status"] for row in statuses(tmp_path / "raw")] == ["ok"] * 17
    assert _images(server) == _once(*range(15), 20, 21)
    assert _is_as_at_once(tmp_path, listed, **patient)


def test_a_list_that_is_the_same_file_is_not_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with nothing to do opens no list."""
    listed = write_list(tmp_path / "list.parquet", _rows(server, *range(15)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    looked_at = []

    def noted(shard: InputShard, store: Store) -> int:
        looked_at.append(shard.path)
        return count(shard, store)

    monkeypatch.setattr(lists, "count", noted)
    fetch(tmp_path / "raw", listed, **SHAPE)
    assert not looked_at
    write_list(tmp_path / "list.parquet", _rows(server, *range(16)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    assert looked_at == [listed]


@pytest.mark.parametrize("seed", range(2))
def test_any_changes_in_turn(server: Server, tmp_path: Path, seed: int) -> None:
    """Whatever happens to lists from run to run, no URL is asked for twice, and the end is as if fetched at once."""
    drawn = random.Random(seed)
    lists = {"a": _rows(server, *range(12)), "b": _rows(server, *range(12, 20))}
    asked = {*range(20)}
    for step in range(7):
        name = drawn.choice([*lists])
        rows, place = lists[name], drawn.randrange(len(lists[name]) + 1)
        number = drawn.choice([drawn.randrange(20), 20 + step])
        match drawn.randrange(5):
            case 0:
                rows += _rows(server, *range(100 + 10 * step, 103 + 10 * step), number)
                asked |= {*range(100 + 10 * step, 103 + 10 * step), number}
            case 1:
                rows.insert(place, _row(server, number))
                asked.add(number)
            case 2:
                del rows[place : place + 3]
            case 3:
                lists[f"{name}{step}"] = lists.pop(name)
                (tmp_path / "lists" / f"{name}.parquet").unlink(missing_ok=True)
            case 4:
                lists[name] = [{**row, "caption": f"now {step}"} for row in rows if isinstance(row, dict)]
        for name, rows in lists.items():
            write_list(tmp_path / "lists" / f"{name}.parquet", rows or _rows(server, 0))
        fetch(tmp_path / "raw", str(tmp_path / "lists"), **SHAPE)
    assert not {path: times for path, times in _images(server).items() if times > 1 and path != "/img/0"}
    assert {*_images(server)} <= {f"/img/{number}" for number in asked | {0}}
    assert _is_as_at_once(tmp_path, str(tmp_path / "lists"))


def test_a_kill_while_new_rows_are_fetched(server: Server, tmp_path: Path) -> None:
    """A run over a list that grew, and that is killed, is gone on with: old URLs are not asked for."""
    urls = [server.url(f"/img/{number}") for number in range(45)]
    listed = write_list(tmp_path / "list.parquet", urls)
    fetch(tmp_path / "raw", listed, shard_rows=SHARD, task_shards=3)
    urls += [server.url(f"/img/{number % 150}") for number in range(40, 190)]
    again = killed(server, tmp_path, write_list(tmp_path / "list.parquet", urls), 1, "--engine", "inline")
    assert again <= OPEN
    fetch(tmp_path / "undisturbed", listed, shard_rows=SHARD, task_shards=3)
    assert shards(tmp_path / "raw") == shards(tmp_path / "undisturbed")


TEXTS = st.none() | st.text(max_size=3) | st.sampled_from([",", "1", "-", "", "1,1"])
ROWS = st.fixed_dictionaries(
    {
        "url": TEXTS,
        "caption": st.none() | st.binary(max_size=3) | st.sampled_from([b",", b"-", b"1"]),
        "width": st.none() | st.integers(1, 12),
        "height": st.none() | st.integers(1, 12),
        "sha256": TEXTS,
        "extra": TEXTS,
    }
)


@settings(max_examples=60)
@given(st.lists(ROWS, max_size=12), st.integers(1, 5), st.integers(1, 4))
def test_digests_are_of_rows_alone(rows: list[Row], size: int, cut: int) -> None:
    """Rows have one digest exactly where they are equal; those of ranges do not depend on how tables are cut."""
    table = pa.Table.from_pylist(rows, LIST)
    found = of_rows(table).tolist()
    assert [[a == b for b in rows] for a in rows] == [[a == b for b in found] for a in found]
    whole, parts = Ranges(size), Ranges(size)
    assert pa.concat_tables([LIST.empty_table(), *whole.passed([table])]) == table
    list(parts.passed(table.slice(first, cut) for first in range(0, len(rows), cut)))
    assert (whole.rows, parts.digests) == (len(rows), whole.digests)
    assert len(whole.digests) == -(-len(rows) // size)
    longer = Ranges(size)
    list(longer.passed([table, table]))
    assert longer.digests[: len(rows) // size] == whole.digests[: len(rows) // size]
