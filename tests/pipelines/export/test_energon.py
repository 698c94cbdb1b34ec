"""An export for Megatron-Energon: the tars as they are, what Energon needs beside them, and what it reads."""

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import vlcorpus
from pipelines.export.table import TARGETS, export
from schemas.errors import InputError
from tests import needs
from tests.pipelines.building import build
from tests.pipelines.crawls import run_inline
from tests.pipelines.phases.test_evaluation import documents, noisy, sources_of

READER = Path(__file__).with_name("energon_reader.py")


def made(folder: Path, form: str) -> Path:
    """A corpus of pairs, annotations, an evaluation set, text and documents of several images."""
    folder.mkdir()
    sources: list[dict[str, Any]] = [*sources_of(folder).values()]
    sources.append({"id": "docs", **documents(folder / "docs", [noisy(30), noisy(31)], [noisy(32)])})
    lines = [{"text": f"A long line of text about the number {n}, and of nothing else."} for n in range(9)]
    (folder / "text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources.append({"id": "words", "kind": "text", "path": str(folder / "text.jsonl")})
    shards = {"samples": 4, "format": form}
    build({"sources": sources, "splits": {"val": 0.3}, "shards": shards}, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it as tars."""
    return made(tmp_path_factory.mktemp("energon") / "tars", "webdataset")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents as Parquet, the rest as tars."""
    return made(tmp_path_factory.mktemp("energon") / "mixed", "auto")


def starts(path: Path) -> list[int]:
    """Where each sample of a tar starts, and where the last one ends, as the tar itself has it."""
    found: list[int] = []
    last = ""
    with tarfile.open(path) as tar:
        for member in tar:
            key = member.name.partition(".")[0]
            found += [member.offset] if key != last else []
            last = key
        return [*found, tar.offset]


def test_the_tars_and_their_indexes(corpus: Path, tmp_path: Path) -> None:
    """Each tar is linked as it is, and its index says where samples start and the last one ends."""
    (said,) = export(str(corpus), "energon", str(tmp_path / "out"))
    tars = sorted((tmp_path / "out").rglob("*.tar"))
    assert [tar.relative_to(tmp_path / "out") for tar in tars] == sorted(
        tar.relative_to(corpus) for tar in corpus.rglob("shards/**/*.tar")
    )
    for tar in tars:
        assert tar.is_symlink()
        assert np.fromfile(f"{tar}.idx", "<u8").tolist() == starts(tar)
    assert f"in {len(tars)} tars, linked to the corpus" in said
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert all(tar.exists() for tar in moved.rglob("*.tar"))


def test_the_splits_and_counts(corpus: Path, tmp_path: Path) -> None:
    """Energon's files name every tar in the order of the manifest, with its samples; `eval` is its `test`."""
    export(str(corpus), "energon", str(tmp_path / "out"))
    meta = tmp_path / "out" / ".nv-meta"
    parts = yaml.safe_load((meta / "split.yaml").read_text())["split_parts"]
    assert parts.keys() == {"train", "val", "test"}
    assert all(name.startswith("shards/eval/") for name in parts["test"])
    counts = json.loads((meta / ".info.json").read_text())["shard_counts"]
    manifest = vlcorpus.Corpus.open(corpus).manifest
    assert counts == {name: manifest.outputs[name].rows for name in manifest.sample_files()}
    assert sorted(counts) == sorted(name for names in parts.values() for name in names)
    order = [f"{folder}/{name}.tar" for folder in sorted(manifest.shards) for name in manifest.shards[folder]]
    assert list(counts) == order


def test_copies_where_nothing_can_be_linked(corpus: Path, tmp_path: Path) -> None:
    """A corpus on an object store is copied, byte for byte, and nothing else is left in the folder."""
    store = fsspec.filesystem("memory")
    store.put(str(corpus), "/energon-corpus", recursive=True)
    try:
        (said,) = export("memory://energon-corpus", "energon", str(tmp_path / "copy"))
    finally:
        store.rm("/energon-corpus", recursive=True)
    export(str(corpus), "energon", str(tmp_path / "links"))
    found = [
        {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "copy", tmp_path / "links")
    ]
    assert found[0] == found[1]
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))
    assert said.endswith("copied")


def test_parquet_shards_are_left_out_and_said(mixed: Path, tmp_path: Path) -> None:
    """Energon reads no Parquet: the command says how many samples that leaves, and the remedy."""
    done = run_inline("export", mixed, "--to", "energon", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    left = sum(
        count.samples for count in vlcorpus.Corpus.open(mixed).manifest.samples if count.source == "docs"
    )
    assert f"{left} samples in 1 Parquet shards are left out" in done.stdout
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_what_is_refused(corpus: Path, tmp_path: Path) -> None:
    """A folder that is not empty or in the corpus, an unknown target, no corpus: one sentence each."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    for folder, to, out, problem in (
        (corpus, "energon", tmp_path / "full", "is not empty"),
        (corpus, "energon", tmp_path / "file", "is not empty"),
        (corpus, "energon", corpus / "export", "lies in the corpus"),
        (corpus, "energon", corpus, "lies in the corpus"),
        (corpus, "tfrecord", tmp_path / "out", f"give one of {', '.join(TARGETS)}"),
        (tmp_path, "energon", tmp_path / "out", "holds no corpus"),
    ):
        done = run_inline("export", folder, "--to", to, "--out", out)
        assert done.returncode == 1
        assert problem in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert vlcorpus.Corpus.open(corpus).verify() == []


@pytest.mark.parametrize("damage", ["no tar", "no index", "damaged", "short", "no tars"])
def test_what_is_damaged_is_named(damage: str, tmp_path: Path) -> None:
    """A tar or an index that is missing, an index that is damaged or of fewer rows, and a corpus of Parquet alone."""
    out = made(tmp_path / "made", "parquet" if damage == "no tars" else "webdataset")
    path = next(iter(sorted(out.rglob("shards/train/caption/web/*.parquet"))))
    match damage:
        case "no tar":
            path.with_suffix(".tar").unlink()
        case "no index":
            path.unlink()
        case "damaged":
            path.write_bytes(path.read_bytes()[:-20])
        case "short":
            pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    says = {
        "no tar": f"{path.with_suffix('.tar')} is missing",
        "no index": f"{path} is missing",
        "damaged": f"{path} is damaged",
        "short": f"{path} is damaged",
        "no tars": "has no tars, and Energon reads no Parquet",
    }
    with pytest.raises(InputError, match=says[damage]):
        export(str(out), "energon", str(tmp_path / "out"))
    assert not (tmp_path / "out" / ".nv-meta" / ".info.json").exists()


@pytest.mark.long
def test_energon_reads_every_sample(corpus: Path, tmp_path: Path) -> None:
    """Each sample of each split comes back with its fields and the bytes of its images; training decodes them."""
    python = needs.energon()
    export(str(corpus), "energon", str(tmp_path / "out"))
    found = {}
    for split in ("train", "val", "test"):
        words = [str(python), str(READER), str(tmp_path / "out"), split]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        assert len({key for key, *_ in lines}) == len(lines)
        found |= {key: (record, images) for key, record, images in lines}
    wanted = {one.sample.key: one for one in vlcorpus.Corpus.open(corpus).samples()}
    assert found.keys() == wanted.keys()
    for key, one in wanted.items():
        record, images = found[key]
        assert record == json.loads(one.sample.to_json())
        assert sorted(images.values()) == sorted(hashlib.sha256(data).hexdigest() for data in one.images)
