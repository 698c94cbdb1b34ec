"""What every engine must do, as checks that the tests of each engine call."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from pipelines.engines import EngineName
from pipelines.engines.child import WorkerDied, WorkerError
from pipelines.engines.step import Engine, Json, Limits, Step
from pipelines.runs import Options
from schemas.errors import InputError
from tests.pipelines.engines.workers import NAME

OTHERS = [
    pytest.param(
        Options(name, workers=None if name == EngineName.ray else 2),
        id=name,
        marks=[pytest.mark.xdist_group("ray")] if name == EngineName.ray else [],
    )
    for name in EngineName
    if name != EngineName.inline
]
"""How a build runs on every engine but the inline one; the fixture `other_engine` gives each to a test."""

QUIET = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("DeprecationWarning", "ResourceWarning", "FutureWarning")
]
"""Marks of tests in whose process Ray and Beam warn of themselves."""

LIMITS = Limits(row_cpu_seconds=1.0, row_wall_seconds=120.0, memory_bytes=1_500_000_000)


def step(worker: str, **setup: Any) -> Step:
    return Step("measure", f"{NAME}:{worker}", setup, LIMITS)


def maps_in_order(engine: Engine) -> None:
    """Receipts come in the order of the tasks; each is told once, with its index."""
    tasks: list[Json] = [{"numbers": [n, n + 1]} for n in range(9)]
    told: list[tuple[int, int]] = []
    receipts = engine.map(step("Sums"), tasks, lambda index, receipt: told.append((index, receipt["sum"])))
    assert [receipt["sum"] for receipt in receipts] == [2 * n + 1 for n in range(9)]
    assert sorted(told) == [(n, 2 * n + 1) for n in range(9)]


def shuffles(engine: Engine) -> None:
    """Rows of a partition meet whole; partitions without rows are not reduced; receipts are in order."""
    tasks: list[Json] = [{"numbers": list(range(n * 10, n * 10 + 10, 2))} for n in range(4)]
    receipts = engine.shuffle(step("Sums", modulus=10), tasks, 10)
    numbers = [n for task in tasks for n in task["numbers"]]
    assert receipts == [
        {"partition": p, "sum": sum(n for n in numbers if n % 10 == p), "rows": 4} for p in range(0, 10, 2)
    ]


def shuffles_into_many(engine: Engine) -> None:
    """Rows of a partition meet whole where partitions are many, and come from many small tasks."""
    tasks: list[Json] = [{"numbers": [n, 3 * n]} for n in range(1, 201)]
    receipts = engine.shuffle(step("Sums", modulus=500), tasks, 500)
    numbers = [n for task in tasks for n in task["numbers"]]
    held = {p: [n for n in numbers if n % 500 == p] for p in range(500)}
    assert receipts == [
        {"partition": p, "sum": sum(mine), "rows": len(mine)} for p, mine in held.items() if mine
    ]


def shuffles_nothing(engine: Engine) -> None:
    """Where no task has a row there is nothing to reduce."""
    assert engine.shuffle(step("Sums"), [{"numbers": []}, {"numbers": []}], 4) == []


def describes_what_is_left(engine: Engine, folder: str) -> None:
    """Of a step that keeps its scratch files each is described once, by whichever task wrote it; else none is."""
    plain = step("Leaves", modulus=4, layout={"out": folder})
    keeping, kept = replace(plain, kept=True), list[Json]()
    tasks: list[Json] = [{"number": n, "numbers": list(range(n, n + 9))} for n in range(3)]
    mapped = engine.map(keeping, tasks)
    reduced = engine.shuffle(keeping, tasks, 4, kept.extend)
    found = [kept, *([one for receipt in some for one in receipt["scratch"]] for some in (mapped, reduced))]
    for names, files in zip(("split-0 1 2", "run-0 1 2", "reduce-0 1 2 3"), found, strict=True):
        verb, _, numbers = names.partition("-")
        wanted = {f"{folder}/work/left/{verb}-{number}" for number in numbers.split()}
        assert sorted(one["name"] for one in files) == sorted(wanted)
        for one in files:
            data = Path(one["name"]).read_bytes()
            assert (one["size"], one["digest"]) == (len(data), xxhash.xxh3_128_hexdigest(data))
    kept.clear()
    assert not any(
        "scratch" in one for one in engine.map(plain, tasks) + engine.shuffle(plain, tasks, 4, kept.extend)
    )
    assert not kept


def blames_rows(engine: Engine) -> None:
    """Rows that abort, spin or eat memory are blamed, each in its task; all others are done."""
    deeds: Json = {"1": "abort", "2": "spin", "4": "eat"}
    receipts = engine.map(step("Rows"), [{"rows": 2}, {"rows": 6, "deeds": deeds}, {"rows": 3}])
    assert [{row: kind for row, (kind, _) in one["verdicts"].items()} for one in receipts] == [
        {},
        {"1": "crash", "2": "deadline", "4": "out_of_memory"},
        {},
    ]
    assert [receipt["seen"] for receipt in receipts] == [[0, 1], [0, 3, 5], [0, 1, 2]]


def carries_failures(engine: Engine, tmp: str) -> None:
    """A worker's failure is raised in the driver as itself, from map, split and reduce."""
    fine: Json = {"number": 1}
    with pytest.raises(InputError, match=r"^source web: cannot read «ü»: mend it$"):
        engine.map(step("Fails"), [fine, {"number": 2, "sentence": True}])
    with pytest.raises(WorkerError, match=r"a mistake in the program"):
        engine.map(step("Fails"), [{"number": 2, "mistake": True}])
    with pytest.raises(InputError, match=r"^source web: cannot split: mend it$"):
        engine.shuffle(step("Fails"), [{"number": 2, "sentence": True}], 2)
    with pytest.raises(InputError, match=r"^source web: cannot reduce: mend it$"):
        engine.shuffle(step("Fails"), [fine], 2)
    with pytest.raises(WorkerDied, match=r"^the worker of phase measure died 3 times on web/7 "):
        engine.map(step("Once", deaths=99), [{"blames": False, "notes": tmp, "shard": "web/7"}])
