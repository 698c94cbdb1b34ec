"""Whole builds: what is done again and what is not, what stops them, and what they leave."""

import fcntl
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipelines.audit.verify import verify
from tests.pipelines import building, raw
from tests.pipelines.crawls import (
    build_inline,
    decisions,
    demo,
    environment,
    funnel,
    litter,
    manifest,
    ran,
    run_inline,
)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards of twenty-five rows."""
    return demo(tmp_path_factory.mktemp("crawl") / "demo", 100, 25)


@pytest.fixture
def recipe(crawl: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe over the crawl, with changes; gives its path."""

    def write(path: Path = crawl, source: dict[str, Any] | None = None, **changes: Any) -> Path:
        web = {"id": "web", "path": str(path), "columns": "img2dataset", "max_quarantine": 0.5}
        record = {"languages": ["en", "zh"], "sources": [web | (source or {})], "splits": {"val": 0.2}}
        record |= {"shards": {"samples": 10}} | changes
        target = tmp_path / "recipe.yaml"
        target.write_text(yaml.safe_dump(record))
        return target

    return write


def test_one_threshold(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A changed threshold runs select, compose, shard and card; changed back, the first bytes come."""
    corpus = tmp_path / "corpus"
    build_inline(recipe(), "--out", corpus)
    first = manifest(corpus)
    assert ran(corpus)["measure"] == 4
    stamps = {path: path.stat().st_mtime_ns for path in (corpus / "work/signals").rglob("*.parquet")}

    build_inline(recipe(rules={"aspect_ratio": {"max": 1.4}}), "--out", corpus)
    did = ran(corpus)
    assert (did["measure"], did["dedup"], did.get("score", 0)) == (0, 0, 0)
    assert did["select"] == 4
    assert 0 < did["compose"] <= 4
    assert did["shard"] > 0
    assert did["card"] == 1
    assert manifest(corpus) != first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "no signal was written again"
    assert run_inline("verify", corpus).returncode == 0
    assert litter(corpus) == []

    build_inline(recipe(), "--out", corpus)
    assert ran(corpus)["measure"] == 0
    assert manifest(corpus) == first
    assert run_inline("verify", corpus).returncode == 0


def test_nothing_to_do(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A second build of the same recipe runs nothing and changes nothing."""
    corpus = tmp_path / "corpus"
    build_inline(recipe(), "--out", corpus)
    before = manifest(corpus)
    build_inline(recipe(), "--out", corpus)
    assert not any(ran(corpus).values())
    assert manifest(corpus) == before


def test_input_shards_come_and_go(recipe: Callable[..., Path], crawl: Path, tmp_path: Path) -> None:
    """A removed shard leaves nothing behind; when it comes back only it is measured, and the bytes are the old."""
    own = tmp_path / "own"
    shutil.copytree(crawl, own)
    corpus = tmp_path / "corpus"
    build_inline(recipe(own), "--out", corpus)
    first = manifest(corpus)
    (own / "00002.tar").rename(tmp_path / "away.tar")
    build_inline(recipe(own), "--out", corpus)
    assert ran(corpus)["measure"] == 0
    assert funnel(corpus)["rows"] == 75
    assert not list((corpus / "work").rglob("00002.parquet"))
    assert run_inline("verify", corpus).returncode == 0
    build_inline(recipe(own), "--out", tmp_path / "fresh")
    assert manifest(corpus) == manifest(tmp_path / "fresh")

    (tmp_path / "away.tar").rename(own / "00002.tar")
    build_inline(recipe(own), "--out", corpus)
    assert ran(corpus)["measure"] == 1
    assert manifest(corpus) == first
    assert run_inline("verify", corpus).returncode == 0


def test_a_shard_that_a_killed_run_left(recipe: Callable[..., Path], crawl: Path, tmp_path: Path) -> None:
    """Files of a shard without a receipt, as a kill may leave them, go when the shard has gone."""
    corpus = tmp_path / "corpus"
    build_inline(recipe(), "--out", corpus)
    for kind in ("signals", "clusters", "decisions", "samples"):
        folder = corpus / "work" / kind / "web"
        shutil.copy(folder / "00000.parquet", folder / "00009.parquet")
    build_inline(recipe(), "--out", corpus)
    assert not list((corpus / "work").rglob("00009.parquet"))
    assert run_inline("verify", corpus).returncode == 0


def test_a_sample_is_a_subset(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A sample takes whole rows by their key: a smaller one is a subset of a larger, with the same keys."""
    keys = {}
    for share in ("0.3", "0.7", "1"):
        build_inline(recipe(), "--out", tmp_path / share, "--sample", share)
        keys[share] = {(row["member"], row["shard"], row["key"]) for row in decisions(tmp_path / share)}
    assert set() < keys["0.3"] < keys["0.7"] < keys["1"]
    assert 10 < len(keys["0.3"]) < 50
    assert len(keys["1"]) == 100


def test_languages(crawl: Path, tmp_path: Path) -> None:
    """--language replaces the recipe's languages, given at once or one by one; none keeps all."""
    common = ("--max-quarantine", "0.5")
    build_inline(crawl, "--out", tmp_path / "a", *common, "--language", "zh")
    build_inline(crawl, "--out", tmp_path / "b", *common, "--language", "en,zh")
    build_inline(crawl, "--out", tmp_path / "c", *common, "--language", "zh", "--language", "en")
    kept = {
        name: {row["key"] for row in decisions(tmp_path / name) if row["decision"] == "kept"}
        for name in "abc"
    }
    assert set() < kept["a"] < kept["b"]
    assert kept["b"] == kept["c"]
    views = json.loads(manifest(tmp_path / "a"))["views"]
    assert {language for one in views for language in one["languages"]} <= {"zh", "und"}


def test_too_much_quarantine(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """More bad rows than allowed stop the build with a sentence; raising the limit measures nothing again."""
    corpus = tmp_path / "corpus"
    done = run_inline("build", recipe(source={"max_quarantine": 0.001}), "--out", corpus)
    sentence_only(done)
    assert "source web:" in done.stderr
    assert "raise --max-quarantine" in done.stderr
    assert not (corpus / "manifest.json").exists()
    build_inline(recipe(source={"max_quarantine": None}), "--out", corpus, "--max-quarantine", "1")
    assert ran(corpus)["measure"] == 0


def test_no_caption_at_all(tmp_path: Path) -> None:
    """A source without any caption stops with a sentence, unless the recipe says that it has none."""
    pictures = tmp_path / "in"
    pictures.mkdir()
    with tarfile.open(pictures / "0.tar", "w") as tar:
        for number in range(3):
            add(tar, f"{number}.jpg", photo(number))
    done = run_inline("build", pictures, "--out", tmp_path / "a")
    sentence_only(done)
    assert "source input: not one of its 3 rows has a caption" in done.stderr
    record = {"sources": [{"id": "bare", "path": str(pictures), "captions": "none"}]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(record))
    build_inline(tmp_path / "r.yaml", "--out", tmp_path / "b")
    assert funnel(tmp_path / "b")["rows"] == 3


def test_damaged_shards(recipe: Callable[..., Path], crawl: Path, tmp_path: Path) -> None:
    """A truncated tar: the others finish, the run ends non-zero and lists it, unless it is tolerated."""
    own = tmp_path / "own"
    shutil.copytree(crawl, own)
    whole = (own / "00001.tar").read_bytes()
    (own / "00001.tar").write_bytes(whole[: len(whole) // 2])
    (own / "00003.tar").write_bytes(random.Random(1).randbytes(5000))
    corpus = tmp_path / "corpus"
    done = run_inline("build", recipe(own), "--out", corpus)
    assert done.returncode == 1
    assert "2 damaged input files" in done.stderr
    assert "web/00001" in done.stderr
    assert "web/00003" in done.stderr
    assert "Traceback" not in done.stderr
    assert 50 < funnel(corpus)["rows"] < 75
    assert run_inline("verify", corpus).returncode == 0
    again = run_inline("build", recipe(own), "--out", corpus)
    assert again.returncode == 1
    build_inline(recipe(own), "--out", corpus, "--max-bad-shards", "2")
    assert [one["shard"] for one in json.loads(manifest(corpus))["bad_shards"]] == ["00001", "00003"]
    assert str(own).encode() not in manifest(corpus)


def test_a_replaced_picture(recipe: Callable[..., Path], crawl: Path, tmp_path: Path) -> None:
    """A shard that is replaced between measure and shard is noticed, not written into the corpus."""
    own = tmp_path / "own"
    shutil.copytree(crawl, own)
    corpus = tmp_path / "corpus"
    done = run_inline("compose", recipe(own), "--out", corpus)
    assert done.returncode == 0, done.stderr
    # same size, so that the run that goes on has to look at the bytes
    tar = own / "00001.tar"
    data = bytearray(tar.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50_000] = bytes(50_000)
    tar.write_bytes(bytes(data))
    done = run_inline("build", recipe(own), "--out", corpus)
    if done.returncode == 0:
        assert run_inline("verify", corpus).returncode == 0
        assert ran(corpus)["measure"] == 1
    else:
        sentence_only(done)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system with so much room, mounted at `folder`; skips where nobody may mount."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A disk that fills up stops the build with a sentence and nothing half-written; with room it goes on."""
    wanted = tmp_path / "wanted"
    build_inline(recipe(), "--out", wanted)
    used = sum(path.stat().st_size for path in wanted.rglob("*") if path.is_file())
    stopped = 0
    with small_disk(tmp_path / "disk", f"{used * 2}"):
        corpus = tmp_path / "disk" / "corpus"
        for share in (0.02, 0.1, 0.3, 0.6, 0.9):
            fill(tmp_path / "disk", int(used * share))
            done = run_inline("build", recipe(), "--out", corpus)
            (tmp_path / "disk" / "ballast").unlink()
            if done.returncode:
                stopped += 1
                sentence_only(done)
                assert "make room" in done.stderr
                assert not (corpus / "manifest.json").exists()
                for path in corpus.rglob("*.parquet"):
                    if "tmp" not in path.parts:
                        pq.ParquetFile(path).read()
        build_inline(recipe(), "--out", corpus)
        assert manifest(corpus) == manifest(wanted)
        assert litter(corpus) == []
    assert stopped >= 3


def fill(folder: Path, leave: int) -> None:
    """Fill the file system of a folder but for so many bytes."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "ballast").write_bytes(bytes(max(free - leave, 0)))


def test_a_limit_on_file_sizes(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A file that may not grow as large as it must is a sentence too."""
    options = f"--engine inline --out {tmp_path / 'corpus'}"
    command = f"ulimit -f 40; exec {sys.executable} -m pipelines build {recipe()} {options}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    sentence_only(done)
    assert "file too large" in done.stderr
    build_inline(recipe(), "--out", tmp_path / "corpus")


@pytest.mark.parametrize(
    "names", [["notes.txt"], ["work/notes.txt", "a.py"], ["manifest.json", "index.html"]]
)
def test_a_foreign_folder(crawl: Path, tmp_path: Path, names: list[str]) -> None:
    """A folder that holds something else is refused and left as it is, even if some names look like ours."""
    out = tmp_path / "project"
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("{}")
    done = run_inline("build", crawl, "--out", out)
    sentence_only(done)
    assert "holds files that are no corpus" in done.stderr
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == sorted(
        names
    )


def test_a_published_corpus_is_ours(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A corpus without its work folder may be built anew; what a person put beside it is removed, as is told."""
    corpus = tmp_path / "corpus"
    build_inline(recipe(), "--out", corpus)
    before = manifest(corpus)
    shutil.rmtree(corpus / "work")
    (corpus / "shards" / "stray.tar").touch()
    build_inline(recipe(), "--out", corpus)
    assert manifest(corpus) == before
    assert not (corpus / "shards" / "stray.tar").exists()


def test_what_a_build_removes(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """A build names the files that it removes, and leaves hidden names at the top and no empty folder."""
    corpus = tmp_path / "corpus"
    stay = [".git/HEAD", ".gitattributes", ".cache/huggingface/u"]
    go = ["LICENSE", "mine/deep/.hidden", "notes.txt", "shards/mine.txt", "x/1", "x/2"]
    for name in stay[:2]:
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text(name)
    build_inline(recipe(), "--out", corpus)
    for name in (*stay, *go):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text(name)
    said = build_inline(recipe(), "--out", corpus).stderr
    assert (
        "6 files that the manifest does not name, removed: LICENSE, mine/deep/.hidden, notes.txt, shards/mine.txt, "
        "x/1 and 1 more"
    ) in " ".join(said.split())
    assert [name for name in (*stay, *go) if (corpus / name).exists()] == stay
    assert not (corpus / "mine").exists()
    assert not (corpus / "x").exists()
    assert "does not name" not in build_inline(recipe(), "--out", corpus).stderr


def test_a_linked_folder_is_not_emptied(tmp_path: Path) -> None:
    """A link in a corpus to a folder elsewhere goes, and what lies there stays; a link to its own shards stays."""
    source = {"id": "web", "path": str(raw.shard(tmp_path / "in" / "0.tar", range(6)))}
    out, elsewhere, disk = tmp_path / "out", tmp_path / "elsewhere", tmp_path / "disk"
    building.build({"sources": [source]}, out)
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    (out / "linked").symlink_to(elsewhere)
    (out / "shards").rename(disk)
    (out / "shards").symlink_to(disk)
    (disk / "stray.tar").write_text("stray")
    building.build({"sources": [source]}, out)
    assert not os.path.lexists(out / "linked")
    assert (elsewhere / "mine.txt").read_text() == "mine"
    assert (out / "shards").is_symlink()
    assert not (disk / "stray.tar").exists()
    assert verify(str(out)) == []


def test_a_file_as_output(crawl: Path, tmp_path: Path) -> None:
    """An output that is a file, or lies below one, is a sentence."""
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        sentence_only(run_inline("build", crawl, "--out", out))


def test_a_folder_in_use(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one run holds the folder a second is refused with a sentence, and `status` says that it runs."""
    monkeypatch.setattr("pipelines.lock.PATIENCE", 0.0)
    corpus = tmp_path / "corpus"
    (corpus / "work" / "receipts").mkdir(parents=True)
    held = os.open(corpus / "work", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    done = run_inline("build", recipe(), "--out", corpus)
    sentence_only(done)
    assert "is in use by another run" in done.stderr
    assert json.loads(run_inline("status", corpus, "--json").stdout)["running"]
    os.close(held)
    monkeypatch.undo()
    build_inline(recipe(), "--out", corpus)
    assert not json.loads(run_inline("status", corpus, "--json").stdout)["running"]


def test_two_runs_at_once(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """Of two runs started together one ends well and the other is refused, or finds all done."""
    corpus = tmp_path / "corpus"
    options = ("--engine", "inline", "--out", str(corpus))
    command = [sys.executable, "-m", "pipelines", "build", str(recipe()), *options]
    runs = [
        subprocess.Popen(
            command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        for _ in range(2)
    ]
    ends = [(run.communicate(timeout=300)[1], run.returncode) for run in runs]
    assert 0 in [code for _, code in ends]
    for errors, code in ends:
        assert code == 0 or "is in use by another run" in errors
    assert run_inline("verify", corpus).returncode == 0
    build_inline(recipe(), "--out", tmp_path / "alone")
    assert manifest(corpus) == manifest(tmp_path / "alone")


def test_from_another_folder(crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are those of the folder where the command runs, for input and output alike."""
    shutil.copytree(crawl, tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    build_inline("in", "--out", "out", "--max-quarantine", "1")
    assert run_inline("verify", "out").returncode == 0
    assert str(tmp_path).encode() not in manifest(tmp_path / "out")


def test_no_path_or_host_in_the_output(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """Neither the manifest, nor the card, nor any shard tells where or by whom it was made."""
    corpus = tmp_path / "corpus"
    build_inline(recipe(), "--out", corpus)
    for path in corpus.rglob("*"):
        name = path.relative_to(corpus).as_posix()
        if path.is_file() and not name.startswith(("work/log", "run.json", "work/receipts")):
            body = path.read_bytes()
            assert str(tmp_path).encode() not in body, name


def sentence_only(done: "subprocess.CompletedProcess[str]") -> None:
    """It failed with one sentence and no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr


def photo(seed: int) -> bytes:
    """A noisy picture of common size."""
    out = io.BytesIO()
    noise = random.Random(seed).randbytes(300 * 240 * 3)
    Image.frombytes("RGB", (300, 240), noise).save(out, "JPEG")
    return out.getvalue()


def add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    tar.addfile(info, io.BytesIO(body))
