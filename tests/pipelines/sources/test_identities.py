"""What a build asks of files and stores to know whether its inputs changed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pipelines.files import Digests, FileInfo, Store
from pipelines.layout import Layout, Name
from pipelines.recipe.model import Recipe
from pipelines.sources import Discovery, identity, input_shards
from pipelines.sources.identities import Identities
from pipelines.sources.shard import InputShard
from tests.pipelines.requests import counted


def recipe(paths: Sequence[str], kind: str, options: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe with one source."""
    source = {"id": "a", "path": [*paths], "kind": kind, "storage_options": {**(options or {})}}
    return Recipe.model_validate({"out": "unused", "sources": [source]})


def found(made: Recipe, layout: Layout) -> tuple[Discovery, dict[Name, str]]:
    """What is discovered, and the identities, as a build asks for them."""
    discovery = input_shards(made.sources[0], made.read)
    identities = Identities(layout)
    identities.list("a", discovery.files)
    return discovery, identities.of(made, discovery.shards, {})


def asked_alone(made: Recipe, discovery: Discovery) -> dict[Name, str]:
    """The identity of each shard, each asked for by itself."""
    source = made.sources[0]
    options = dict(source.storage_options)
    return {(one.source, one.shard): identity(one, source, options, Digests()) for one in discovery.shards}


@pytest.mark.parametrize("by", ["folder", "glob", "files"])
def test_a_store_is_asked_nothing_of_a_shard_that_it_listed(
    tmp_path: Path, s3_options: dict[str, Any], by: str
) -> None:
    """Twice the shards cost no request more, whether a folder is given or a pattern; of named files one each."""
    store, asked = Store(s3_options), []
    for count in (4, 8):
        folder = f"s3://bucket/identities-{by}-{count}"
        paths = [f"{folder}/{number}.jsonl" for number in range(count)]
        for path in paths:
            store.write_bytes(path, path.encode(), tmp_path, scratch=True)
        given = {"folder": [folder], "glob": [f"{folder}/*.jsonl"], "files": paths}[by]
        made = recipe(given, "text", s3_options)
        with counted() as requests:
            discovery, marks = found(made, Layout(str(tmp_path / "out")))
        assert len(marks) == count
        assert marks == asked_alone(made, discovery)
        asked.append(requests.total())
    assert asked[1] - asked[0] == (4 if by == "files" else 0)


def test_one_path_in_two_stores(tmp_path: Path) -> None:
    """Sources whose storage options lead to other stores have files of their own under one path."""
    path = "s3://bucket/in/0.jsonl"
    sources = [{"id": one, "path": "s3://bucket/in", "kind": "text"} for one in ("a", "b")]
    made = Recipe.model_validate({"out": "unused", "sources": sources})
    identities = Identities(Layout(str(tmp_path / "out")))
    for source, stamp in (("a", "1"), ("b", "2")):
        identities.list(source, {path: FileInfo(path, "0.jsonl", 9, stamp)})
    shards = [InputShard(source, "0", path, "text", "text", 9) for source in ("a", "b")]
    assert identities.of(made, shards, {}) == {("a", "0"): "9-1", ("b", "0"): "9-2"}


def test_images_in_folders_are_listed_not_asked_for(tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """A folder of images costs one listing, however many images it holds; two tables in one folder cost one too."""
    store = Store(s3_options)
    for number in range(6):
        for suffix, data in (("jpg", b"image"), ("txt", b"caption")):
            store.write_bytes(f"s3://bucket/images/a/{number}.{suffix}", data, tmp_path, scratch=True)
    made = recipe(["s3://bucket/images"], "folder", s3_options)
    with counted() as requests:
        discovery, marks = found(made, Layout(str(tmp_path / "out")))
    assert marks == asked_alone(made, discovery)
    assert requests["head_object"] <= 1
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("a", "b"):
        (tables / f"{name}.jsonl").write_text('{"image": "1.jpg", "caption": "c"}\n')
    (tables / "1.jpg").write_bytes(b"image")
    made = recipe([str(tables)], "folder")
    with mock.patch.object(Store, "list_files", autospec=True, side_effect=Store.list_files) as listed:
        _, marks = found(made, Layout(str(tmp_path / "out")))
    assert len(marks) == 2
    assert len(set(marks.values())) == 1
    assert [call.args[1] for call in listed.call_args_list] == [str(tables), f"{tables}/"]


def test_a_local_file_is_read_again_only_where_it_was_touched(tmp_path: Path) -> None:
    """Untouched files are not opened; a changed byte shows though size and time of change are put back."""
    data = tmp_path / "in"
    data.mkdir()
    for number in range(3):
        (data / f"{number}.jsonl").write_text(f'{{"text": "{number}"}}\n')
    made, layout = recipe([str(data)], "text"), Layout(str(tmp_path / "out"))
    with mock.patch("pipelines.files._TICK", 0):  # what was written a moment ago is remembered too
        _, first = found(made, layout)
        with mock.patch("pipelines.files.hashlib.file_digest", side_effect=AssertionError("read again")):
            assert found(made, layout)[1] == first
        before = (data / "1.jsonl").stat()
        (data / "1.jsonl").write_text('{"text": "9"}\n')
        os.utime(data / "1.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
        _, second = found(made, layout)
    assert {name for name in first if first[name] != second[name]} == {("a", "1")}
