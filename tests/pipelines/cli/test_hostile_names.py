import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.crawls import demo, run_inline

EVIL = "a\x1b[2J\x1b]0;t\x07\u202egnp.exe\n error: b\r"
OBEYED = {"\x1b", "\x07", "\u202e", "\r", "\x85"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder whose shards have hostile names, one of them cut, and what building it gave."""
    folder = tmp_path_factory.mktemp("names")
    shards = demo(folder / "crawl", 40, 20)
    whole, cut = sorted(shards.glob("*.tar"))
    whole.rename(shards / f"{EVIL}1.tar")
    data = cut.read_bytes()
    cut.unlink()
    (shards / f"{EVIL}2.tar").write_bytes(data[: len(data) // 2 + 700])
    (shards / f"{EVIL}.tiff.exe").write_bytes(b"")
    out = folder / f"{EVIL}corpus"
    return out, run_inline("build", shards, "--out", out, "--max-quarantine", "1")


def test_a_build_of_hostile_names_shows_them_mended(built: tuple[Path, Any]) -> None:
    """Progress, funnel, sentence, log and card hold nothing of a name that a terminal would obey."""
    out, done = built
    assert done.returncode == 1
    assert "1 damaged input file " in done.stderr
    assert "\\u001b[2J" in done.stderr
    logs = [
        json.loads(line) for path in (out / "work/log").iterdir() for line in path.read_text().splitlines()
    ]
    texts = [
        done.stdout,
        done.stderr,
        (out / "README.md").read_text(),
        *(str(e.get("message")) for e in logs),
    ]
    for text in texts:
        assert not set(text) & OBEYED
    assert not [line for line in done.stderr.splitlines() if line.startswith(" error: b")]


@pytest.mark.parametrize("options", [("status",), ("status", "--json"), ("verify", "--work")])
def test_looking_at_it_shows_names_mended(built: tuple[Path, Any], options: tuple[str, ...]) -> None:
    """Status, as a table and as JSON that parses, and verify show hostile names mended."""
    out, _ = built
    done = run_inline(*options[:1], out, *options[1:])
    assert not set(done.stdout + done.stderr) & OBEYED
    if "--json" in options:
        assert EVIL in json.loads(done.stdout)["damaged"][0].replace("__", "/")


def test_a_page_shows_names_mended(built: tuple[Path, Any], tmp_path: Path) -> None:
    """A gallery of a shard with a hostile name holds nothing of it that turns or hides text."""
    out, _ = built
    shard = next(iter((out / "shards").rglob("*.tar")))
    evil = shard.rename(tmp_path / f"{EVIL}.tar")
    evil.with_suffix(".parquet").write_bytes(shard.with_suffix(".parquet").read_bytes())
    assert run_inline("inspect", evil, "--html", tmp_path / "page.html").returncode == 0
    assert run_inline("view", evil, "--out", tmp_path / "view.html").returncode == 0
    for page in ("page.html", "view.html"):
        assert not set((tmp_path / page).read_text()) & OBEYED
    done = run_inline("inspect", tmp_path / f"{EVIL}none.tar")
    assert done.returncode == 1
    assert not set(done.stdout + done.stderr) & OBEYED
