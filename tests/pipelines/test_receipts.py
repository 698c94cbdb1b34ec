"""Receipts of tasks that are done."""

from pathlib import Path

import pytest

from pipelines.layout import Layout
from pipelines.receipts import Receipts, Task


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "corpus"))


def files(layout: Layout) -> list[str]:
    return sorted(p.relative_to(layout.out).as_posix() for p in Path(layout.out).rglob("*.json"))


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
    assert files(layout) == ["work/receipts/measure/f1/web/00000.json"]


def test_clear_takes_every_older_receipt(layout: Layout) -> None:
    """Before a task runs, whatever vouched for its older outputs goes; others stay."""
    receipts = Receipts(layout, "measure")
    for name, mark in (("a", "f1"), ("a", "f2"), ("b", "f1")):
        receipts.write(Task(name, mark), {})
    later = Receipts(layout, "measure")
    later.clear([Task("a", "f3")])
    assert not later.done(Task("a", "f1"))
    assert not later.done(Task("a", "f2"))
    assert later.done(Task("b", "f1"))
    assert files(layout) == ["work/receipts/measure/f1/b.json"]


def test_names_that_have_no_task_any_more(layout: Layout) -> None:
    """Receipts of all names but those given are removed."""
    receipts = Receipts(layout, "measure")
    for name in ("a", "b", "c"):
        receipts.write(Task(name, "f1"), {})
    receipts.forget_all_but({"a"})
    assert receipts.done(Task("a", "f1"))
    assert not receipts.done(Task("b", "f1"))
    assert files(layout) == ["work/receipts/measure/f1/a.json"]


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
