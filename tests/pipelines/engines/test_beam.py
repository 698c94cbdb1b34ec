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
from tests.pipelines.engines import contract

PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture(params=[(), PROCESSES], ids=["in_memory", "multi_processing"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BeamEngine]:
    made = BeamEngine(request.param, 2)
    made.open(Layout(str(tmp_path / "corpus")))
    yield made
    made.close()


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


def test_poison(engine: BeamEngine) -> None:
    """Exactly the rows that misbehave are blamed; the pipeline neither dies nor hangs."""
    contract.blames_rows(engine)


def test_failures(engine: BeamEngine, tmp_path: Path) -> None:
    """Failures cross Beam as themselves, and the engine goes on afterwards."""
    contract.carries_failures(engine, str(tmp_path))
    contract.maps_in_order(engine)


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

    from pipelines.engines.beam import Mail, _dump

    layout = Layout(str(tmp_path))
    mail = Mail(layout)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    tasks = [(n, json.dumps({"numbers": [1] * (n + 1)})) for n in range(3)]
    _ = pipeline | beam.Create(tasks) | beam.ParDo(MapFn(_dump(contract.step("Sums")), mail.address))
    counters = pipeline.run().metrics().query()["counters"]
    assert sum(one.result for one in counters if one.key.metric.name == "rows") == 6
    assert sorted(index for index, _ in mail.fresh({})) == [0, 1, 2]
    assert layout.store.list_files(join(layout.work, "exchange"))
    mail.remove()


def test_the_pipeline_is_plain_data() -> None:
    """What travels to a runner pickles without the driver's state."""
    import pickle

    from pipelines.engines.beam import ReduceFn, SplitFn, _dump

    for kind in (MapFn, SplitFn, ReduceFn):
        made = kind(_dump(contract.step("Sums")), "{}")
        assert pickle.loads(pickle.dumps(made)).__dict__ == made.__dict__
