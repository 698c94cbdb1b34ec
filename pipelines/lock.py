"""A corpus folder in use: one run at a time, nobody else's files touched, nothing temporary left."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipelines.files import join, local_path, remedy, why
from pipelines.layout import Layout
from schemas.errors import InputError, OutputError
from schemas.manifest import MANIFEST, MAX_BYTES

PATIENCE: Final = 2.0
"""Seconds for which a folder in use is asked again: `status` holds it for a moment, and so does a killed
run's last breath."""

ABANDONED: Final = 7 * 86_400.0
"""Seconds after which nobody comes back to what a run on an object store passes between its steps."""

TEMPORARY: Final = ("tmp", "exchange")
MARK: Final = "receipts"
"""What every run makes in its work folder: a folder that has it is a corpus."""


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the corpus folder for one run.

    Raises OutputError where another run holds it, or where the folder holds something that is no
    corpus: a run removes what its manifest does not name. The lock is the kernel's, on the open work
    folder, so a killed run leaves none behind. On an object store there is no lock: two runs of one
    recipe write the same bytes. What killed runs left there goes when it is ABANDONED.
    """
    if not layout.is_local:
        if layout.store.is_folder(layout.out):
            _refuse_foreign(layout)
            _remove_abandoned(layout)
        yield
        return
    out = Path(local_path(layout.out))
    try:
        if out.exists() and not out.is_dir():
            raise OutputError(f"{layout.out} is a file; give --out a folder")
        if out.is_dir():
            _refuse_foreign(layout)
        work = Path(local_path(layout.work))
        (work / MARK).mkdir(parents=True, exist_ok=True)
        held = os.open(work, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot use {layout.out} as output: {why(error)}; {remedy(error)}") from error
    try:
        _lock(held, layout)
        _remove_temporary(work)
        try:
            yield
        finally:
            _remove_temporary(work)
    finally:
        os.close(held)


def _remove_abandoned(layout: Layout) -> None:
    """Removes what runs that were killed left on an object store; one that is at work elsewhere is not known there.

    So only what nobody has added to for a long time goes: a run that lives writes its next files much sooner.
    """
    for name in TEMPORARY:
        for run in layout.store.entries(join(layout.work, name)):
            newest = layout.store.newest(run.info.path) if run.is_folder else None
            if newest is not None and time.time() - newest > ABANDONED:
                layout.store.remove_folder(run.info.path)


def _remove_temporary(work: Path) -> None:
    for name in TEMPORARY:
        shutil.rmtree(work / name, ignore_errors=True)


def _lock(held: int, layout: Layout) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise OutputError(
                    f"{layout.out} is in use by another run; wait for it to end, or give another --out"
                ) from error
        time.sleep(0.1)


def _refuse_foreign(layout: Layout) -> None:
    names = _names(layout, layout.out)
    inside = _names(layout, layout.work)
    own = {name for name in names if not name.startswith(".")}
    # a run that was killed at its very start leaves no more than this
    new = own <= {"work"} and inside <= {*TEMPORARY, "log", "signals"}
    if new or MARK in inside or _has_manifest(layout):
        return
    shown = ", ".join(sorted(own)[:3])
    raise OutputError(
        f"{layout.out} holds files that are no corpus ({shown}); give --out a new or empty folder, "
        "since a build removes what it did not write"
    )


def _names(layout: Layout, folder: str) -> set[str]:
    """Returns the names of what lies right below a folder; none where there is no folder."""
    return layout.store.names_in(folder) if layout.store.is_folder(folder) else set()


def _has_manifest(layout: Layout) -> bool:
    """Whether the folder has a manifest of ours, of whatever version."""
    try:
        record = json.loads(layout.store.read_bytes(join(layout.out, MANIFEST), MAX_BYTES))
    except (InputError, ValueError):
        return False
    return isinstance(record, dict) and {"schema_version", "recipe", "funnel"} <= record.keys()
