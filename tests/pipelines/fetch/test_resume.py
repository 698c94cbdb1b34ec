"""A fetch that was killed goes on, failures are asked again alone, and the shards are those of an undisturbed run."""

import io
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from filters.table import RuleSettings
from pipelines.audit import status
from pipelines.files import Store
from pipelines.progress import Lines, Reporter
from pipelines.recipe.load import for_lists
from pipelines.recipe.model import Recipe
from pipelines.runs import Options, run
from pipelines.show.terminal import Terminal
from schemas.errors import InputError, VlcorpusError
from tests.pipelines.fetch.fetching import QUICK, Row, fetch, shards, write_list
from tests.pipelines.fetch.hostile import HOST, HTML, Asked, Server
from vlcorpus import build

SHARD = 20
OPEN = 4


def _recipe(folder: Path, listed: str, concurrency: int) -> Path:
    settings = {
        **QUICK,
        "raw": str(folder / "raw"),
        "shard_rows": SHARD,
        "task_shards": 3,
        "concurrency": concurrency,
    }
    recipe = {
        "sources": [{"id": "web", "kind": "urls", "path": listed, "captions": "none", "fetch": settings}],
        "out": str(folder / "corpus"),
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def _images(server: Server) -> Counter[str]:
    return Counter({path: times for path, times in server.asked.items() if path.startswith("/img/")})


def killed(server: Server, folder: Path, listed: str, kills: int, *engine: str) -> int:
    """Fetches a list into folder/raw, killed at random moments; returns the requests beyond one a URL."""
    recipe = _recipe(folder, listed, OPEN)
    command = [sys.executable, "-m", "pipelines", "fetch", str(recipe), *engine]
    moments = random.Random(7)
    server.delay = 0.02
    count = len(set(pq.read_table(listed)["url"].to_pylist()))
    for _ in range(kills):
        before = len(_images(server))
        running = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        goal = before + moments.randrange(5, max(count // (kills + 1), 6))
        while running.poll() is None and len(_images(server)) < goal:
            signal.sigtimedwait([], 0.01)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    server.delay = 0
    found = _images(server)
    assert len(found) == count
    return found.total() - count


def _check_kills(server: Server, folder: Path, rows: int, kills: int, *engine: str) -> None:
    listed = write_list(folder / "list.parquet", [server.url(f"/img/{number}") for number in range(rows)])
    # each of two workers may have its open downloads under way
    assert killed(server, folder, listed, kills, *engine) <= kills * 2 * OPEN
    fetch(folder / "undisturbed", listed, shard_rows=SHARD, task_shards=3)
    assert shards(folder / "raw") == shards(folder / "undisturbed")


def test_killed_and_resumed(server: Server, tmp_path: Path) -> None:
    """A kill costs no more URLs again than were under way, and changes no byte."""
    _check_kills(server, tmp_path, 120, 2, "--engine", "inline")


@pytest.mark.long
def test_killed_twenty_times(server: Server, tmp_path: Path) -> None:
    """The same, killed twenty times."""
    _check_kills(server, tmp_path, 2000, 20, "--workers", "2")


def test_a_killed_fetch_says_how_far_it_came(server: Server, tmp_path: Path) -> None:
    """`status` counts the URLs that were asked for, their answers and images, until the next run begins."""
    listed = write_list(tmp_path / "list.parquet", [server.url(f"/img/{number}") for number in range(300)])
    recipe, server.delay = _recipe(tmp_path, listed, OPEN), 0.1
    command = [sys.executable, "-m", "pipelines", "fetch", str(recipe), "--engine", "inline"]
    running = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    out = str(tmp_path / "corpus")
    while not (Path(out) / "work").is_dir() or not status.read(out).fetching:
        assert running.poll() is None
        signal.sigtimedwait([], 0.1)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    found = status.read(out)
    (pulse,) = found.fetching.values()
    assert 0 < pulse.images == pulse.rows <= pulse.asked < 300
    shown = io.StringIO()
    status.show(found, Terminal(file=shown, width=200))
    assert (
        f", when its run was killed: {pulse.asked} URLs asked for, {pulse.rows} rows with" in shown.getvalue()
    )


def _down(numbers: range) -> dict[str, object]:
    async def busy(asked: Asked) -> None:
        await asked.answer(HTML, "503 Busy")

    return {f"/img/{number}": busy for number in numbers}


def test_failures_are_asked_again_alone(server: Server, tmp_path: Path) -> None:
    """--retry-failed asks for what failed for a passing reason, and leaves the shards of a run without failures."""
    urls = [server.url(f"/img/{number}") for number in range(60)] + [server.url("/gone/for/ever")]
    listed = write_list(tmp_path / "list.parquet", urls)
    server.handlers.update(_down(range(20, 30)))  # type: ignore[arg-type]
    rows = fetch(tmp_path / "raw", listed, shard_rows=10, retries=0)
    assert [row["status"] for row in rows[20:30]] == ["server_error"] * 10
    server.handlers.clear()
    server.asked.clear()
    assert fetch(tmp_path / "raw", listed, shard_rows=10, retries=0) == rows, (
        "without --retry-failed nothing is asked"
    )
    assert not server.asked
    fetch(tmp_path / "raw", listed, again=True, shard_rows=10, retries=0)
    log = max((tmp_path / "raw/work/log").glob("*.jsonl"), key=os.path.getmtime).read_text()
    assert "source input: asked again for 10 URLs" in log
    assert _images(server) == {f"/img/{number}": 1 for number in range(20, 30)}
    assert not server.asked["/gone/for/ever"]
    fetch(tmp_path / "whole", listed, shard_rows=10, retries=0)
    assert shards(tmp_path / "raw") == shards(tmp_path / "whole")


def test_workers_change_nothing(server: Server, tmp_path: Path) -> None:
    """One worker and several leave the same shards, whatever order answers come in."""
    listed = write_list(
        tmp_path / "list.parquet", [server.url(f"/img/{number % 70}") for number in range(100)]
    )
    shape = {"shard_rows": 10, "task_shards": 2}
    fetch(tmp_path / "one", listed, **shape)
    fetch(tmp_path / "two", listed, workers=2, **shape)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_no_network(server: Server, tmp_path: Path) -> None:
    """Where none of the first hosts can be reached the run stops at once, with a sentence, and asks no further."""
    rows: list[Row | str | None] = [f"http://missing{number}.test/a.jpg" for number in range(500)]
    with pytest.raises(InputError, match="none of the first 20 hosts can be reached: check the network"):
        fetch(
            tmp_path / "raw",
            write_list(tmp_path / "l.parquet", rows),
            resolvers=[server.resolver],
            concurrency=8,
        )


def test_a_proxy_that_is_down(server: Server, tmp_path: Path) -> None:
    """A proxy that makes no connection stops the run with a sentence."""
    listed = write_list(tmp_path / "l.parquet", [server.url("/img/1")])
    with pytest.raises(InputError, match="the proxy of the recipe"):
        fetch(tmp_path / "raw", listed, proxy="http://127.0.0.2:9")


def test_a_shorter_list_leaves_no_stale_shard(server: Server, tmp_path: Path) -> None:
    """What an earlier list left in the folder is gone when a shorter one was fetched."""
    urls = [server.url(f"/img/{number}") for number in range(30)]
    fetch(tmp_path / "raw", write_list(tmp_path / "list.parquet", urls), shard_rows=10)
    rows = fetch(tmp_path / "raw", write_list(tmp_path / "list.parquet", urls[:12]), shard_rows=10)
    assert [row["status"] for row in rows] == ["ok"] * 12
    assert sorted(path.name for path in (tmp_path / "raw").glob("*.tar")) == [
        "list-00000.tar",
        "list-00001.tar",
    ]


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines", "fetch", *words], capture_output=True, text=True
    )


def test_the_command(server: Server, tmp_path: Path) -> None:
    """`vlcorpus fetch` takes lists and a folder, says what came of them, and asks again where it is told to."""
    listed = write_list(tmp_path / "list.parquet", [server.url("/img/1"), server.url("/flaky")])
    words = (listed, "--out", str(tmp_path / "raw"), "--allow-address", f"{HOST}/32", "--engine", "inline")
    done = _run(*words, "--user-agent", "acme/1.0", "--deadline", "20")
    assert (done.returncode, "2 of 2 URLs gave an image (100.0 %)" in done.stderr) == (0, True)
    assert sorted(path.name for path in (tmp_path / "raw").glob("*.tar")) == ["list-00000.tar"]
    for words, said in (
        (("--list", "nosuch"), "error: --list: 'nosuch' is no list that is known; "),
        (("--allow-address", "foo"), "error: --allow-address: 'foo' is no network; "),
        (("--contact", "é"), "error: --contact: write one line of plain ASCII"),
    ):
        refused = _run(listed, "--out", str(tmp_path / "other"), *words)
        assert refused.returncode == 1
        assert refused.stderr.startswith(said)
    for words, said in (
        ((listed, "--out", str(tmp_path / "other"), "--deadline", "0"), "--deadline"),
        (("recipe.yaml", listed), "recipe.yaml: a recipe names its own lists: give it alone"),
    ):
        refused = _run(*words)
        assert (refused.returncode != 0, said in refused.stderr) == (True, True)
    refused = _run(listed)
    assert (refused.returncode, refused.stderr) == (1, "error: say where the raw shards go: give --out DIR\n")


def test_hosts_that_are_not_public(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence names what admits them; rows without a URL do not count as URLs."""
    listed = write_list(tmp_path / "list.parquet", [server.url("/img/1"), "http://10.0.0.1/a", None, None])
    recipe = for_lists([listed], str(tmp_path / "raw"), QUICK)
    run(recipe, "fetch", Options("inline"), Lines(sys.stderr))
    said = capsys.readouterr().err
    assert "1 of 2 URLs gave an image (50.0 %)" in said
    assert "the hosts of 1 URL are not public: where these are yours" in said
    assert "--allow-address CIDR" in said


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    """Two sources with one folder, an opt-out list of ids and settings of another kind are refused with a sentence."""
    write_list(tmp_path / "list.parquet", ["http://a.test/"])
    (tmp_path / "ids.txt").write_text("id\n5\n")
    source = {"kind": "urls", "path": str(tmp_path / "list.parquet"), "fetch": {"raw": "raw"}}
    with pytest.raises(
        VlcorpusError, match=r"2 sources have their raw shards in .*raw: give each a folder of its own"
    ):
        build({"sources": [{"id": "a", **source}, {"id": "b", **source}]}, out=tmp_path / "c", progress=False)
    with pytest.raises(VlcorpusError, match=r"the opt-out list .*ids\.txt must hold url, host or sha256"):
        fetch(tmp_path / "raw", str(tmp_path / "list.parquet"), opt_out=[str(tmp_path / "ids.txt")])
    (tmp_path / "bare").mkdir()
    for earlier in ("nosuch", "bare"):
        with pytest.raises(VlcorpusError, match=rf"fetch\.earlier: .*{earlier} holds no earlier fetch"):
            fetch(tmp_path / "raw", str(tmp_path / "list.parquet"), earlier=str(tmp_path / earlier))
    with pytest.raises(VlcorpusError, match="fetch is for kind: urls"):
        build({"sources": [{"id": "a", **source, "kind": "parquet"}]}, out=tmp_path / "c", progress=False)
    with pytest.raises(VlcorpusError, match="give either min_side or max_side"):
        fetch(tmp_path / "raw", str(tmp_path / "list.parquet"), resize={"min_side": 1, "max_side": 2})


def test_an_object_store(server: Server, tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """List, raw shards and corpus may lie on an object store; the shards are those of a local fetch."""
    listed = write_list(tmp_path / "list.parquet", [server.url(f"/img/{number}") for number in range(25)])
    fetch(tmp_path / "raw", listed, shard_rows=10)
    store = Store(s3_options)
    store.write_bytes("s3://bucket/lists/list.parquet", Path(listed).read_bytes(), str(tmp_path))
    settings = {**QUICK, "raw": "s3://bucket/raw", "shard_rows": 10}
    source = {
        "id": "web",
        "kind": "urls",
        "path": "s3://bucket/lists/list.parquet",
        "captions": "none",
        "fetch": settings,
    }
    off = {rule.name: False for rule in RuleSettings.table if rule.on and not rule.always}
    recipe = {
        "out": "s3://bucket/corpus",
        "storage_options": s3_options,
        "sources": [source | {"rules": off, "storage_options": s3_options}],
    }
    run(Recipe.model_validate(recipe), "fetch", Options("inline"), Reporter())
    for name, data in shards(tmp_path / "raw").items():
        if name.endswith(".tar"):
            assert store.read_bytes(f"s3://bucket/raw/{name}") == data
    assert len(store.list_files("s3://bucket/raw/status")) == 3
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(s3_options))
    given = (
        "--out",
        str(tmp_path / "cli"),
        "--storage-options",
        str(tmp_path / "options.yaml"),
        "--engine",
        "inline",
    )
    done = _run("s3://bucket/lists/list.parquet", *given, "--allow-address", f"{HOST}/32")
    assert (done.returncode, "25 of 25 URLs gave an image" in done.stderr) == (0, True)
