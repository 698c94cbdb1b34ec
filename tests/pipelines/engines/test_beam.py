"""The Beam engine, in memory and with processes of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("apache_beam", reason="the Beam tests need the extra beam")

from pipelines.engines.beam import BeamEngine, MapFn, _count
from pipelines.files import join
from pipelines.layout import Layout
from schemas.errors import InputError
from tests.pipelines.engines import contract
from tests.pipelines.engines.test_isolation import is_alive

PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[BeamEngine]:
    """In memory, within this process."""
    made = BeamEngine((), 2)
    made.open(Layout(str(tmp_path / "corpus")))
    yield made
    made.close()


@pytest.fixture
def processes(tmp_path: Path) -> BeamEngine:
    """With processes of the runner, which every pipeline starts anew."""
    made = BeamEngine(PROCESSES, 2)
    made.open(Layout(str(tmp_path / "corpus")))
    return made


def test_it_says_nothing_at_the_start() -> None:
    """Beam's warning of Google's client libraries, which nobody asked for, does not reach the terminal."""
    script = "import pipelines.engines.beam, apache_beam.io.gcp.internal.clients.bigquery"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "apitools" not in done.stderr


def test_map_and_shuffle(engine: BeamEngine, tmp_path: Path) -> None:
    """Receipts come in the order of tasks and partitions, and the folder they pass through is gone."""
    contract.maps_in_order(engine)
    contract.shuffles(engine)
    contract.shuffles_nothing(engine)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    contract.describes_what_is_left(engine, str(tmp_path))


def test_map_and_shuffle_in_processes(processes: BeamEngine, tmp_path: Path) -> None:
    """The same with processes of the runner's own."""
    contract.maps_in_order(processes)
    contract.shuffles(processes)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.long
def test_poison_in_processes(processes: BeamEngine) -> None:
    """With processes, too, exactly the rows that misbehave are blamed."""
    contract.blames_rows(processes)


def test_a_failure_in_processes(processes: BeamEngine) -> None:
    """A failure crosses the runner's processes as itself."""
    with pytest.raises(InputError, match=r"^source web: cannot read «ü»: mend it$"):
        processes.map(contract.step("Fails"), [{"number": 2, "sentence": True}])


def test_poison(engine: BeamEngine) -> None:
    """Exactly the rows that misbehave are blamed; the pipeline neither dies nor hangs."""
    contract.blames_rows(engine)


def test_failures(engine: BeamEngine, tmp_path: Path) -> None:
    """Failures cross Beam as themselves, and the engine goes on afterwards."""
    contract.carries_failures(engine, str(tmp_path))
    contract.maps_in_order(engine)


def test_children_are_kept_in_this_process() -> None:
    """In memory one child serves the pipelines of all steps, a failure between them included, until the end."""
    engine = BeamEngine((), 2)
    seen = engine.map(contract.step("Pid"), [{}, {}])
    with pytest.raises(InputError, match="cannot read"):
        engine.map(contract.step("Fails"), [{"sentence": True}])
    contract.shuffles(engine)
    seen += engine.map(contract.step("Pid"), [{}])
    assert len({receipt["pid"] for receipt in seen}) == 1
    assert is_alive(seen[0]["pid"])
    engine.close()
    assert not is_alive(seen[0]["pid"])


def test_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam's counters tell rows, what became of them, and why."""
    counted: dict[str, int] = {}

    class Counter:
        def __init__(self, name: str) -> None:
            self._name = name

        def inc(self, count: int) -> None:
            counted[self._name] = counted.get(self._name, 0) + count

    monkeypatch.setattr("pipelines.engines.beam.Metrics.counter", lambda space, name: Counter(name))
    _count(
        {
            "rows": 5,
            "kept": 2,
            "dropped": 2,
            "quarantined": 1,
            "reasons": {"emoji": 2},
            "errors": {"empty": 1},
        }
    )
    _count({"rows": 1, "kept": 1, "dropped": 0})
    assert counted == {
        "rows": 6,
        "kept": 3,
        "dropped": 2,
        "quarantined": 1,
        "dropped: emoji": 2,
        "quarantined: empty": 1,
    }


def test_counters_reach_the_runner(tmp_path: Path) -> None:
    """A pipeline's result holds the counters that its workers counted."""
    import json

    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines.engines.beam import Mail

    layout = Layout(str(tmp_path))
    mail = Mail(layout)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    tasks = [(n, json.dumps({"numbers": [1] * (n + 1)})) for n in range(3)]
    _ = pipeline | beam.Create(tasks) | beam.ParDo(MapFn(contract.step("Sums").to_text(), mail.address))
    counters = pipeline.run().metrics().query()["counters"]
    assert sum(one.result for one in counters if one.key.metric.name == "rows") == 6
    assert sorted(index for index, _ in mail.fresh({})) == [0, 1, 2]
    assert layout.store.list_files(join(layout.work, "exchange"))
    mail.remove()


def test_the_pipeline_is_plain_data() -> None:
    """What travels to a runner pickles without the driver's state."""
    import pickle

    from pipelines.engines.beam import ReduceFn, SplitFn

    for kind in (MapFn, SplitFn, ReduceFn):
        made = kind(contract.step("Sums").to_text(), "{}")
        assert pickle.loads(pickle.dumps(made)).__dict__ == made.__dict__
