"""Rows that abort, hang or eat memory, and workers that die for no row's fault."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.child import WorkerDied, WorkerError
from pipelines.engines.isolation import TRIES, IsolatedWorker, child_environment, kind_of_death
from pipelines.engines.step import Limits, Step
from schemas.errors import InputError
from tests.pipelines.engines.workers import NAME

# a sound row of these tests takes microseconds of the processor on any machine, a bad one has to use its deadline up
LIMITS = Limits(row_cpu_seconds=0.5, row_wall_seconds=600.0, memory_bytes=1_500_000_000)


def step(worker: str, limits: Limits = LIMITS, **setup: Any) -> Step:
    return Step("measure", f"{NAME}:{worker}", setup, limits)


@pytest.fixture
def worker() -> Iterator[IsolatedWorker]:
    made = IsolatedWorker(step("Rows"))
    yield made
    made.close()


def kinds(receipt: dict[str, Any]) -> dict[str, str]:
    """What each row is blamed for, by number."""
    return {row: kind for row, (kind, _) in receipt["verdicts"].items()}


@pytest.mark.parametrize(
    ("deed", "kind"), [("abort", "crash"), ("spin", "deadline"), ("eat", "out_of_memory")]
)
def test_the_row_is_blamed(worker: IsolatedWorker, deed: str, kind: str) -> None:
    """A row that aborts, spins in C or eats memory is blamed after three lone tries; the rest are done."""
    receipt = worker.run({"rows": 6, "deeds": {"3": deed}})
    assert kinds(receipt) == {"3": kind}
    assert receipt["seen"] == [0, 1, 2, 4, 5]


def test_c_libraries_are_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff writes of every broken picture to descriptor 2; a person sees Python's warnings only."""
    worker = IsolatedWorker(step("Rows"))
    assert worker.run({"rows": 2, "deeds": {"1": "grumble"}})["seen"] == [0, 1]
    worker.close()
    assert capfd.readouterr().err == "a warning of ours\n"


def test_several_rows_are_blamed(worker: IsolatedWorker) -> None:
    """Of several bad rows, the first and the last among them, each gets its own verdict."""
    receipt = worker.run({"rows": 5, "deeds": {"0": "abort", "2": "spin", "4": "abort"}})
    assert kinds(receipt) == {"0": "crash", "2": "deadline", "4": "crash"}
    assert receipt["seen"] == [1, 3]


def test_a_row_is_tried_alone_three_times(worker: IsolatedWorker, tmp_path: Path) -> None:
    """A bad row is touched once in its turn, three times alone in fresh processes, and passed by once."""
    worker.run({"rows": 3, "deeds": {"1": "abort"}, "notes": str(tmp_path)})
    tries = list(tmp_path.glob("row1.*"))
    assert len(tries) == 1 + TRIES + 1
    assert len({path.suffix for path in tries}) == 1 + TRIES + 1


def test_a_row_that_uses_up_its_cpu_time_again_is_tried_alone_once(
    worker: IsolatedWorker, tmp_path: Path
) -> None:
    """A row that spins is touched once in its turn, once alone, and passed by: each further try would cost as much."""
    receipt = worker.run({"rows": 3, "deeds": {"1": "spin"}, "notes": str(tmp_path)})
    assert receipt["verdicts"] == {
        "1": ("deadline", "it took more than 0.5 seconds of CPU time (resources.row_cpu_seconds)")
    }
    assert len(list(tmp_path.glob("row1.*"))) == 1 + 1 + 1


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("abort", "it crashed, in the filter slow"),
        ("spin", "it took more than 0.5 seconds of CPU time (resources.row_cpu_seconds), in the filter slow"),
    ],
)
def test_what_ran_is_named(worker: IsolatedWorker, deed: str, message: str) -> None:
    """The message of a verdict names the limit that was met and what ran then, and nothing that had ended before."""
    receipt = worker.run({"rows": 3, "deeds": {"1": deed}, "named": "the filter slow"})
    assert receipt["verdicts"]["1"][1] == message
    receipt = worker.run({"rows": 3, "deeds": {"2": "abort"}, "before": "the decoder"})
    assert receipt["verdicts"]["2"] == ("crash", "")


