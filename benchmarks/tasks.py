"""What a task costs beside its work: microseconds of tasks that do nothing, on local workers and on Ray.

python -m benchmarks.tasks [--tasks 20000] [--workers 2]
"""

import argparse
import time
from collections.abc import Callable

from pipelines.engines.local import LocalEngine
from pipelines.engines.ray import RayEngine
from pipelines.engines.step import IDLE, At, Engine, Json, Step


class Nothing:
    """Touches one row, and does nothing to it."""

    def __init__(self, setup: Json) -> None:
        pass

    def run(self, task: Json, at: At) -> Json:
        """Returns a small receipt."""
        at(0)
        at(IDLE)
        return {"rows": 1, "number": task["number"]}


def cost(make: Callable[[], Engine], count: int, twice: bool = True) -> tuple[float, float]:
    """Returns microseconds by the clock, and of the driver's CPU, of one of so many tasks.

    Tasks that may not run `twice` go out one by one.
    """
    engine, step = make(), Step("measure", "benchmarks.tasks:Nothing", twice=twice)
    tasks: list[Json] = [
        {"number": number, "shard": f"web/{number:06d}", "path": f"/data/crawl/{number:06d}.tar"}
        for number in range(count)
    ]
    # until all workers are up
    engine.map(step, tasks[:200])
    clock, cpu = time.perf_counter(), time.process_time()
    receipts = engine.map(step, tasks)
    spent = time.perf_counter() - clock, time.process_time() - cpu
    engine.close()
    assert [receipt["number"] for receipt in receipts] == list(range(count))
    return spent[0] / count * 1e6, spent[1] / count * 1e6


def main() -> None:
    """Prints a line for each engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    runs: list[tuple[str, Callable[[], Engine], bool]] = [
        ("local", lambda: LocalEngine(given.workers), True),
        ("ray, in batches", lambda: RayEngine(given.workers, None), True),
        ("ray, one by one", lambda: RayEngine(given.workers, None), False),
    ]
    for name, make, twice in runs:
        clock, cpu = cost(make, given.tasks, twice)
        print(f"{name:15s} {clock:7.0f} µs a task, {cpu:7.0f} of them CPU of the driver", flush=True)


if __name__ == "__main__":
    main()
