"""What a run does to a corpus folder before its first phase."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from s3fs import S3FileSystem

from pipelines import lock
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.lock import locked


def test_what_a_killed_run_left_on_an_object_store_goes_when_it_is_old(
    tmp_path: Path, s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that a run passed on stay while they may be those of a run at work; old ones go, and nothing else."""
    store, layout = Store(s3_options), Layout("s3://bucket/abandoned", "new", s3_options)
    names = [
        "work/receipts/measure/a/b.json",
        "work/exchange/dead/dedup/1.arrow",
        "work/exchange/dead/2.arrow",
    ]
    for name in names:
        store.write_bytes(layout.at(name), b"1", tmp_path, scratch=True)
    with locked(layout):
        assert {info.name for info in store.list_files(layout.out)} == {*names}
    monkeypatch.setattr(lock, "ABANDONED", -60.0)
    with locked(layout):
        assert {info.name for info in store.list_files(layout.out)} == {names[0]}


def test_a_corpus_is_looked_at_without_listing_all_of_it(s3_options: dict[str, Any]) -> None:
    """Every listing that a run makes before its first phase stops at the next slash."""
    layout = Layout("s3://bucket/claimed", "new", s3_options)
    for name in ("work/receipts/measure/a.json", "shards/train/text/words/a.tar"):
        layout.store.write_bytes(layout.at(name), b"1", "/tmp", scratch=True)
    with (
        mock.patch.object(
            S3FileSystem, "_iterdir", autospec=True, side_effect=S3FileSystem._iterdir
        ) as listed,
        locked(layout),
    ):
        pass
    assert {call.kwargs["delimiter"] for call in listed.call_args_list} == {"/"}
