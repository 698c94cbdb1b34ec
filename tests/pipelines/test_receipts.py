"""Receipts of tasks that are done."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.audit import status
from pipelines.engines.step import Json
from pipelines.files import FileInfo, Store, walk
from pipelines.layout import Layout
from pipelines.receipts import Receipts, Task
from pipelines.segments import FEW, parsed
from tests.pipelines.building import build


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "corpus"))


def files(layout: Layout) -> list[Path]:
    """The files of receipts of phase measure."""
    return sorted(Path(layout.out, "work/receipts/measure").rglob("*.json*"))


def older(layout: Layout, name: str, fingerprint: str, receipt: Json) -> Path:
    """Writes a receipt as versions before segments did, a file each."""
    path = Path(layout.out, "work/receipts/measure", fingerprint, f"{name}.json")
    body = json.dumps(receipt, sort_keys=True, ensure_ascii=False).encode()
    key = hashlib.blake2b(f"measure/{fingerprint}/{name}".encode()).digest()
    seal = hashlib.blake2b(body, digest_size=16, key=key).hexdigest().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"seal": "' + seal + b'"' + (b", " if receipt else b"") + body[1:])
    return path


def test_a_receipt_vouches_for_its_fingerprint_only(layout: Layout) -> None:
    """A task is done where a receipt with its name and its fingerprint lies there, also for a later run."""
    task = Task("web/00000", "f1")
    receipts = Receipts(layout, "measure")
    assert not receipts.done(task)
    receipts.write(task, {"rows": 3, "text": "ü\ud800"})
    for found in (receipts, Receipts(layout, "measure")):
        assert found.done(task)
        assert not found.done(Task("web/00000", "f2"))
        assert not found.done(Task("web/00001", "f1"))
        assert found.read([task])[0]["rows"] == 3
    assert not Receipts(layout, "compose").done(task)


def test_tasks_without_a_body_cannot_be_given_one() -> None:
    """They share one body, so what one of them wrote into it would be every task's."""
    task = Task("web/00000", "f1")
    with pytest.raises(TypeError):
        task.body["shared"] = []
    with pytest.raises(AttributeError):
        task.body.update(shared=[])
    assert not Task("web/00001", "f1").body


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters())
VALUES = st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(st.characters()), one))


@settings(max_examples=30)
@given(st.dictionaries(st.text(st.characters()), VALUES), st.none() | st.lists(st.just({"name": "a"})))
def test_a_receipt_is_what_was_written(receipt: Json, outputs: list[Json] | None) -> None:
    """Any JSON comes back, now and in a later run, with and without outputs; so do the fingerprint and the name."""
    with tempfile.TemporaryDirectory() as folder:
        name = "web/ü\udce9\n\t"
        receipts = Receipts(Layout(folder), "measure")
        receipts.write(Task(name, "f"), receipt if outputs is None else {**receipt, "outputs": outputs})
        for found in (receipts, Receipts(Layout(folder), "measure")):
            assert [*found] == [name]
            said = found.fingerprint(name), found.last(name), found.outputs(name)
            assert said == ("f", receipt, outputs or [])


def test_clear_takes_the_older_receipt(layout: Layout) -> None:
    """Before a task runs, whatever vouched for its older outputs goes; others stay."""
    receipts = Receipts(layout, "measure")
    for name, mark in (("a", "f1"), ("a", "f2"), ("b", "f1")):
        receipts.write(Task(name, mark), {})
    later = Receipts(layout, "measure")
    later.clear([Task("a", "f3")])
    for found in (later, Receipts(layout, "measure")):
        assert not found.done(Task("a", "f1"))
        assert not found.done(Task("a", "f2"))
        assert found.done(Task("b", "f1"))


def test_a_phase_whose_receipts_all_go_has_no_files(layout: Layout) -> None:
    """Nothing is left that damage could bring back."""
    receipts = Receipts(layout, "measure")
    for mark in ("f1", "f2"):
        receipts.write(Task("all", mark), {})
    assert files(layout)
    Receipts(layout, "measure").clear([Task("all", "")], synced=True)
    assert files(layout) == []


