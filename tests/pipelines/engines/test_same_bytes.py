"""The same corpus on every engine, with any number of workers, wherever it lies: the same bytes."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import vlcorpus
from pipelines.files import Store
from pipelines.runs import EngineName, Options
from tests.pipelines.corpora import picture
from tests.pipelines.crawls import build, decisions, demo, funnel, litter, manifest, real
from tests.pipelines.engines.contract import QUIET
from tests.pipelines.raw import OFF, tied

PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
ENGINES = {
    "local": Options(EngineName.local, workers=4),
    "ray": Options(EngineName.ray),
    "beam_in_memory": Options(EngineName.beam, workers=2),
    "beam_processes": Options(EngineName.beam, workers=2, runner=PROCESSES),
}
WAYS = [
    "local",
    pytest.param("ray", marks=pytest.mark.xdist_group("ray")),
    "beam_in_memory",
    # a Python with Beam for each worker of each step: minutes
    pytest.param("beam_processes", marks=pytest.mark.long),
]


pytestmark = QUIET


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The demo crawl, rows that stay by their share, and, where there is real data, some real pairs."""
    folder = tmp_path_factory.mktemp("input")
    shares = {"keep": 0.6, "languages": {"zh": {"keep": 0.5}}}
    sources = [
        {"id": "demo", "path": str(demo(folder / "demo", 100, 25)), "columns": "img2dataset"},
        tied(folder, "shares", (17, 6, 13), 0) | {"rules": {"clip": shares, **OFF}},
    ]
    try:
        data = request.getfixturevalue("test_data")
    except pytest.skip.Exception:
        data = None
    found = real(folder / "real", data, 60, "--per-shard", "20") if data else None
    if found is not None:
        sources.append({"id": "real", "path": str(found)})
    record = {
        "languages": ["en", "zh"],
        "sources": sources,
        "max_quarantine": 0.5,
        "splits": {"val": 0.1},
        "shards": {"samples": 20},
        "resize": {"max_side": 512},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(record))
    return path


def made(recipe: Path, out: Path | str, engine: str | Options = "inline", **settings: Any) -> vlcorpus.Corpus:
    """The recipe's corpus, made in this process without a word."""
    return vlcorpus.build(recipe, out, engine, progress=False, **settings)


