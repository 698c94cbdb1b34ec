"""What paths hold is found alike on disk and on S3, whatever the order of listing, and named uniquely."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.files import Store
from pipelines.sources import InputShard, discover
from schemas.errors import InputError


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def ids(paths: list[str], **options: Any) -> list[str]:
    return [shard.shard for shard in discover("web", paths, **options).shards]


def test_tars_win_and_their_companions_are_no_rows(tmp_path: Path) -> None:
    """Beside a tar, Parquet and JSON of its stem are metadata; other files are ignored and named."""
    fill(
        tmp_path,
        "00000.tar",
        "00000.parquet",
        "00000_stats.json",
        "sub/00001.tar.gz",
        "sub/00001.json",
        "b.TGZ",
    )
    fill(tmp_path, "truth.jsonl", "other.parquet", ".DS_Store", "sub/._00001.tar.gz", "a.jpg")
    found = discover("web", [str(tmp_path)])
    assert [(shard.shard, shard.kind, shard.format) for shard in found.shards] == [
        ("00000", "webdataset", "tar"),
        ("b", "webdataset", "tar"),
        ("sub__00001", "webdataset", "tar"),
    ]
    assert found.ignored == (".DS_Store", "a.jpg", "other.parquet", "sub/._00001.tar.gz", "truth.jsonl")


def test_what_a_fetch_left_beside_its_shards_is_not_named(tmp_path: Path) -> None:
    """Statuses of raw shards, and the work folder beside them, are the fetch's own; what else lies there is named."""
    fill(
        tmp_path / "raw", "a-00000.tar", "status/a-00000.parquet", "work/log/1.jsonl", "work/receipts/x.jsonl"
    )
    fill(tmp_path / "raw", "status/b-00000.parquet", "working/a.parquet", "truth.parquet")
    assert discover("web", [str(tmp_path / "raw")]).ignored == (
        "status/b-00000.parquet",
        "truth.parquet",
        "working/a.parquet",
    )
    (tmp_path / "raw/status/a-00000.parquet").unlink()
    assert "work/log/1.jsonl" in discover("web", [str(tmp_path / "raw")]).ignored


@pytest.mark.parametrize(
    ("names", "kind", "form"),
    [
        (("a.parquet", "b.jpg", "c.jsonl"), "parquet", "parquet"),
        (("a.jsonl", "images/b.jpg", "images/b.txt"), "folder", "jsonl"),
        (("a.csv", "b.png"), "folder", "csv"),
        (("a.jpg", "a.txt"), "folder", "files"),
        (("a.jsonl",), "text", "jsonl"),
        (("a.txt",), "text", "txt"),
        (("a.jsonl.gz",), "text", "jsonl"),
    ],
)
def test_the_kind_is_guessed_in_order(tmp_path: Path, names: tuple[str, ...], kind: str, form: str) -> None:
    """Tars, else Parquet, else pictures, else text."""
    (shard,) = discover("web", [str(fill(tmp_path, *names))]).shards
    assert (shard.kind, shard.format) == (kind, form)
    if form == "jsonl":
        assert discover("web", [shard.path]).shards == (shard,)


