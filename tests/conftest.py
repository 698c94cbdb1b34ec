"""Fixtures that every folder of tests shares, and how the tests are spread over the cores."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

from tests import needs

# every core has a test of its own already; and sums of floats are equal to the bit only on equally many threads
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

# no test process loses its power, and a disk takes some ten milliseconds; tests/power.py has a disk of its own
os.fsync = lambda descriptor: None

# a loaded machine is no reason to fail, and CI draws the same examples every time; elsewhere new ones
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("project")


class ByFile(LoadGroupScheduling):
    """Gives the tests of one file to one worker, since they share what the file made; those of a group likewise."""

    def _split_scope(self, nodeid: str) -> str:
        group: str = super()._split_scope(nodeid)
        return group.partition("::")[0]

    def remove_node(self, node: WorkerController) -> str | None:
        """Returns the test that ended its worker; it is not tried again, while the rest of its file is."""
        begun = [
            (tests, test)
            for tests in self.assigned_work[node].values()
            for test, done in tests.items()
            if not done
        ]
        if not begun:
            super().remove_node(node)
            return None
        tests, ended = begun[0]
        tests[ended] = True
        super().remove_node(node)
        return ended


def pytest_xdist_auto_num_workers() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, lest one core runs them while the others have nothing left to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which rooms were not tested, and what to install."""
    skipped: Sequence[pytest.TestReport | pytest.CollectReport] = terminalreporter.getreports("skipped")
    for line in needs.untested((report.nodeid, report.longrepr[2]) for report in skipped):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data that VLCORPUS_TEST_DATA names; skips where there is none."""
    folder = os.environ.get("VLCORPUS_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        needs.skip("real data")
    return Path(folder)
