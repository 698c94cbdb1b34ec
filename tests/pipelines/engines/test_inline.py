"""The inline engine."""

import os
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_info

from pipelines.engines.inline import InlineEngine
from pipelines.engines.step import At, Json, Step
from pipelines.layout import Layout
from schemas.errors import InputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.contract import step


class Threads:
    """Says how many threads BLAS has while a task runs."""

    def __init__(self, setup: Json) -> None:
        pass

    def run(self, task: Json, at: At) -> Json:
        return {"threads": [pool["num_threads"] for pool in threadpool_info()]}


def test_map_and_shuffle(tmp_path: Path) -> None:
    """Receipts come in the order of tasks and partitions, and nothing is written on the way."""
    engine = InlineEngine()
    engine.open(Layout(str(tmp_path / "corpus")))
    contract.maps_in_order(engine)
    contract.shuffles(engine)
    contract.shuffles_into_many(engine)
    contract.shuffles_nothing(engine)
    assert list(tmp_path.rglob("*")) == []
    contract.describes_what_is_left(engine, str(tmp_path))


def test_one_process_one_worker() -> None:
    """All tasks of a step run in the caller's process, by one worker, which another step replaces."""
    engine = InlineEngine()
    receipts = engine.map(step("Pid"), [{}, {}]) + engine.map(step("Pid"), [{}])
    assert {receipt["pid"] for receipt in receipts} == {os.getpid()}
    assert [receipt["before"] for receipt in receipts] == [0, 1, 2]
    engine.map(step("Sums"), [{"numbers": [1]}])
    assert engine.map(step("Pid"), [{}])[0]["before"] == 0


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of these tests look at the environment that a child process would have."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_threads() -> None:
    """BLAS keeps to the step's threads while a task runs, and has its own again afterwards."""
    before = [pool["num_threads"] for pool in threadpool_info()]
    asked = Step("measure", f"{__name__}:Threads", {}, contract.LIMITS)
    [receipt] = InlineEngine().map(asked, [{}])
    assert set(receipt["threads"]) <= {1}
    assert [pool["num_threads"] for pool in threadpool_info()][: len(before)] == before


def test_a_sentence_is_raised_as_itself() -> None:
    """A failure that a person can mend comes out with its class and text, from map, split and reduce."""
    engine = InlineEngine()
    with pytest.raises(InputError, match=r"^source web: cannot read «ü»: mend it$"):
        engine.map(step("Fails"), [{"number": 2, "sentence": True}])
    with pytest.raises(InputError, match=r"^source web: cannot split: mend it$"):
        engine.shuffle(step("Fails"), [{"number": 2, "sentence": True}], 2)
    with pytest.raises(InputError, match=r"^source web: cannot reduce: mend it$"):
        engine.shuffle(step("Fails"), [{"number": 1}], 2)


class Breaks:
    """Has a mistake in the program that shows at the third row."""

    def __init__(self, setup: Json) -> None:
        pass

    def run(self, task: Json, at: At) -> Json:
        for row in range(5):
            at(row)
            if row == 2:
                raise KeyError("caption")
        return {}


def test_a_mistake_propagates_with_the_row() -> None:
    """A programmer's error is raised with its own traceback, and says phase, shard and row."""
    engine = InlineEngine()
    with pytest.raises(KeyError, match="caption") as raised:
        engine.map(Step("measure", f"{__name__}:Breaks"), [{"shard": "web/00003"}])
    assert raised.value.__notes__ == ["in phase measure, web/00003, row 2 (from 0)"]
    assert any(frame.name == "run" for frame in raised.traceback)


def test_progress() -> None:
    """The driver hears of the rows of each receipt."""
    told: list[int] = []
    InlineEngine(told.append).map(step("Rows"), [{"rows": 2}, {"rows": 3}])
    assert told == [2, 3]


def test_tasks_and_receipts_are_what_json_makes_of_them() -> None:
    """As between processes: a worker cannot change its task, and tuples come back as lists."""
    task: dict[str, Any] = {"rows": 2, "deeds": {}}
    [receipt] = InlineEngine().map(step("Rows"), [task])
    assert receipt["verdicts"] == {}
    assert task == {"rows": 2, "deeds": {}}


def test_recorded_verdicts_are_honoured() -> None:
    """A row that an earlier run gave up is passed by, though nothing here would survive it."""
    [receipt] = InlineEngine().map(
        step("Rows"), [{"rows": 3, "deeds": {"1": "abort"}, "verdicts": {"1": ["crash", ""]}}]
    )
    assert receipt["seen"] == [0, 2]
    assert receipt["verdicts"] == {"1": ["crash", ""]}
