"""The same corpus on every engine, with any number of workers, wherever it lies: the same bytes."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.files import Store
from tests.pipelines.corpora import picture
from tests.pipelines.crawls import build, decisions, demo, funnel, litter, manifest, real, vlcorpus
from tests.pipelines.raw import OFF, tied

PROCESSES = ("--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
WAYS: dict[str, tuple[str, ...]] = {
    "local": ("--workers", "4"),
    "ray_one_node": ("--engine", "ray", "--workers", "2"),
    "ray_three_nodes": ("--engine", "ray"),
    "beam_in_memory": ("--engine", "beam", "--workers", "2"),
    "beam_processes": ("--engine", "beam", "--workers", "2", *PROCESSES),
}


def usual(*ways: str) -> list[Any]:
    """All ways; those not named take `make chaos`."""
    return [way if way in ways else pytest.param(way, marks=pytest.mark.long) for way in WAYS]


def options(way: str, request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What the command line of that way is; the cluster is started where it is needed."""
    if way != "ray_three_nodes":
        return WAYS[way]
    return (*WAYS[way], "--address", request.getfixturevalue("ray_cluster").address)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The demo crawl, rows that stay by their share, and, where there is real data, more than a thousand real pairs."""
    folder = tmp_path_factory.mktemp("input")
    shares = {"keep": 0.6, "languages": {"zh": {"keep": 0.5}}}
    sources = [
        {"id": "demo", "path": str(demo(folder / "demo", 300, 60)), "columns": "img2dataset"},
        tied(folder, "shares", (17, 6, 13), 0) | {"rules": {"clip": shares, **OFF}},
    ]
    try:
        data = request.getfixturevalue("test_data")
    except pytest.skip.Exception:
        data = None
    found = real(folder / "real", data) if data else None
    if found is not None:
        sources.append({"id": "real", "path": str(found)})
    record = {
        "languages": ["en", "zh"],
        "sources": sources,
        "max_quarantine": 0.3,
        "splits": {"val": 0.1},
        "shards": {"samples": 100, "group": 3},
        "resize": {"max_side": 512},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(record))
    return path


@pytest.fixture(scope="module")
def one_worker(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that all others are held against."""
    corpus = tmp_path_factory.mktemp("corpus") / "one"
    build(recipe, "--out", corpus, "--workers", "1")
    assert len(list(corpus.glob("shards/*/*/*/*.tar"))) > 4
    counts = funnel(corpus)
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["quarantined"] >= 336
    shares = json.loads(manifest(corpus))["funnel"]["shares"]
    assert (shares["rows"], shares["kept"]) == (36, 20)
    assert vlcorpus("verify", corpus).returncode == 0
    return corpus


def check(corpus: Path, wanted: Path) -> None:
    """Equal manifests, therefore equal digests of every file; and the files are what it says."""
    assert manifest(corpus) == manifest(wanted)
    done = vlcorpus("verify", corpus)
    assert done.returncode == 0, done.stdout
    assert litter(corpus) == []
    assert decisions(corpus) == decisions(wanted)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", usual("local", "ray_three_nodes", "beam_processes"))
def test_every_engine(
    recipe: Path, one_worker: Path, tmp_path: Path, way: str, request: pytest.FixtureRequest
) -> None:
    """Local with four workers, Ray on one node and on three, Beam in memory and in processes agree."""
    build(recipe, "--out", tmp_path / way, *options(way, request))
    check(tmp_path / way, one_worker)


def test_another_folder_and_order(recipe: Path, one_worker: Path, tmp_path: Path) -> None:
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
    build(shuffled, "--out", corpus, "--workers", "2", cwd=tmp_path)
    check(corpus, one_worker)
    build(shuffled, "--out", corpus)
    check(corpus, one_worker)


def test_an_object_store(recipe: Path, one_worker: Path, tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """Written to s3:// the corpus has the same manifest and the same files."""
    record = yaml.safe_load(recipe.read_text()) | {"storage_options": s3_options}
    remote = tmp_path / "remote.yaml"
    remote.write_text(yaml.safe_dump(record))
    build(remote, "--out", "s3://bucket/same/corpus", "--workers", "2")
    store = Store(s3_options)
    assert store.read_bytes("s3://bucket/same/corpus/manifest.json") == manifest(one_worker)
    names = {info.name for info in store.list_files("s3://bucket/same/corpus/shards")}
    assert names == {
        path.relative_to(one_worker / "shards").as_posix()
        for path in (one_worker / "shards").rglob("*")
        if path.is_file()
    }
    for name in names:
        body = store.read_bytes(f"s3://bucket/same/corpus/shards/{name}")
        assert body == (one_worker / "shards" / name).read_bytes()
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
        "resources": {"row_cpu_seconds": 2, "memory_gb": 1.5},
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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", usual("local", "beam_in_memory"))
def test_poison(
    poisoned: tuple[Path, set[str]],
    one_worker_poisoned: Path,
    tmp_path: Path,
    way: str,
    request: pytest.FixtureRequest,
) -> None:
    """Exactly the rows that abort, spin and eat memory are quarantined, on all engines, in equal manifests."""
    recipe, members = poisoned
    corpus = tmp_path / way
    build(recipe, "--out", corpus, *options(way, request), poisoned=True)
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


def test_verdicts_are_replayed(poisoned: tuple[Path, set[str]], tmp_path: Path) -> None:
    """Another machine, whose decoder is sound, gives the same bytes for the verdicts of the first."""
    recipe, _ = poisoned
    build(recipe, "--out", tmp_path / "a", poisoned=True)
    build(recipe, "--out", tmp_path / "b", "--verdicts", tmp_path / "a" / "manifest.json")
    check(tmp_path / "b", tmp_path / "a")
    build(recipe, "--out", tmp_path / "b")
    check(tmp_path / "b", tmp_path / "a")
    build(recipe, "--out", tmp_path / "c")
    assert funnel(tmp_path / "c")["quarantined"] == 0