def test_a_task_names_what_ran(worker: IsolatedWorker) -> None:
    """Where no row is to blame the sentence names what ran too; a long name of any script is cut."""
    with pytest.raises(WorkerDied, match=r"\(it crashed, in Ü{31}\)"):
        worker.run(
            {
                "rows": 2,
                "deeds": {"0": "abort"},
                "verdicts": {"0": ["crash", ""]},
                "named": "Ü" * 50,
                "blind": True,
            }
        )


def test_a_sleeping_row_meets_the_clock() -> None:
    """A row that hangs without using the processor meets the deadline by the clock."""
    worker = IsolatedWorker(step("Rows", Limits(row_cpu_seconds=60, row_wall_seconds=0.5)))
    assert worker.run({"rows": 2, "deeds": {"1": "sleep"}})["verdicts"] == {
        "1": ("deadline", "it took more than 0.5 seconds by the clock (resources.row_wall_seconds)")
    }
    worker.close()


@pytest.mark.parametrize("deeds", [{}, {"1": "abort", "4": "abort", "5": "abort"}])
@pytest.mark.parametrize("counted", [True, False])
def test_a_row_is_counted_once(deeds: dict[str, str], counted: bool) -> None:
    """Rows that are tried again after a death count once, on each of several tasks in turn.

    At the end they are as many as the receipt says, or as many as were begun where it does not count them.
    """
    told: list[int] = []
    worker = IsolatedWorker(step("Rows" if counted else "Uncounted"), told.append)
    expected = 0
    for _ in range(2):
        receipt = worker.run({"rows": 6, "deeds": deeds})
        expected += 6 - len(deeds) if counted else 6
        assert len(receipt["seen"]) == 6 - len(deeds)
        assert sum(told) == expected
        assert all(sum(told[:n]) <= expected + len(deeds) for n in range(len(told)))
    worker.close()


def test_a_shuffle_counts_no_rows(tmp_path: Path) -> None:
    """What was begun and is not in the receipt is taken back, and does not come again with the next request."""
    told: list[int] = []
    worker = IsolatedWorker(step("Sums"), told.append)
    worker.run({"numbers": []})
    worker.split([{"numbers": [1, 2]}], str(tmp_path / "piece"))
    assert sum(told) == 0
    worker.close()


def test_verdicts_are_replayed(worker: IsolatedWorker, tmp_path: Path) -> None:
    """A row with a verdict is passed by without a death, and its verdict comes back in the receipt."""
    task = {"rows": 3, "deeds": {"1": "abort"}, "verdicts": {"1": ["crash", ""]}, "notes": str(tmp_path)}
    receipt = worker.run(task)
    assert receipt["verdicts"] == {"1": ["crash", ""]}
    assert len(list(tmp_path.glob("row1.*"))) == 1


def test_a_stray_signal_blames_nobody(tmp_path: Path) -> None:
    """A process that dies at a row which is sound when tried alone is started again, and nobody is blamed."""
    worker = IsolatedWorker(step("Once", deaths=2))
    assert worker.run({"blames": True, "notes": str(tmp_path)})["verdicts"] == {}
    assert len(list(tmp_path.glob("try.*"))) == 3
    worker.close()


def test_a_row_that_always_dies_in_company(tmp_path: Path) -> None:
    """A row that is sound alone but dies in its turn again and again stops the work with a sentence."""
    worker = IsolatedWorker(step("Once", deaths=99))
    with pytest.raises(WorkerDied, match=r"phase measure died 3 times on web/00001 .*resources\.memory_gb"):
        worker.run({"blames": True, "notes": str(tmp_path), "shard": "web/00001"})
    worker.close()


def test_death_with_a_verdict(tmp_path: Path) -> None:
    """Where passing the row by does not help, the work stops after three more deaths instead of for ever."""
    worker = IsolatedWorker(step("Stubborn"))
    with pytest.raises(WorkerDied, match=r"no single row is to blame"):
        worker.run({"shard": "web/00001"})
    worker.close()


def test_death_in_a_batch_turns_careful(worker: IsolatedWorker) -> None:
    """A death while a batch of rows was at hand has the task done again row by row."""
    receipt = worker.run({"rows": 3, "batch": "abort"})
    assert receipt["careful"]
    assert receipt["verdicts"] == {}
    assert not worker.run({"rows": 3})["careful"]


