"""A dry run's place to work: what a corpus knows already, in a folder of its own that is gone afterwards."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipelines.files import join, local_path
from pipelines.layout import Layout

KNOWN: Final = ("receipts", "rendered", "signals", "further", "clusters", "scores", "verdicts")
"""Folders of work/ that the phases up to select read."""


@contextmanager
def rehearsed(layout: Layout) -> Iterator[Layout]:
    """A temporary corpus folder with the results that `layout` has; nothing is written to that one.

    Local files are linked, since a phase never changes a file in place: it puts another in its stead.
    """
    with tempfile.TemporaryDirectory(prefix="vlcorpus-dry-run-") as folder:
        for kind in KNOWN:
            known = join(layout.work, kind)
            for info in layout.store.list_files(known) if layout.store.is_folder(known) else ():
                place = Path(folder, "work", kind, info.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                if layout.is_local:
                    os.symlink(local_path(info.path), place)
                else:
                    place.write_bytes(layout.store.read_bytes(info.path))
        yield Layout(folder, layout.run)
