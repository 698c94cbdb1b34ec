"""Shards on an object store."""

import pickle
import sys
from pathlib import Path

import fsspec
import pytest

from model import shards
from model.batch import Batch
from model.loader import Feed, Loader
from model.store import Store
from schemas.errors import InputError
from tests.model.corpora import corpus, tokenizer
from tests.model.test_loader import feed, same


def test_remote_like_local(tmp_path: Path) -> None:
    """Shards behind a URL give the batches that they give on disk."""
    corpus(tmp_path, {"caption": 30, "text": 20})
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "shards"), "/corpus/shards", recursive=True)
    store = Store("memory://corpus")
    try:
        remote = Feed(
            store, shards.find(store, "train"), length=96, micro=4, side=16, queries=4, endless=False
        )
        far: list[Batch] = list(Loader(remote, tokenizer()))
        with pytest.raises(InputError, match="ends before"):
            store.read(store.files()[0], 10**9, 5)
    finally:
        memory.rm("/corpus", recursive=True)
    near = list(Loader(feed(tmp_path, endless=False, pool=1024), tokenizer()))
    assert len(far) == len(near)
    assert all(same(a, b) for a, b in zip(far, near, strict=True))


def test_travels(tmp_path: Path) -> None:
    """A store with open files can be sent to another process, and still be used."""
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    store = Store(str(tmp_path))
    assert store.read(str(path), 2, 3) == b"234"
    assert pickle.loads(pickle.dumps(store)).read(str(path), 0, 1) == b"0"
    assert store.read(str(path), 9, 1) == b"9"


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards on a store whose package is not installed: the package, and what to do."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(
        InputError, match=r"gs://bucket/a needs gcsfs: run `make install`.*or copy the shards"
    ):
        Store("gs://bucket/a").files()
