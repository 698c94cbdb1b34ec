"""`vlcorpus view`: the samples of a shard, or one by its key, as a page and an image."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.files import Store, join
from pipelines.show import inspect
from pipelines.show.drawing import Shown, view_png
from pipelines.show.page import view_html
from schemas.errors import InputError


def found(what: str, corpus: str, n: int, storage_options: Mapping[str, Any] | None = None) -> list[Shown]:
    """The first `n` samples of the shard `what`; or, where there is no such file, those whose key starts so.

    Raises InputError where nothing is found in either way.
    """
    store = Store(storage_options)
    if what.endswith((".tar", ".parquet")) or store.exists(what):
        samples = list(islice(_whole(store, what), n))
    else:
        samples = list(islice(_by_key(store, what, corpus), n))
    if not samples:
        raise InputError(
            f"{what} is no shard with samples, and no sample of {corpus} has a key that starts with it"
        )
    return samples


def write(samples: list[Shown], page: Path | None, image: Path | None) -> None:
    """Write the page and the image that are asked for."""
    try:
        if page is not None:
            view_html(samples, page)
        if image is not None:
            view_png(samples, image)
    except OSError as error:
        raise InputError(
            f"cannot write {error.filename}: {(error.strerror or 'no access').lower()}"
        ) from error


def _whole(store: Store, path: str) -> Iterator[Shown]:
    for one in inspect.samples(path, None, store.options):
        if one.sample is not None:
            yield Shown(one.sample, one.images)


def _by_key(store: Store, key: str, corpus: str) -> Iterator[Shown]:
    """Samples of a corpus whose key, or a view's, starts with `key`, shard by shard."""
    folder = join(corpus, "shards")
    if not store.is_folder(folder):
        return
    for info in store.list_files(folder):
        if not info.name.endswith(".parquet"):
            continue
        if any(one.startswith(key) for one in inspect.keys(store, info.path)):
            yield from (one for shown in _whole(store, info.path) for one in _called(shown, key))


def _called(shown: Shown, key: str) -> Iterator[Shown]:
    """Yields the sample where its key starts so; else those of its views whose keys do, as a sample."""
    sample = shown.sample
    if sample.key.startswith(key):
        yield shown
    elif views := tuple(view for view in sample.views if view.key.startswith(key)):
        yield Shown(replace(sample, views=views), shown.images)