def lay(folder: Path, files: dict[str, str]) -> str:
    """Writes files with their content."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return str(folder)


def pairs(count: int, top: str = "00000") -> dict[str, str]:
    """Images of a folder with a sidecar each."""
    return {f"{top}/{n}{suffix}": "x" for n in range(count) for suffix in (".jpg", ".txt", ".json")}


STRAY = {
    "reviewed.jsonl": '{"file": "00000/0.jpg", "caption": "a"}\n{"file": "00000/1.jpg", "caption": "b"}\n',
    "failed.csv": "url,why\nhttp://h/1,404\n" * 9,
    "urls.tsv": "path\tcaption\nhttp://h/1\ta\n",
    "00000/notes.csv": "file,note\n1.jpg,good\nold/2.jpg,bad\n",
    "reviewed.parquet": "never opened",
}


@pytest.mark.parametrize("name", sorted(STRAY))
def test_a_stray_table_does_not_switch_sidecars_off(tmp_path: Path, name: str) -> None:
    """Beside images with sidecars a table that names few of them, or other things, is told as not read."""
    path = lay(tmp_path, {**pairs(8), "00000.parquet": "x", "metadata.json": "[]", name: STRAY[name]})
    found = discover("web", [path])
    assert [(shard.shard, shard.format) for shard in found.shards] == [("00000", "files")]
    assert found.ignored == tuple(sorted(("00000.parquet", "metadata.json", name)))


def test_a_table_that_names_the_images_is_read(tmp_path: Path) -> None:
    """A table that names half of the images or more is the captions; images and sidecars left over are told."""
    table = "file,caption\n" + "".join(f"00000/{n}.jpg,a\n" for n in range(5))
    found = discover("web", [lay(tmp_path, {**pairs(8), "a.csv": table})])
    assert [(shard.shard, shard.format) for shard in found.shards] == [("a", "csv")]
    assert [name for name in found.ignored if name.endswith(".jpg")] == [f"00000/{n}.jpg" for n in (5, 6, 7)]
    assert len(found.ignored) == 3 + 16


def test_tables_and_sidecars_are_read_side_by_side(tmp_path: Path) -> None:
    """A folder with sidecars is read beside one whose images a table names, wherever the table lies."""
    table = "file,caption\n" + "".join(f"b/{n}.jpg,a\n" for n in range(3))
    files = {**pairs(8), "a.csv": table, **{f"b/{n}.jpg": "x" for n in range(4)}}
    found = discover("web", [lay(tmp_path / "top", files)])
    assert [(shard.shard, shard.format) for shard in found.shards] == [("00000", "files"), ("a", "csv")]
    assert found.ignored == ("b/3.jpg",)
    inner = {
        **pairs(8),
        "b/a.csv": table.replace("b/", ""),
        **{f"b/{n}.jpg": "x" for n in range(3)},
        "c/0.jpg": "x",
    }
    found = discover("web", [lay(tmp_path / "inner", inner)])
    assert [shard.shard for shard in found.shards] == ["00000", "b__a"]
    assert found.ignored == ("c/0.jpg",)


def test_json_given_by_its_path_may_hold_lines(tmp_path: Path) -> None:
    """A .json that is named is read as JSON lines, beside images or as text; below a folder it is no table."""
    path = lay(tmp_path, {"a.json": '{"file": "0.jpg", "caption": "a"}\n', "0.jpg": "x"})
    (shard,) = discover("web", [f"{path}/a.json"]).shards
    assert (shard.kind, shard.format, shard.shard) == ("folder", "jsonl", "a")
    (tmp_path / "0.jpg").unlink()
    (shard,) = discover("web", [f"{path}/a.json"]).shards
    assert (shard.kind, shard.format) == ("text", "jsonl")


def test_a_kind_that_is_named_is_taken(tmp_path: Path) -> None:
    """`kind: text` passes over tars; a file given by name is read as told, whatever its suffix."""
    fill(tmp_path, "a.tar", "b.parquet", "c.txt", "d.jsonl", "e.bin")
    assert ids([str(tmp_path)], kind="text") == ["b", "c", "d"]
    assert ids([str(tmp_path / "e.bin")], kind="webdataset") == ["e"]
    with pytest.raises(InputError, match=r"d\.jsonl cannot be read as webdataset"):
        ids([str(tmp_path / "d.jsonl")], kind="webdataset")


def test_roots_of_files_and_globs(tmp_path: Path) -> None:
    """A file's root is its folder; a glob's is the folder before its first magic character."""
    fill(tmp_path, "in/a/0.tar", "in/b/0.tar", "in/b/1.txt")
    assert ids([f"{tmp_path}/in/a/0.tar"]) == ["0"]
    assert ids([f"{tmp_path}/in/*/0.tar"]) == ["a__0", "b__0"]
    assert ids([f"{tmp_path}/in/?"]) == ["a__0", "b__0"]
    assert ids([f"{tmp_path}/in/**"]) == ["a__0", "b__0"]
    assert ids([f"{tmp_path}/in/a/", f"{tmp_path}/in/b/*.tar"][:1]) == ["0"]


def test_relative_paths_give_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids do not depend on how the folder is named."""
    fill(tmp_path, "in/a/0.tar", "in/1.tar")
    monkeypatch.chdir(tmp_path)
    for path in ("in", "in/", "./in", str(tmp_path / "in"), f"file://{tmp_path}/in", "in/**/*.tar"):
        assert ids([path]) == ["1", "a__0"], path
    monkeypatch.chdir(tmp_path / "in")
    assert ids(["."]) == ids(["*"]) == ["1", "a__0"]
    assert ids(["1.tar"]) == ["1"]


