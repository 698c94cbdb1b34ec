"""A corpus folder in use: one run at a time, nobody else's files touched, nothing temporary left."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.files import local_path
from pipelines.layout import Layout
from schemas.errors import OutputError

OURS = {"work", "manifest.json", "run.json"}
"""Names of which one at least lies in every folder that a run has used."""


@contextmanager
def claimed(layout: Layout) -> Iterator[None]:
    """Hold the corpus folder for one run.

    Raises OutputError where another run holds it, or where the folder holds something that is no
    corpus: a run removes what its manifest does not name. The lock is the kernel's, on the open work
    folder, so a killed run leaves none behind. On an object store there is no lock: two runs of one
    recipe write the same bytes.
    """
    if not layout.is_local:
        if layout.store.is_folder(layout.out):
            _refuse_foreign(layout, {info.name.partition("/")[0] for info in layout.store.list_files(layout.out)})
        yield
        return
    out = Path(local_path(layout.out))
    if out.exists() and not out.is_dir():
        raise OutputError(f"{layout.out} is a file; give --out a folder")
    if out.is_dir():
        _refuse_foreign(layout, {entry.name for entry in os.scandir(out)})
    try:
        work = Path(local_path(layout.work))
        work.mkdir(parents=True, exist_ok=True)
        held = os.open(work, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot use {layout.out} as output: {os.strerror(error.errno or 0).lower()}") from error
    try:
        _lock(held, layout)
        shutil.rmtree(work / "tmp", ignore_errors=True)
        yield
        shutil.rmtree(work / "tmp", ignore_errors=True)
    finally:
        os.close(held)


def _lock(held: int, layout: Layout) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{layout.out} is in use by another run; wait for it to end, or give another --out"
        ) from error


def _refuse_foreign(layout: Layout, names: set[str]) -> None:
    if names and not names & OURS:
        shown = ", ".join(sorted(names)[:3])
        raise OutputError(
            f"{layout.out} holds files that are no corpus ({shown}); give --out a new or empty folder, "
            "since a build removes what it did not write"
        )