def test_names_that_have_no_task_any_more(layout: Layout) -> None:
    """Receipts of all names but those given are removed."""
    receipts = Receipts(layout, "measure")
    for name in ("a", "b", "c"):
        receipts.write(Task(name, "f1"), {})
    receipts.forget_all_but({"a"})
    for found in (receipts, Receipts(layout, "measure")):
        assert found.done(Task("a", "f1"))
        assert not found.done(Task("b", "f1"))


def test_a_damaged_file_of_receipts_is_named_and_removed(layout: Layout) -> None:
    """What it vouched for is not done; the next check has nothing to say."""
    Receipts(layout, "measure").write(Task("a", "f"), {"rows": 1})
    Receipts(layout, "measure").write(Task("b", "f"), {"rows": 1})
    first = files(layout)[0]
    first.write_bytes(first.read_bytes().replace(b"1", b"2"))
    receipts = Receipts(layout, "measure")
    tasks = [Task("a", "f"), Task("b", "f")]
    name = first.relative_to(layout.out).as_posix()
    assert [one.text for one in receipts.check(tasks)] == [f"{name}, a file of receipts, is damaged"]
    assert [receipts.done(task) for task in tasks] == [False, True]
    assert Receipts(layout, "measure").check(tasks) == []
    assert not first.exists()


def test_receipts_of_another_phase_are_none(layout: Layout) -> None:
    """A file of receipts in the folder of another phase counts as damaged."""
    Receipts(layout, "measure").write(Task("a", "f"), {})
    (path,) = files(layout)
    other = path.parent.parent / "compose" / path.name
    other.parent.mkdir()
    path.rename(other)
    assert Receipts(layout, "compose").damaged == [other.relative_to(layout.out).as_posix()]


def test_receipts_of_earlier_versions(layout: Layout) -> None:
    """A receipt in a file of its own counts, until one is written for its name; a damaged one is named."""
    paths = [older(layout, f"web/{name}", "f", {"rows": 1}) for name in "abcdefgh"]
    paths[1].write_bytes(paths[1].read_bytes().replace(b"1", b"2"))
    receipts = Receipts(layout, "measure")
    tasks = [Task(f"web/{name}", "f") for name in "abcdefgh"]
    assert len(receipts.check(tasks)) == 1
    assert [task.name for task in tasks if not receipts.done(task)] == ["web/b"]
    receipts.clear([tasks[0]])
    receipts.write(Task("web/c", "g"), {"rows": 3})
    for found in (Receipts(layout, "measure"), receipts):
        assert [found.last(task.name) for task in tasks] == [{}, {}, {"rows": 3}, *[{"rows": 1}] * 5]
        found.merge()
    assert [path.suffix for path in files(layout)] == [".jsonl"]
    assert [path.name for path in paths[0].parents[1].parent.iterdir()] == [files(layout)[0].name]


def test_amended_outputs(layout: Layout) -> None:
    """A receipt vouches for what another task wrote in the stead of one of its files, and for its own others."""
    out = {"size": 1, "rows": None, "digest": "d", "stamp": "s"}
    one, two = ({**out, "name": f"work/signals/web/{name}.parquet"} for name in "ab")
    Receipts(layout, "measure").write(Task("web/a", "f"), {"rows": 1, "outputs": [one, two]})
    Receipts(layout, "measure").amend({"web/a": [{**two, "size": 7}], "web/none": [one]})
    found = Receipts(layout, "measure")
    assert found.last("web/a") == {"rows": 1}
    assert found.outputs("web/a") == [one, {**two, "size": 7}]
    assert list(found) == ["web/a"]


def test_reading_keeps_the_order(layout: Layout) -> None:
    """Receipts are read in the order of the tasks."""
    receipts = Receipts(layout, "measure")
    tasks = [Task(f"web/{number:05d}", "f") for number in range(50)]
    for number, task in enumerate(tasks):
        receipts.write(task, {"number": number})
    assert [found["number"] for found in receipts.read(tasks[::-1])] == list(range(50))[::-1]


