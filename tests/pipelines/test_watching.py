"""What stands between a build and its engine."""

import time
from functools import partial
from pathlib import Path
from unittest import mock

from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.watching import Each, Flush, input_shards_of


def test_workers_that_write_faster_than_the_disk_wait_for_it(tmp_path: Path) -> None:
    """Of the files on their way to the disk only so many are kept in mind; all receipts are written, in their order."""
    written: list[int] = []

    def slow(store: Store, path: str) -> None:
        time.sleep(0.002)

    with (
        mock.patch("pipelines.watching._WAITING", 2),
        mock.patch.object(Store, "sync", slow),
        Flush(Layout(str(tmp_path))) as flush,
    ):
        for number in range(20):
            flush.then([{"name": f"work/signals/web/{number}.parquet"}], partial(written.append, number))
            assert number + 1 - len(written) <= 2
    assert written == [*range(20)]


def test_what_is_made_of_each_item_is_made_when_it_is_asked_for() -> None:
    """One by one, by a slice, and again each time; nothing is made before."""
    made: list[int] = []

    def double(item: int) -> int:
        made.append(item)
        return 2 * item

    each = Each([1, 2, 3], double)
    assert (len(each), made) == (3, [])
    assert (each[1], each[1:], each[-1]) == (4, [4, 6], 6)
    assert [*each] == [2, 4, 6]
    assert made == [2, 2, 3, 3, 1, 2, 3]


def test_a_task_for_a_group_of_shards_names_each_of_them() -> None:
    """The files of all are held against their digests; a task that counts shards names none."""
    group = {"number": 4, "source": "web", "shards": ["a", "b"], "rows": [3, 5]}
    assert [*input_shards_of(group)] == [("web", "a"), ("web", "b")]
    assert [*input_shards_of({"source": "web", "groups": [{"shards": ["a"]}, {"shard": "b"}]})] == [
        ("web", "a"),
        ("web", "b"),
    ]
    assert not [*input_shards_of({"shards": 5})]
    assert not [*input_shards_of({"source": "web", "shards": 5})]