@pytest.fixture(scope="module")
def inline(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that all others are held against."""
    corpus = tmp_path_factory.mktemp("corpus") / "inline"
    found = made(recipe, corpus)
    assert len(list(corpus.glob("shards/*/*/*/*.tar"))) > 4
    counts = funnel(corpus)
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["quarantined"] >= 136
    shares = found.funnel()["shares"]
    assert (shares.rows, shares.kept) == (36, 20)
    assert found.verify() == []
    return corpus


def check(corpus: Path, wanted: Path) -> None:
    """Equal manifests, therefore equal digests of every file; and the files are what it says."""
    assert manifest(corpus) == manifest(wanted)
    assert vlcorpus.Corpus.open(corpus).verify() == []
    assert litter(corpus) == []
    assert decisions(corpus) == decisions(wanted)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
def test_every_engine(
    recipe: Path, inline: Path, tmp_path: Path, way: str, request: pytest.FixtureRequest
) -> None:
    """Inline, local with four workers, Ray on three nodes, Beam in memory and in processes agree."""
    options = ENGINES[way]
    if way == "ray":
        options = Options(EngineName.ray, address=request.getfixturevalue("ray_cluster").address)
    made(recipe, tmp_path / way, options)
    check(tmp_path / way, inline)


def test_another_folder_and_order(recipe: Path, inline: Path, tmp_path: Path) -> None:
    """Neither the folder of the input, nor the order in which it is listed, nor a second run changes a byte."""
    record = yaml.safe_load(recipe.read_text())
    for source in record["sources"]:
        moved = tmp_path / "moved" / source["id"]
        shutil.copytree(source["path"], moved)
        # by name, last first; what lies beside a tar still belongs to it
        shards = list(moved.glob("*.tar")) or moved.glob("*.parquet")
        source["path"] = sorted(map(str, shards), reverse=True)
    shuffled = tmp_path / "shuffled.yaml"
    shuffled.write_text(yaml.safe_dump(record))
    corpus = tmp_path / "corpus"
    made(shuffled, corpus)
    check(corpus, inline)
    made(shuffled, corpus)
    check(corpus, inline)


def test_an_object_store(recipe: Path, inline: Path, s3_options: dict[str, Any]) -> None:
    """Written to s3:// the corpus has the same manifest and the same files."""
    made(recipe, "s3://bucket/same/corpus", storage_options=s3_options)
    store = Store(s3_options)
    assert store.read_bytes("s3://bucket/same/corpus/manifest.json") == manifest(inline)
    names = {info.name for info in store.list_files("s3://bucket/same/corpus/shards")}
    assert names == {
        path.relative_to(inline / "shards").as_posix()
        for path in (inline / "shards").rglob("*")
        if path.is_file()
    }
    for name in names:
        body = store.read_bytes(f"s3://bucket/same/corpus/shards/{name}")
        assert body == (inline / "shards" / name).read_bytes()
    left = [info.name for info in store.list_files("s3://bucket/same/corpus/work")]
    assert not [name for name in left if name.startswith(("tmp", "exchange"))]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A recipe over two shards with three pictures at which the decoder misbehaves, and their members."""
    folder = tmp_path_factory.mktemp("poison")
    marks = {(0, 3): b"POISON-ABORT", (0, 17): b"POISON-SPIN", (1, 0): b"POISON-EAT"}
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number in range(20):
                data = picture(shard * 20 + number) + marks.get((shard, number), b"")
                for suffix, body in (("jpg", data), ("txt", f"a picture of the number {number}".encode())):
                    info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))
    record = {
        "sources": [{"id": "web", "path": str(folder), "kind": "webdataset"}],
        "rules": {"min_side": "off", "blank": "off", "phash": "off", "language": "off"},
        "max_quarantine": 0.5,
        "resources": {"row_cpu_seconds": 1, "memory_gb": 1.5},
    }
    text = yaml.safe_dump(record).replace("'off'", "off")
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml", {"000003", "000017", "000000"}


@pytest.fixture(scope="module")
def one_worker_poisoned(poisoned: tuple[Path, set[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that all others are held against."""
    corpus = tmp_path_factory.mktemp("poisoned") / "one"
    build(poisoned[0], "--out", corpus, "--workers", "1", poisoned=True)
    return corpus


POISONED: dict[str, tuple[str, ...]] = {
    "local": ("--workers", "4"),
    "ray": ("--engine", "ray", "--workers", "2"),
    "beam_in_memory": ("--engine", "beam", "--workers", "2"),
    "beam_processes": ("--engine", "beam", "--workers", "2", "--", *PROCESSES),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "way",
    ["local", *(pytest.param(way, marks=pytest.mark.long) for way in POISONED if way != "local")],
)
def test_poison(poisoned: tuple[Path, set[str]], one_worker_poisoned: Path, tmp_path: Path, way: str) -> None:
    """Exactly the rows that abort, spin and eat memory are quarantined, on all engines, in equal manifests.

    Each engine's own tests say so of its workers (contract.blames_rows); here it is a whole build.
    """
    recipe, members = poisoned
    corpus = tmp_path / way
    build(recipe, "--out", corpus, *POISONED[way], poisoned=True)
    bad = {
        (d["shard"], d["member"]): d["reason"] for d in decisions(corpus) if d["decision"] == "quarantined"
    }
    assert bad == {
        ("00000", "000003"): "crash",
        ("00000", "000017"): "deadline",
        ("00001", "000000"): "out_of_memory",
    }
    assert {member for _, member in bad} == members
    assert funnel(corpus)["quarantined"] == 3
    check(corpus, one_worker_poisoned)


def test_verdicts_are_replayed(
    poisoned: tuple[Path, set[str]], one_worker_poisoned: Path, tmp_path: Path
) -> None:
    """Another machine, whose decoder is sound, gives the same bytes for the verdicts of the first; inline too."""
    recipe, _ = poisoned
    replayed = Options(EngineName.inline, verdicts=str(one_worker_poisoned / "manifest.json"))
    made(recipe, tmp_path / "b", replayed)
    check(tmp_path / "b", one_worker_poisoned)
    made(recipe, tmp_path / "b")
    check(tmp_path / "b", one_worker_poisoned)
    made(recipe, tmp_path / "c")
    assert funnel(tmp_path / "c")["quarantined"] == 0
    assert json.loads(manifest(tmp_path / "c"))["verdicts"] == []