def test_death_outside_rows(tmp_path: Path) -> None:
    """A process that dies where no row is at hand is tried three times, then the work stops."""
    notes = tmp_path / "few"
    notes.mkdir()
    worker = IsolatedWorker(step("Once", deaths=TRIES - 1))
    assert worker.run({"blames": False, "notes": str(notes)})["verdicts"] == {}
    worker.use(step("Once", deaths=TRIES))
    with pytest.raises(WorkerDied):
        worker.run({"blames": False, "notes": str(tmp_path)})
    worker.close()


def test_death_while_it_is_set_up(tmp_path: Path) -> None:
    """A process that dies while it is set up is started again, three times at most; no row is blamed."""
    worker = IsolatedWorker(step("DiesAtSetup", deaths=TRIES - 1, notes=str(tmp_path)))
    assert worker.run({})["ready"]
    worker.use(step("DiesAtSetup", deaths=99, notes=str(tmp_path)))
    with pytest.raises(WorkerDied, match=r"no single row"):
        worker.run({})
    worker.close()


def test_a_child_killed_between_tasks(worker: IsolatedWorker) -> None:
    """A child that was killed while it had nothing to do is replaced without a word, whatever comes next."""
    pid = worker.run({"rows": 1})["pid"]
    os.kill(pid, signal.SIGKILL)
    assert worker.run({"rows": 1})["pid"] != pid
    os.kill(worker.run({"rows": 1})["pid"], signal.SIGKILL)
    worker.use(step("Fails"))
    assert worker.run({"number": 4})["number"] == 4


def test_failures_cross_as_themselves() -> None:
    """A sentence for the user comes out with its class and text; a mistake comes with its traceback."""
    worker = IsolatedWorker(step("Fails"))
    with pytest.raises(InputError, match=r"^source web: cannot read «ü»: mend it$"):
        worker.run({"sentence": True})
    with pytest.raises(WorkerError, match=r"(?s)Traceback.*KeyError: 'a mistake in the program'"):
        worker.run({"mistake": True})
    assert worker.run({"number": 1})["number"] == 1, "the child lives on"
    worker.use(step("Fails", at="setup"))
    with pytest.raises(InputError, match=r"no model at /there"):
        worker.run({"number": 1})
    worker.close()


def test_rows_are_told_as_they_go() -> None:
    """Progress is told while a task runs, and adds up to the rows begun."""
    told: list[int] = []
    worker = IsolatedWorker(step("Rows"), told.append)
    worker.run({"rows": 10})
    worker.run({"rows": 5})
    assert sum(told) == 15
    worker.close()


def test_stdout_is_ours(capfd: pytest.CaptureFixture[str]) -> None:
    """What a worker prints goes to standard error: standard output may be JSON for a machine."""
    worker = IsolatedWorker(step("Pid"))
    worker.run({})
    worker.close()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "a library that prints" in captured.err


def test_no_file_is_left_open() -> None:
    """Children that come and go leave no descriptor behind."""
    before = len(os.listdir("/proc/self/fd"))
    worker = IsolatedWorker(step("Rows"))
    for _ in range(5):
        worker.run({"rows": 1})
        worker.close()
    assert len(os.listdir("/proc/self/fd")) <= before


PARENT = f"""
import sys
from pipelines.engines.isolation import IsolatedWorker
from pipelines.engines.step import Step
IsolatedWorker(Step("measure", "{NAME}:Hold")).run({{"pid": sys.argv[1]}})
"""


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    """SIGKILL of the parent ends the child at once, though it spins in C and no deadline runs."""
    pid_file = tmp_path / "pid"
    environment = child_environment(step("Rows"))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(pid_file)], env=environment)
    wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()))
    child = int(pid_file.read_text())
    time.sleep(0.2)
    assert is_alive(child)
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_alive(child), 10)


def test_kinds_of_death() -> None:
    """The kernel's timers mean a deadline, its out-of-memory killer memory, all else a crash."""
    assert {kind_of_death(-code) for code in (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU)} == {"deadline"}
    assert kind_of_death(-signal.SIGKILL) == "out_of_memory"
    assert {kind_of_death(code) for code in (0, 1, -signal.SIGSEGV, -signal.SIGABRT)} == {"crash"}


def wait_until(condition: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
