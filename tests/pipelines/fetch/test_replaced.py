"""A run that is killed while it replaces raw shards loses none of their images, wherever it is."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.fetch.fetching import fetch, shards, write_list
from tests.pipelines.fetch.hostile import HTML, Asked, Server

SHAPE: dict[str, Any] = {"shard_rows": 10, "task_shards": 2, "retries": 0}

CHILD = """
import json, os, signal, sys
from pathlib import Path
from pipelines.files import Store
from tests.pipelines.fetch.fetching import fetch

folder, listed, again, deed, ending, shape = sys.argv[1:]
done = getattr(Store, deed)

def killed(store, *given, **more):
    if ending in given[1 if deed == "_place" else 0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done(store, *given, **more)

setattr(Store, deed, killed)
fetch(Path(folder), listed, again=bool(again), **json.loads(shape))
"""

MOMENTS = {
    "the tar is about to stand aside": ("move", "raw/list-00000.tar"),
    "the tar stands aside": ("move", "raw/status/list-00000.parquet"),
    "both files stand aside": ("_place", "raw/list-00000.tar"),
    "the new tar is there": ("_place", "raw/status/list-00000.parquet"),
    "both new files are there": ("remove_folder", "aside/list-00000"),
}


def _killed(folder: Path, listed: str, again: bool, deed: str, ending: str) -> None:
    given = [str(folder), listed, "again" * again, deed, ending, json.dumps(SHAPE)]
    assert subprocess.run([sys.executable, "-c", CHILD, *given]).returncode == -signal.SIGKILL


def _asked(server: Server) -> set[str]:
    return {path for path in server.asked if path.startswith("/img/")}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_while_a_shard_is_replaced(server: Server, tmp_path: Path, moment: str) -> None:
    """The next run asks for none of the URLs that had an answer, and leaves all as if fetched at once."""
    urls = [server.url(f"/img/{number}") for number in range(8)]
    listed = write_list(tmp_path / "list.parquet", urls)
    fetch(tmp_path / "raw", listed, **SHAPE)
    write_list(tmp_path / "list.parquet", [*urls, server.url("/img/8")])
    _killed(tmp_path / "raw", listed, False, *MOMENTS[moment])
    server.asked.clear()
    fetch(tmp_path / "raw", listed, **SHAPE)
    assert not _asked(server)
    fetch(tmp_path / "at-once", listed, **SHAPE)
    assert shards(tmp_path / "raw") == shards(tmp_path / "at-once")
    assert not (tmp_path / "raw/.unfinished").exists()


def test_a_kill_while_a_retry_replaces_a_shard(server: Server, tmp_path: Path) -> None:
    """Images that were stored stay, though their hosts are gone when the retry is gone on with."""

    async def busy(asked: Asked) -> None:
        await asked.answer(HTML, "503 Busy")

    urls = [server.url(f"/img/{number}") for number in range(8)]
    listed = write_list(tmp_path / "list.parquet", urls)
    server.handlers["/img/3"] = busy
    fetch(tmp_path / "raw", listed, **SHAPE)
    server.handlers.clear()
    _killed(tmp_path / "raw", listed, True, *MOMENTS["the new tar is there"])
    server.handlers |= {f"/img/{number}": busy for number in range(8)}
    server.asked.clear()
    found = fetch(tmp_path / "raw", listed, again=True, **SHAPE)
    assert [row["status"] for row in found] == ["ok"] * 8
    assert not _asked(server)


def test_a_kill_while_a_new_shard_is_written(server: Server, tmp_path: Path) -> None:
    """A tar without statuses is removed, though the list is called otherwise by then."""
    listed = Path(write_list(tmp_path / "list.parquet", [server.url(f"/img/{at}") for at in range(4)]))
    _killed(tmp_path / "raw", str(listed), False, *MOMENTS["the new tar is there"])
    assert (tmp_path / "raw/list-00000.tar").exists()
    (tmp_path / "raw/mine-00000.tar").write_bytes(b"of somebody else")
    fetch(tmp_path / "raw", str(listed.rename(tmp_path / "other.parquet")), **SHAPE)
    assert {path.name for path in (tmp_path / "raw").glob("*.tar")} == {"other-00000.tar", "mine-00000.tar"}
