"""An outage stops a run before it takes anything from a corpus that is there; the same run goes on when it is over."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import vlcorpus
from pipelines.progress import Reporter
from pipelines.recipe.load import load
from pipelines.runs import Options, run
from schemas.errors import InputError
from tests.pipelines.fetch.fetching import QUICK, fetch, shards, statuses, write_list
from tests.pipelines.fetch.hostile import HOST, Server

NOBODY = "127.0.0.9"
PATIENT: dict[str, Any] = {"allow_addresses": ["127.0.0.0/8"], "retries": 0}


def _list(server: Server, folder: Path, rows: int = 20) -> tuple[str, dict[str, Any]]:
    """A list whose URLs are of two hosts, and the settings by which it is fetched."""
    server.names = {"a.test": [HOST], "b.test": [HOST]}
    urls = [server.url(f"/img/{number}", f"{'ab'[number % 2]}.test") for number in range(rows)]
    return write_list(folder / "list.parquet", urls), {**PATIENT, "resolvers": [server.resolver]}


def _outage(server: Server) -> dict[str, list[str]]:
    before, server.names = server.names, {name: [NOBODY] for name in server.names}
    return before


def _recipe(listed: str, **settings: Any) -> dict[str, Any]:
    source = {"id": "web", "kind": "urls", "path": listed, "captions": "none"}
    return {"sources": [{**source, "fetch": {**QUICK, **settings}}], "rules": {"phash": False}}


def _shards(out: Path) -> dict[str, bytes]:
    files = [path for path in (out / "shards").rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(files)}


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_raw_shard_in_an_outage(server: Server, tmp_path: Path, lost: int) -> None:
    """The run stops with a sentence and leaves the corpus; the same run makes it whole when the hosts are back."""
    listed, settings = _list(server, tmp_path)
    recipe, out = _recipe(listed, shard_rows=10, **settings), tmp_path / "out"
    vlcorpus.build(recipe, out=out, engine="inline", progress=False)
    raw = out / "work/fetched/web"
    before, fetched = _shards(out), shards(raw)
    assert before
    for path in sorted(raw.glob("*.tar"))[:lost]:
        path.unlink()
    names = _outage(server)
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"no host of its URLs answers: .* then run the same command again"
        ):
            vlcorpus.build(recipe, out=out, engine="inline", progress=False)
        assert _shards(out) == before
    server.names = names
    whole = vlcorpus.build(recipe, out=out, engine="inline", progress=False)
    assert whole.verify() == []
    assert _shards(out) == before
    assert shards(raw) == fetched


def test_a_first_fetch_of_few_hosts_in_an_outage(server: Server, tmp_path: Path) -> None:
    """Fewer hosts than `stop_after` stop a fetch as well, and leave no failure that a later run would take for one."""
    listed, settings = _list(server, tmp_path, 6)
    names = _outage(server)
    with pytest.raises(InputError, match="no host of its URLs answers"):
        fetch(tmp_path / "raw", listed, **settings)
    assert statuses(tmp_path / "raw") == []
    server.names = names
    assert {row["status"] for row in fetch(tmp_path / "raw", listed, **settings)} == {"ok"}


@pytest.mark.parametrize("stop_after", [2, 20])
def test_hosts_that_are_not_public_among_those_that_are_gone(
    server: Server, tmp_path: Path, stop_after: int
) -> None:
    """Where nobody may be asked, the sentence names the setting that admits these hosts before the network."""
    server.names = {"inside.test": ["10.0.0.1"]}
    hosts = (*["inside.test"] * 4, *(f"missing{number}.test" for number in range(2)))
    listed = write_list(tmp_path / "list.parquet", [server.url("/img/1", host) for host in hosts])
    with pytest.raises(InputError, match=r"are not public: .*--allow-address CIDR.*; else check the network"):
        fetch(
            tmp_path / "raw",
            listed,
            stop_after=stop_after,
            concurrency=1,
            **PATIENT | {"resolvers": [server.resolver]},
        )


@pytest.mark.parametrize(
    ("name", "text"),
    [("l.txt", ""), ("l.csv", "url,caption\n"), ("l.jsonl", ""), ("l.tsv", "url\tcaption\n")],
)
def test_lists_without_a_row(server: Server, tmp_path: Path, name: str, text: str) -> None:
    """They are an error that names the source, and what an earlier list left stays."""
    before = fetch(tmp_path / "raw", write_list(tmp_path / "l.parquet", [server.url("/img/1")]))
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"source input: its lists have no row .*{name}"):
        fetch(tmp_path / "raw", str(tmp_path / name))
    assert statuses(tmp_path / "raw") == before
    empty = write_list(tmp_path / "empty.parquet", [{"url": server.url("/img/1"), "caption": "a"}])
    pq.write_table(pq.read_table(empty).slice(0, 0), empty)
    with pytest.raises(InputError, match=r"source input: its lists have no row"):
        fetch(tmp_path / "raw", [empty, str(tmp_path / name)])


def test_one_host_that_is_gone_stops_nothing(server: Server, tmp_path: Path) -> None:
    """Its URLs fail with their status, and a sentence says how they are asked again."""
    listed, settings = _list(server, tmp_path, 6)
    server.names["b.test"] = [NOBODY]
    found = [row["status"] for row in fetch(tmp_path / "raw", listed, shard_rows=1, **settings)]
    assert found == ["ok", "connect_failed"] * 3


def test_failures_that_may_pass_name_the_remedy(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence counts them and names --retry-failed."""
    listed, settings = _list(server, tmp_path, 6)
    server.names["b.test"] = [NOBODY]
    vlcorpus.build(_recipe(listed, **settings), out=tmp_path / "out", engine="inline")
    assert (
        "3 of them may come later: fetch with --retry-failed asks for these again" in capsys.readouterr().err
    )