def test_a_name_with_a_dot(layout: Layout) -> None:
    """A shard whose name ends like a receipt is a name all the same."""
    receipts = Receipts(layout, "measure")
    receipts.write(Task("web/a.json", "f"), {"rows": 1})
    assert Receipts(layout, "measure").done(Task("web/a.json", "f"))
    assert not Receipts(layout, "measure").done(Task("web/a", "f"))


def texts(folder: Path, shards: int) -> dict[str, Any]:
    """A recipe of so many input shards of one text each, every one of which becomes an output shard."""
    folder.mkdir()
    for number in range(shards):
        (folder / f"{number:03d}.jsonl").write_text(json.dumps({"text": f"a text of some words, {number}"}))
    return {"sources": [{"id": "web", "path": str(folder), "kind": "text"}], "shards": {"samples": 1}}


@contextmanager
def asked() -> Iterator[list[str]]:
    """The methods of a store that are called on receipts."""
    found: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(Store, name)

        def method(self: Store, path: str, *given: Any, **more: Any) -> Any:
            if "/work/receipts" in path and not path.endswith(".parquet"):
                found.append(name)
            return real(self, path, *given, **more)

        return method

    with ExitStack() as stack:
        for name in (
            "open",
            "exists",
            "is_folder",
            "info",
            "list_files",
            "names_in",
            "write_bytes",
            "remove",
        ):
            stack.enter_context(mock.patch.object(Store, name, noting(name)))
        yield found


def test_requests_for_receipts_do_not_grow_with_the_shards(tmp_path: Path) -> None:
    """A run with nothing to do, and `status`, ask for the receipts of 60 shards as often as for those of 6."""
    counts = []
    for shards in (6, 60):
        recipe, out = texts(tmp_path / f"in-{shards}", shards), tmp_path / f"out-{shards}"
        with mock.patch("pipelines.segments.PAUSE", 60):
            build(recipe, out)
        with asked() as again:
            _, heard = build(recipe, out)
        with asked() as read:
            assert status.read(str(out)).tasks["shard"] == shards
        assert heard.ran["measure"] == heard.ran["compose"] == heard.ran["shard"] == 0
        counts.append((Counter(again), Counter(read)))
    assert counts[0] == counts[1]
    assert counts[0][1] == {"is_folder": 2, "list_files": 1, "open": 6}


def test_a_run_with_nothing_to_do_looks_at_each_thing_seldom(tmp_path: Path) -> None:
    """It lists no folder of work/ twice, and reads what the receipts of a shard say no more than 10 times in all."""
    listed, read = Counter[str](), list[int]()
    walked, parse = walk, parsed

    def noted(folder: str) -> Iterator[FileInfo]:
        listed[folder] += 1
        return walked(folder)

    for shards in (3, 9):
        recipe, out = texts(tmp_path / f"in-{shards}", shards), tmp_path / f"out-{shards}"
        build(recipe, out)
        reading = mock.Mock(side_effect=parse)
        with mock.patch("pipelines.files.walk", noted), mock.patch("pipelines.receipts.parsed", reading):
            _, heard = build(recipe, out)
        assert heard.ran["measure"] == heard.ran["select"] == heard.ran["shard"] == 0
        read.append(reading.call_count)
    folders = {folder: times for folder, times in listed.items() if "/work/" in folder}
    assert len(folders) >= 2 * 5
    assert set(folders.values()) == {1}
    assert read[1] - read[0] <= 10 * (9 - 3)


def test_a_phase_leaves_few_files_of_receipts(tmp_path: Path) -> None:
    """However many batches its receipts came in, and runs after the first add no more than one."""
    recipe, out = texts(tmp_path / "in", 6), tmp_path / "out"
    for taken in range(3):
        with mock.patch("pipelines.segments.PAUSE", 0):
            build(recipe, out)
        for phase in ("measure", "compose", "shard"):
            assert len(list((out / "work/receipts" / phase).iterdir())) <= FEW
        (tmp_path / "in" / f"{taken:03d}.jsonl").write_text(json.dumps({"text": f"another text, {taken}"}))
