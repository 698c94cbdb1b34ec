"""The targets of `vlcorpus export`. A new one is a module here and a line in TARGETS."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from pipelines.export import dialects, energon
from pipelines.export.corpus import Export, Links
from pipelines.files import Store, absolute
from pipelines.opening import open_manifest
from schemas.errors import InputError

TARGETS: Final[Mapping[str, Callable[[Export], list[str]]]] = {
    "energon": energon.write,
    **{name: partial(dialects.write, name) for name in (*dialects.WRITERS, "coco")},
}
"""By name what writes the export, and returns what a person should know of it, one sentence each."""


class Asked(NamedTuple):
    """The views that are asked for, by split, task and source; None: all. `images` is a folder to link images to."""

    split: str | None = None
    task: str | None = None
    source: str | None = None
    images: str | None = None


EVERY: Final = Asked()
"""All views."""


def export(
    folder: str, to: str, out: str, storage_options: Mapping[str, Any] | None = None, asked: Asked = EVERY
) -> list[str]:
    """Writes a corpus for another program into `out`; returns what a person should know of it.

    Raises InputError where there is no such target, no finished corpus, or `out` is not empty or lies in the corpus.
    """
    if to not in TARGETS:
        raise InputError(f"there is no export to {to!r}: give one of {', '.join(TARGETS)}")
    store, folder, out = Store(storage_options), absolute(folder), absolute(out)
    manifest = open_manifest(folder, storage_options)
    if f"{out}/".startswith(f"{folder.rstrip('/')}/"):
        raise InputError(
            f"{out} lies in the corpus, where a build removes what is not its own: give another folder"
        )
    if store.exists(out) and (not store.is_folder(out) or store.list_files(out)):
        raise InputError(f"{out} is not empty: give a new folder, or remove what is there")
    links = None if asked.images is None else Links.of(absolute(asked.images), out)
    work = Export(folder, manifest, out, store, *asked[:3], links)
    try:
        return TARGETS[to](work)
    finally:
        work.close()