def test_equal_ids_are_refused(tmp_path: Path) -> None:
    """Two shards of one id, one file under two ids: refused, both named; the same path twice is one."""
    fill(tmp_path, "a/0.tar", "b/0.tar", "c/0.tar", "c/0.tgz")
    with pytest.raises(InputError, match=r"a/0\.tar and .*b/0\.tar would both be shard '0'"):
        ids([f"{tmp_path}/a", f"{tmp_path}/b"])
    with pytest.raises(InputError, match="would both be shard '0'"):
        ids([f"{tmp_path}/c"])
    with pytest.raises(InputError, match="is named twice"):
        ids(
            [
                f"{tmp_path}/a",
                f"{tmp_path}/a/../a/../a/0.tar".replace("/a/../a/..", ""),
                f"{tmp_path}/*/0.tar",
            ]
        )
    assert ids([f"{tmp_path}/a/0.tar", f"{tmp_path}/a/0.tar", f"{tmp_path}/a"]) == ["0"]


def test_nothing_to_read_is_one_sentence(tmp_path: Path) -> None:
    """An empty folder, a missing path, a pattern without match: source, path, remedy."""
    with pytest.raises(InputError, match=f"source web: nothing to read as auto in {tmp_path}"):
        ids([str(tmp_path)])
    with pytest.raises(InputError, match=r"source web: .*none does not exist"):
        ids([f"{tmp_path}/none"])
    with pytest.raises(InputError, match=r"source web: nothing matches .*\*\.tar"):
        ids([f"{tmp_path}/*.tar"])
    fill(tmp_path, "a.zip")
    with pytest.raises(InputError, match=r"nothing to read|cannot be read"):
        ids([f"{tmp_path}/a.zip"])


def test_a_name_with_magic_characters_is_a_name_first(tmp_path: Path) -> None:
    """A file whose name looks like a pattern is read if it exists."""
    fill(tmp_path, "a[1].tar", "a1.tar")
    assert ids([f"{tmp_path}/a[1].tar"]) == ["a[1]"]


def test_shards_travel_as_json(tmp_path: Path) -> None:
    """A shard comes back from its JSON as it was."""
    (shard,) = discover("web", [str(fill(tmp_path, "0.tar"))]).shards
    assert shard == InputShard("web", "0", f"{tmp_path}/0.tar", "webdataset", "tar", 1)
    assert InputShard.from_json(shard.to_json()) == shard


def test_s3_is_listed_as_a_disk_is(tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """The same names on S3 give the same shards, ids and ignored files, by folder, file and pattern."""
    fill(tmp_path, "0.tar", "sub/1.tar.gz", "sub/note.md")
    store = Store(s3_options)
    for name in ("0.tar", "sub/1.tar.gz", "sub/note.md"):
        store.write_bytes(f"s3://bucket/discovery/{name}", b"x", "/tmp")
    here = discover("web", [str(tmp_path)])
    there = discover("web", ["s3://bucket/discovery"], "auto", s3_options)
    assert there.ignored == here.ignored == ("sub/note.md",)
    assert [(shard.shard, shard.size) for shard in there.shards] == [("0", 1), ("sub__1", 1)]
    assert [shard.path for shard in there.shards][1] == "s3://bucket/discovery/sub/1.tar.gz"
    assert ids(["s3://bucket/discovery/*.tar"], storage_options=s3_options) == ["0"]
    assert ids(["s3://bucket/discovery/sub/1.tar.gz"], storage_options=s3_options) == ["1"]
    with pytest.raises(InputError, match="does not exist"):
        ids(["s3://bucket/nothing"], storage_options=s3_options)


def test_of_a_corpus_only_its_shards_are_input(tmp_path: Path) -> None:
    """Work and card of a corpus of ours are left out, wherever it lies; another's `shards` folder changes nothing."""
    for name in (
        "ours/manifest.json",
        "ours/shards/train/caption/web/00000.tar",
        "ours/work/rendered/scenes/00000.tar",
        "theirs/manifest.json",
        "theirs/shards/00000.tar",
        "theirs/more/00000.tar",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = discover("web", [str(tmp_path)])
    assert [shard.shard for shard in found.shards] == [
        "ours__shards__train__caption__web__00000",
        "theirs__more__00000",
        "theirs__shards__00000",
    ]
    assert "ours/work/rendered/scenes/00000.tar" in found.ignored
