"""docs/output.md does what it says: each snippet reads a corpus that lies in the folder `corpus`."""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

import vlcorpus
from pipelines.export.table import export
from pipelines.opening import shards
from pipelines.show import inspect
from tests import needs
from tests.pipelines import building
from tests.pipelines.crawls import demo

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "output.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of captions and dialogues, in the form that a recipe gives by default."""
    top = tmp_path_factory.mktemp("output")
    crawl = demo(top / "crawl", 80, 40)
    scenes = {"id": "drawn", "kind": "rendered", "format": "scenes", "render": {"count": 6, "side": 256}}
    web = {"id": "web", "path": str(crawl), "columns": "img2dataset", "max_quarantine": 0.5}
    building.build({"sources": [web, scenes], "chat": {"localise": 1, "join": 3}}, top / "corpus")
    return top


def ran(library: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Runs the snippets that import `library`; returns the names that each has made."""
    monkeypatch.chdir(folder)
    found = []
    for block in BLOCKS:
        if re.search(rf"^(import|from) {library}\b", block, re.MULTILINE):
            names: dict[str, Any] = {}
            exec(compile(block, f"docs/output.md, {library}", "exec"), names)
            found.append(names)
    return found


def keys(folder: Path, *groups: str, split: str | None = "train") -> set[str]:
    """The keys of the samples of some groups."""
    corpus = vlcorpus.Corpus.open(folder / "corpus")
    paths = shards(corpus.folder, corpus.manifest, (split, groups, None))
    return {shown.key for path in paths for shown in inspect.samples(path, None)}


def test_each_snippet_is_run() -> None:
    """No snippet stands on the page that no test below runs."""
    libraries = ("datasets", "webdataset", "model", "duckdb", "pyarrow", "ray", "vlcorpus", "megatron")
    for block in BLOCKS:
        assert any(re.search(rf"^(import|from) {name}\b", block, re.MULTILINE) for name in libraries), block
    assert len(BLOCKS) >= 8


def test_datasets(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder, a task of it, streaming, and the Parquet beside the tars load whole."""
    library = needs.package("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path)
    tars, beside = ran("datasets", folder, monkeypatch)
    groups = {count.group for count in vlcorpus.Corpus.open(folder / "corpus").manifest.samples} - {"chat"}
    assert groups >= {"caption", "views"}
    assert set(tars["corpus"]["train"]["__key__"]) == keys(folder, *groups)
    assert set(tars["captions"]["__key__"]) == keys(folder, "caption")
    assert [one["task"] for one in tars["sample"]["json"]["views"]] == ["caption"]
    assert set(beside["dialogues"]["key"]) == keys(folder, "chat")


@pytest.mark.long
def test_megatron(folder: Path) -> None:
    """The snippet for Megatron-Energon gives a batch of samples, images decoded."""
    python = needs.energon()
    export(str(folder / "corpus"), "energon", str(folder / "energon"))
    (block,) = (one for one in BLOCKS if "from megatron." in one)
    shown = "\nprint(len(batch), *(len(one.images) for one in batch), batch[0].record['key'])"
    done = subprocess.run([python, "-c", block + shown], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    *counts, key = done.stdout.splitlines()[-1].split()
    assert counts == ["2", "1", "1"]
    assert key in {one.sample.key for one in vlcorpus.Corpus.open(folder / "corpus").samples("train")}


def test_what_the_hub_gets(folder: Path) -> None:
    """With the patterns on the page huggingface_hub uploads every file of the corpus, and nothing that is of a run."""
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

    (patterns,) = re.findall(r"ignore_patterns=(\[.*?\])", PAGE)
    corpus = folder / "corpus"
    (corpus / "train").mkdir(exist_ok=True)
    (corpus / "train" / "metrics.json").write_text("{}")
    names = [path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file()]
    ignored = [*json.loads(patterns), *DEFAULT_IGNORE_PATTERNS]
    sent = set(filter_repo_objects(names, ignore_patterns=ignored))
    assert sent == {"manifest.json", "manifest.sha256", *vlcorpus.Corpus.open(corpus).manifest.outputs}
    assert {name.partition("/")[0] for name in names} - {name.partition("/")[0] for name in sent} == {
        "work", "train",
    }  # fmt: skip


def test_webdataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last sample of the last tar has come with its image."""
    needs.package("webdataset")
    (names,) = ran("webdataset", folder, monkeypatch)
    record = names["sample"]["json"]
    assert record["key"] in keys(folder, "caption")
    assert names["image"].width == record["images"][0]["width"]
    assert (names["task"], names["turns"]) == ("caption", record["views"][0]["turns"])


def test_a_sample_has_the_keys_of_the_page(folder: Path) -> None:
    """The JSON of a sample has the keys that the page shows, in their order."""
    (shown,) = re.findall(r"^## A sample\n.*?\n\n(    \{.*?\n)\n", PAGE, re.DOTALL | re.MULTILINE)
    tar = min((folder / "corpus" / "shards" / "train" / "caption").rglob("*.tar"))
    with tarfile.open(tar) as opened:
        member = next(one for one in opened if one.name.endswith(".json"))
        file = opened.extractfile(member)
        assert file is not None
        record = json.load(file)
    record["views"][0]["turns"] = record["views"][0]["turns"][:1]
    record["views"][0]["turns"][0]["segments"] = record["views"][0]["turns"][0]["segments"][:1]
    assert re.findall(r'"(\w+)"', shown) == list(_keys(record))


def test_the_metadata_of_an_index(folder: Path) -> None:
    """What the page names shows the form of the shard and its views by task."""
    index = min((folder / "corpus" / "shards" / "train" / "caption").rglob("*.parquet"))
    found = parquet.read_metadata(index).metadata
    assert "read_metadata(FILE).metadata" in PAGE
    assert found[b"vlcorpus"] == b"3"
    assert json.loads(found[b"vlcorpus.views"])["caption"] > 0


def _keys(record: dict[str, Any]) -> Iterator[str]:
    """The keys of a record and of the first record of each of its lists, from left to right."""
    for name, value in record.items():
        yield name
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from _keys(value[0])


def test_the_loader(folder: Path, tmp_path: Path) -> None:
    """The snippet, saved as a script, puts every caption into a batch once, of whichever group."""
    (block,) = (one for one in BLOCKS if re.search("^from model ", one, re.MULTILINE))
    shown = "    print(*(key for batch in batches for row in batch.keys for key in row))\n"
    (tmp_path / "script.py").write_text(block + shown)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = done.stdout.split()
    assert len(found) == len(set(found))
    samples = [one.sample for one in vlcorpus.Corpus.open(folder / "corpus").samples("train", "caption")]
    assert set(found) == {view.key for one in samples for view in one.views if view.task == "caption"}


def test_duckdb_and_pandas(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query finds Chinese captions with the digests of their images."""
    needs.package("pandas")
    (names,) = ran("duckdb", folder, monkeypatch)
    found = {
        one.sample.key: one.sample.images[0].sha256
        for one in vlcorpus.Corpus.open(folder / "corpus").samples("train", "caption")
        if one.sample.source == "web"
        and one.sample.views[0].language == "zh"
        and len(one.sample.caption or "") > 5
    }
    assert found
    views = Counter(
        (view.task, one.sample.source)
        for one in vlcorpus.Corpus.open(folder / "corpus").samples("train")
        for view in one.sample.views
    )
    assert views == {(row["task"], row["source"]): row["views"] for row in names["views"].to_dict("records")}
    assert dict(zip(names["frame"]["key"], names["frame"]["image"], strict=True)) == found


def test_pyarrow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last row that was filtered has its very image."""
    (names,) = ran("pyarrow", folder, monkeypatch)
    row = names["rows"][-1]
    (wanted,) = (
        one.images[0]
        for one in vlcorpus.Corpus.open(folder / "corpus").samples("train", "caption")
        if one.sample.key == row["key"]
    )
    assert names["image"] == wanted


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples come in the order of the manifest."""
    (names,) = ran("vlcorpus", folder, monkeypatch)
    assert names["example"].sample.key in keys(folder, "caption", "views")
    assert names["view"].key in {one.key for one in names["example"].sample.views}


@pytest.mark.long
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's, on itself
def test_ray_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray reads the tars and the Parquet whole."""
    library = needs.package("ray")
    library.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        (names,) = ran("ray", folder, monkeypatch)
        rows = names["captions"].take_all()
        assert {row["__key__"] for row in rows} == keys(folder, "caption")
        assert {row["key"] for row in names["dialogues"].take_all()} == keys(folder, "chat")
    finally:
        library.shutdown()
