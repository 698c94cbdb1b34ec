"""A corpus whose manifest names a list of its files is read, changed and mended like any other."""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import vlcorpus
from model.manifest import mixture
from model.store import Store as ModelStore
from pipelines.audit import status
from pipelines.audit.diff import diff
from pipelines.audit.status import show
from pipelines.audit.verify import verify
from pipelines.export.table import export
from pipelines.files import Store
from pipelines.opening import shards
from schemas.errors import InputError, OutputError, VerifyError
from tests.bits import cut, flip
from tests.pipelines import raw
from tests.pipelines.building import build

COUNT = 12
ROWS = COUNT + 6


def recipe(folder: Path) -> dict[str, Any]:
    """Pairs as tars and texts as Parquet, two samples a shard, some of them in val."""
    raw.shard(folder / "pairs" / "0.tar", range(COUNT // 2))
    raw.shard(folder / "pairs" / "1.tar", range(COUNT // 2, COUNT))
    (folder / "texts").mkdir(exist_ok=True)
    lines = (f'{{"text": "number {number} of a few short texts"}}\n' for number in range(6))
    (folder / "texts" / "0.jsonl").write_text("".join(lines))
    sources = [
        {"id": "web", "path": str(folder / "pairs")},
        {"id": "words", "path": str(folder / "texts"), "kind": "text"},
    ]
    return {
        "sources": sources,
        "rules": raw.OFF,
        "shards": {"samples": 2},
        "splits": {"val": 0.3},
        "mixture": {"caption/*": {"weight": 2}, "text/*": {"weight": 1}},
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with one corpus twice, `plain` as a small one and `listed` as a large one; and their recipe."""
    folder = tmp_path_factory.mktemp("corpora")
    wanted = recipe(folder)
    build(wanted, folder / "plain")
    with large():
        build(wanted, folder / "listed")
    return folder, wanted


def large() -> Any:
    """Within it any corpus with more than three files of shards has a list."""
    return mock.patch("pipelines.card.manifest.MOST_IN_JSON", 3)


@pytest.fixture
def listed(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of the corpus with a list, with the times of its files."""
    return Path(shutil.copytree(made[0] / "listed", tmp_path / "listed"))


def list_of(out: Path) -> Path:
    """The one list of a corpus."""
    (found,) = out.glob("manifest-*.parquet")
    return found


def files(out: Path) -> dict[str, bytes]:
    """What a corpus consists of, but work/ and the facts of its last run."""
    names = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return {name: (out / name).read_bytes() for name in names if not name.startswith(("work/", "run.json"))}


def test_only_the_manifest_says_it_otherwise(made: tuple[Path, dict[str, Any]]) -> None:
    """Samples and decisions are the same; manifest.json names no file of shards, and no list where it names those."""
    plain, large_one = files(made[0] / "plain"), files(made[0] / "listed")
    own = {"manifest.json", "manifest.sha256", "README.md"}
    assert {name: plain[name] for name in plain.keys() - own} == {
        name: large_one[name] for name in large_one.keys() - own - {list_of(made[0] / "listed").name}
    }
    record = json.loads(large_one["manifest.json"])
    assert record["shards"] == {}
    assert not any(name.startswith("shards/") for name in record["outputs"])
    assert "files" not in json.loads(plain["manifest.json"])
    # the card differs by the digest of the manifest alone
    differing = zip(plain["README.md"].split(b"`"), large_one["README.md"].split(b"`"), strict=True)
    assert sum(one != other for one, other in differing) == 1


def test_everything_that_reads_a_corpus_reads_it(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """verify, status, diff, samples in their order, exports and the trainer's mixture are as without a list."""
    folder = made[0]
    plain, listed = (vlcorpus.Corpus.open(folder / name) for name in ("plain", "listed"))
    assert verify(listed.folder, work=True) == []
    assert status.read(listed.folder) == status.read(plain.folder)
    assert diff(plain.folder, listed.folder).same
    groups = ["caption", "text"]
    paths = [
        [path.removeprefix(one.folder) for path in shards(one.folder, one.manifest, (None, groups, None))]
        for one in (plain, listed)
    ]
    assert paths[0] == paths[1]
    assert len(paths[0]) > 6
    assert [one.sample.key for one in listed.samples()] == [one.sample.key for one in plain.samples()]
    for target in ("energon", "llava"):
        for one, name in ((plain, "plain"), (listed, "listed")):
            export(one.folder, target, str(tmp_path / name / target))
    assert files(tmp_path / "plain") == files(tmp_path / "listed")
    assert mixture(ModelStore(listed.folder)) == mixture(ModelStore(plain.folder)) != {}


def test_any_store_may_hold_it(made: tuple[Path, dict[str, Any]]) -> None:
    """A corpus with a list on an object store verifies like one on disk, and a lost list is named there too."""
    store = fsspec.filesystem("memory")
    store.put(str(made[0] / "listed"), "/listed-corpus", recursive=True)
    try:
        assert verify("memory://listed-corpus") == []
        store.rm(f"/listed-corpus/{list_of(made[0] / 'listed').name}")
        with pytest.raises(VerifyError, match="lacks manifest-"):
            verify("memory://listed-corpus")
    finally:
        store.rm("/listed-corpus", recursive=True)


def test_the_list_is_a_table_for_others(made: tuple[Path, dict[str, Any]]) -> None:
    """Its rows have each file below shards/ with its size."""
    out = made[0] / "listed"
    rows = pq.read_table(list_of(out)).to_pylist()
    there = {path.relative_to(out).as_posix(): path.stat().st_size for path in (out / "shards").rglob("*.*")}
    assert {row["name"]: row["size"] for row in rows} == there


def test_nothing_is_written_where_nothing_changed(made: tuple[Path, dict[str, Any]], listed: Path) -> None:
    """The same build again leaves manifest and list as they are, and removes neither."""
    before = {path: path.stat().st_mtime_ns for path in listed.iterdir() if path.is_file()}
    with large():
        _, heard = build(made[1], listed)
    assert {path: path.stat().st_mtime_ns for path in listed.iterdir() if path.is_file()} == before
    assert heard.ran["card"] == 0


def test_a_removal_rewrites_the_list(made: tuple[Path, dict[str, Any]], listed: Path) -> None:
    """A removed row changes its own shard and the list; the old list goes; the result is that of a new build."""
    old, before = list_of(listed), files(listed)
    keys = [row["key"] for row in pq.read_table(listed / "work/decisions/web/0.parquet").to_pylist()]
    given = listed.parent / "keys.txt"
    given.write_text(f"key\n{keys[2]}\n")
    settings: dict[str, Any] = {"removed": str(given), "progress": False}
    with large():
        vlcorpus.build(made[1], listed, "inline", **settings)
        vlcorpus.build(made[1], listed.parent / "new", "inline", **settings)
    assert verify(str(listed), work=True) == []
    assert list_of(listed) != old
    assert files(listed) == files(listed.parent / "new")
    after = files(listed)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    # its first sample gives a shard its name, so the one that lost it may have another
    assert 1 <= len({Path(name).stem for name in changed if name.startswith("shards/")}) <= 2
    assert not diff(str(made[0] / "listed"), str(listed)).same


def test_a_corpus_that_grows_or_shrinks_changes_form(made: tuple[Path, dict[str, Any]], listed: Path) -> None:
    """A build with fewer files than that has no list, and removes the one that was there; and back."""
    with mock.patch("pipelines.card.manifest._source", return_value="another code"):
        build(made[1], listed)
    assert files(listed) == files(made[0] / "plain")
    with large(), mock.patch("pipelines.card.manifest._source", return_value="yet another"):
        build(made[1], listed)
    assert files(listed) == files(made[0] / "listed")


@pytest.mark.parametrize("at", ["manifest.json", "manifest.sha256"])
def test_a_build_killed_after_the_list(made: tuple[Path, dict[str, Any]], listed: Path, at: str) -> None:
    """Until the new manifest is there the old one has its list; the next build ends as an undisturbed one does."""
    wanted = {**made[1], "shards": {"samples": 3}}
    write, old = Store.write_bytes, (listed / "manifest.json").read_bytes()

    def killed(store: Store, path: str, *rest: Any, **more: Any) -> Any:
        if path.endswith(f"/{at}"):
            raise KeyboardInterrupt
        return write(store, path, *rest, **more)

    with large():
        build(wanted, listed.parent / "undisturbed")
        with mock.patch.object(Store, "write_bytes", killed), pytest.raises(KeyboardInterrupt):
            build(wanted, listed)
        assert len(list(listed.glob("manifest-*.parquet"))) == 2
        if at == "manifest.json":
            assert (listed / at).read_bytes() == old
        found = verify(str(listed))
        assert any("did not come to its end" in problem for problem in found) == (at == "manifest.json")
        assert any(problem.startswith("manifest-") and "does not name" in problem for problem in found)
        (listed / "shards" / "stray.txt").write_text("stray")
        (listed / "stray.txt").write_text("stray")
        _, heard = build(wanted, listed)
    (other,) = (sentence for sentence in heard.said if "does not name" in sentence)
    assert other.endswith("1 file that the manifest does not name, removed: stray.txt")
    (left,) = (sentence for sentence in heard.said if "as far as is known of the corpus" in sentence)
    assert ("manifest-" in left) == (at == "manifest.sha256")
    assert "shards/" in left
    assert files(listed) == files(listed.parent / "undisturbed")
    assert verify(str(listed), work=True) == []


def flip_unseen(path: Path) -> None:
    """Changes a bit under the same time."""
    flip(path, same_time=True)


def swap(path: Path) -> None:
    """Puts a sound list of other files in its place."""
    table = pq.read_table(path)
    pq.write_table(table.slice(2), path, use_dictionary=False)


@pytest.mark.parametrize("how", [Path.unlink, cut, flip_unseen, swap], ids=lambda how: how.__name__)
def test_a_damaged_list_is_one_sentence_and_is_made_again(
    made: tuple[Path, dict[str, Any]], listed: Path, how: Any
) -> None:
    """A list that is missing, cut, changed or another is named, the corpus is not finished, and a build mends it."""
    sound = files(listed)
    how(list_of(listed))
    name = next(name for name in sound if name.startswith("manifest-"))
    for read in (verify, vlcorpus.Corpus.open):
        with pytest.raises(VerifyError, match=r"manifest-\w+\.parquet") as caught:
            read(str(listed))
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(f"or build again with the same recipe and --out {listed}")
    found = status.read(str(listed))
    assert (found.finished, found.lost, found.rows) == (False, [name], ROWS)
    show(found, console := Console(record=True, width=200))
    assert "damaged: 1 file missing or damaged; run it again to mend it" in console.export_text()
    with large():
        build(made[1], listed)
    assert files(listed) == sound
    assert status.read(str(listed)).finished


def test_a_list_that_was_lost_with_work(listed: Path) -> None:
    """Without work/ status names the list too."""
    shutil.rmtree(listed / "work")
    list_of(listed).unlink()
    found = status.read(str(listed))
    assert (found.finished, len(found.lost), found.rows) == (False, 1, ROWS)


@pytest.mark.parametrize("at", ["manifest.json", "manifest-*.parquet", "README.md", "shards/*/*/*/*.tar"])
def test_nothing_waits_for_a_pipe(listed: Path, at: str) -> None:
    """A pipe in the place of a file is named by verify and status, and opened by neither."""
    place = sorted(listed.glob(at))[0]
    place.unlink()
    os.mkfifo(place)
    found: list[str] = []
    try:
        found = verify(str(listed))
        assert status.read(str(listed)).lost == [place.relative_to(listed).as_posix()]
    except (InputError, VerifyError) as error:
        found = str(error).split("\n")
    assert sum(place.name in line and "it is a pipe, a socket or a device" in line for line in found) == 1


def test_a_list_that_is_a_link_is_followed_and_named(listed: Path) -> None:
    """Its bytes are what the manifest says, so all is well; that they lie elsewhere is said, of a folder too."""
    assert vlcorpus.Corpus.open(listed).unchecked() == []
    name = list_of(listed).name
    for one in (name, "shards"):
        (listed / one).rename(listed.parent / one)
        (listed / one).symlink_to(listed.parent / one)
    corpus = vlcorpus.Corpus.open(listed)
    assert corpus.verify() == []
    assert corpus.unchecked() == [f"what a copy of the folder holds, since these are links: {name}, shards"]


def test_an_order_of_shards_beside_a_list_is_refused(listed: Path) -> None:
    """It would be compared with nothing."""
    record = json.loads((listed / "manifest.json").read_bytes())
    record["shards"] = {"shards/train/caption/web": ["0"]}
    (listed / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(VerifyError, match="an order of shards beside a list"):
        verify(str(listed))


def test_the_manifest_can_be_dumped(made: tuple[Path, dict[str, Any]]) -> None:
    """As JSON and as plain values it has all files, whether or not they stand in a list."""
    plain, listed = (vlcorpus.Corpus.open(made[0] / name).manifest for name in ("plain", "listed"))
    for one in (plain, listed):
        assert json.loads(one.model_dump_json()) == one.model_dump(mode="json")
        assert type(one).model_validate_json(one.model_dump_json()) == one
    assert listed.model_dump()["shards"] == plain.model_dump()["shards"] != {}
    assert listed.model_dump()["outputs"].keys() - plain.model_dump()["outputs"].keys() == {listed.files}


def test_a_list_that_cannot_be_read_back_ends_the_build(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """What the store lost or changed is found before a manifest names it."""
    write = Store.write_bytes

    def losing(store: Store, path: str, data: bytes, *rest: Any, **more: Any) -> Any:
        lost = data[:-1] if "/manifest-" in path else data
        return write(store, path, lost, *rest, **more)

    with (
        large(),
        mock.patch.object(Store, "write_bytes", losing),
        pytest.raises(OutputError, match="could not be read back"),
    ):
        build(made[1], tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(InputError, match="not finished"):
        vlcorpus.Corpus.open(tmp_path / "out")


def test_a_list_beyond_the_limit_is_not_read(listed: Path) -> None:
    """A manifest that says its list is longer than any is one sentence, and no attempt to read it."""
    record = json.loads((listed / "manifest.json").read_bytes())
    record["outputs"][record["files"]]["size"] = 1 << 62
    (listed / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(VerifyError, match="above the limit"):
        verify(str(listed))


def test_a_shard_that_is_lost_is_named(listed: Path) -> None:
    """Of each file that the list names, what differs is said as of any other, and so is a file that it lacks."""
    tar, *_ = sorted((listed / "shards").rglob("*.tar"))
    name = tar.relative_to(listed).as_posix()
    tar.rename(tar.with_name("other.tar"))
    stray = name.replace(tar.name, "other.tar")
    assert verify(str(listed)) == [
        f"{stray}: the manifest does not name this file",
        f"{name}: missing",
    ]
    assert status.read(str(listed)).lost == [name]