def test_a_corpus_that_was_empty_before(server: Server, tmp_path: Path) -> None:
    """A build that ends empty once more leaves a sound corpus, of which no shard is said to stay."""
    out = tmp_path / "out"
    for rows in (3, 6):
        listed, settings = _list(server, tmp_path, rows)
        recipe = _recipe(listed, **settings) | {"rules": {"min_side": {"pixels": 9999}}}
        with pytest.raises(
            InputError, match=rf"the corpus is empty: .* none of its {rows} rows is kept"
        ) as caught:
            vlcorpus.build(recipe, out=out, engine="inline", progress=False)
        assert "stay" not in str(caught.value)
        assert vlcorpus.Corpus.open(out).verify(work=True) == []


def test_a_corpus_of_which_no_row_would_stay(server: Server, tmp_path: Path) -> None:
    """Other rules, or hosts that break off every answer, leave the old shards as they are."""
    listed, settings = _list(server, tmp_path, 6)
    recipe, out = _recipe(listed, **settings), tmp_path / "out"
    vlcorpus.build(recipe, out=out, engine="inline", progress=False)
    before = _shards(out)
    with pytest.raises(InputError, match=r"the corpus is empty: .* the shards that were there stay"):
        vlcorpus.build(
            recipe | {"rules": {"min_side": {"pixels": 9999}}}, out=out, engine="inline", progress=False
        )
    assert _shards(out) == before
    vlcorpus.build(recipe, out=out, engine="inline", progress=False)
    (out / "work/fetched/web/list-00000.tar").unlink()
    server.down = True
    with pytest.raises(
        InputError, match=r"none of its 6 rows is kept \(6 dropped by fetch\..*that were there stay"
    ):
        vlcorpus.build(recipe, out=out, engine="inline", progress=False)
    assert _shards(out) == before
    server.down = False
    run(load({**recipe, "out": str(out)}), "fetch", Options("inline", retry_failed=True), Reporter())
    vlcorpus.build(recipe, out=out, engine="inline", progress=False)
    assert _shards(out) == before
    assert vlcorpus.Corpus.open(out).verify() == []
