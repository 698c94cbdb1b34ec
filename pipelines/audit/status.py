"""What has become of a corpus folder so far, read from what lies in it."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from pipelines.annotated import text
from pipelines.engines.step import Json
from pipelines.fetch.pulse import Pulse, left
from pipelines.files import local_path
from pipelines.layout import Layout, Name, name_of, text_of
from pipelines.manifest import manifest_bytes, with_list
from pipelines.phases.table import PHASES
from pipelines.receipts import Receipts, is_finished, listed
from pipelines.remarks import Ledgers, Loss, Losses, bad_shards, notes, quarantined, summed
from pipelines.verdicts import Verdicts
from schemas.errors import DamagedError, InputError, VerifyError
from schemas.manifest import Manifest, load
from schemas.plain import many

_AT_ONCE: Final = 8
_SHOWN: Final = 10
"""So many files that were lost are named."""


@dataclass(frozen=True)
class Status:
    """A corpus folder: whether a run holds it, tasks done and rows by phase, errors, the last log.

    `messages` are each source's commonest ones of quarantined rows; `members` says what no row uses of the tars'
    members, `annotations` what became of those of each source, by the manifest; `phase` is the one that the last run
    got to; `verdicts` counts rows. `work`: its work folder is there, else
    `rows` are those of the manifest. `lost` names the files of a finished corpus that are missing or of another size,
    and its list of files where that is damaged.
    `fetching`: how the fetch of each source stands, or stood when its run was killed.
    """

    running: bool
    finished: bool
    phase: str
    tasks: dict[str, int]
    rows: int
    quarantined: dict[str, int]
    messages: list[Loss]
    damaged: list[str]
    members: list[str]
    annotations: list[str]
    verdicts: int
    last: list[Json] = field(default_factory=list)
    work: bool = True
    lost: list[str] = field(default_factory=list)
    fetching: dict[str, Pulse] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The status as JSON."""
        return asdict(self)


def read(folder: str, storage_options: Mapping[str, Any] | None = None) -> Status:
    """The status of the corpus in `folder`; InputError where there is none."""
    layout = Layout(folder, options=dict(storage_options or {}))
    work, (manifest, unread) = layout.store.is_folder(layout.work), _manifest(layout)
    if not work and manifest is None:
        raise InputError(
            f"{folder} holds no corpus: it has neither a manifest that can be read nor a work folder; build one with "
            f"--out {folder}"
        )
    tasks, measured, finished = _receipts(layout)
    last = _last(layout)
    return Status(
        running=work and _held(layout),
        finished=finished and manifest is not None and not unread,
        phase=str(last[-1]["phase"]) if last else "",
        tasks=tasks,
        rows=measured.rows if work or manifest is None else sum(one.rows for one in manifest.sources),
        quarantined=dict(sorted(measured.errors.items(), key=lambda pair: (-pair[1], pair[0]))),
        messages=_messages(layout, measured.quarantined),
        damaged=[f"{text_of(name)}: {why}" for name, why in measured.bad],
        members=list(notes(summed(measured.ledgers))),
        annotations=_annotations(manifest),
        verdicts=sum(len(one.members) for one in Verdicts.read(layout).shards.values()),
        last=last,
        work=work,
        lost=sorted({*unread, *_lost(layout, manifest)}) if finished and manifest is not None else [],
        fetching=left(layout),
    )


def _manifest(layout: Layout) -> tuple[Manifest | None, list[str]]:
    """Returns the manifest, and the name of its list of files where that is missing or damaged.

    None where there is no manifest, or none that can be read (`verify` says why).
    """
    with suppress(InputError, VerifyError):
        manifest = load(manifest_bytes(layout.store, layout.out), sums=False)
        with suppress(VerifyError):
            return with_list(layout.store, layout.out, manifest), []
        return manifest, [manifest.files] if manifest.files else []
    return None, []


def _annotations(manifest: Manifest | None) -> list[str]:
    found = manifest.annotations if manifest is not None else {}
    return [f"source {source}: {text(one)}" for source, one in sorted(found.items())]


def _lost(layout: Layout, manifest: Manifest) -> list[str]:
    """Returns the names of the manifest's files that are missing, or of another size."""
    store, sizes = layout.store, dict[str, int]()
    # work/ is not listed: on a large corpus it holds many times more files than the manifest names
    for first in sorted({name.partition("/")[0] for name in manifest.outputs} & store.names_in(layout.out)):
        place = layout.at(first)
        if store.is_folder(place):
            sizes |= {f"{first}/{info.name}": info.size for info in store.list_files(place)}
        else:
            try:
                sizes[first] = store.info(place).size
            except InputError as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # a link may lead nowhere
                    raise
    return [name for name, one in manifest.outputs.items() if sizes.get(name) != one.size]


def show(status: Status, console: Console) -> None:
    """Print the status for a person."""
    where = f" (last in phase {status.phase})" if status.phase else ""
    state = "finished" if status.finished else f"not finished{where}; run it again to go on"
    if status.running:
        state = f"running{where}"
    if status.lost:
        state = f"damaged: {many(len(status.lost), 'file')} missing or damaged; run it again to mend it"
    console.print(f"state: {state}")
    for name in status.lost[:_SHOWN]:
        console.print(f"  {name}", soft_wrap=True)
    if not status.work:
        console.print("there is no work folder: the next build measures again")
    table = Table("phase", "tasks done")
    for phase, done in status.tasks.items():
        table.add_row(phase, f"{done:,}")
    console.print(table)
    for source, pulse in status.fetching.items():
        console.print(
            f"fetch of source {source}{'' if status.running else ', when its run was killed'}: "
            f"{many(pulse.asked, 'URL')} asked for, {many(pulse.rows, 'row')} with an answer, "
            f"{many(pulse.images, 'image')} ({pulse.bytes / 1e6:,.1f} MB)",
            soft_wrap=True,
        )
    console.print(f"rows measured: {status.rows:,}")
    for error, count in status.quarantined.items():
        console.print(f"  quarantined: {error}: {count:,}")
    for loss in status.messages:
        console.print(f"    {loss.source}: {loss}", soft_wrap=True)
    others = sum(status.quarantined.values()) - sum(loss.rows for loss in status.messages)
    if others > 0 and status.messages:
        console.print(f"    {others:,} with other messages")
    for line in status.annotations:
        console.print(f"  {line}", soft_wrap=True)
    for line in status.members:
        console.print(f"  {line}", soft_wrap=True)
    for line in status.damaged:
        console.print(f"  damaged shard {line}")
    if status.verdicts:
        console.print(f"rows given up for crash, deadline or memory: {status.verdicts:,}")
    for event in status.last:
        if event["event"] == "failed":
            console.print(f"last run failed in {event['phase']}: {event['message']}")


def _messages(layout: Layout, shards: list[Name]) -> list[Loss]:
    """The commonest messages of each source's quarantined rows."""

    def rows(name: Name) -> list[dict[str, Any]]:
        # a run may take a file away at this moment
        with suppress(DamagedError):
            return quarantined(layout, *name)
        return []

    losses: dict[str, Losses] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for first in range(0, len(shards), _AT_ONCE):
            batch = shards[first : first + _AT_ONCE]
            for (source, _), found in zip(batch, pool.map(rows, batch), strict=True):
                losses.setdefault(source, Losses(source)).add(found)
    return [loss for one in losses.values() for loss in one.commonest()]


@dataclass
class _Measured:
    """What the receipts of phase measure say: rows, errors, input shards that are damaged or have errors, members."""

    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    quarantined: list[Name] = field(default_factory=list)
    bad: list[tuple[Name, str]] = field(default_factory=list)
    ledgers: dict[str, Ledgers] = field(default_factory=dict)

    @classmethod
    def of(cls, receipts: Receipts) -> "_Measured":
        """Reads each receipt once, in the order of sources and shards; of most of it nothing is kept."""
        found = cls()
        for name in sorted(map(name_of, receipts)):
            receipt = receipts.last(text_of(name))
            found.rows += receipt["rows"]
            found.errors.update(receipt["errors"])
            if receipt["errors"]:
                found.quarantined.append(name)
            found.bad += bad_shards({name: receipt})
            found.ledgers.setdefault(name[0], Ledgers()).add(name, receipt)
        return found


def _receipts(layout: Layout) -> tuple[dict[str, int], _Measured, bool]:
    """Returns the tasks done by phase, what was measured, whether the corpus is finished; reads a phase at a time."""
    files, tasks, measured = listed(layout), dict[str, int](), _Measured()
    for one in PHASES:
        receipts = Receipts(layout, one.name, files=files.get(one.name, ()))
        if receipts:
            tasks[one.name] = len(receipts)
        if one.name == "measure":
            measured = _Measured.of(receipts)
    # those of the last phase, the card, are at hand
    return tasks, measured, is_finished(layout, receipts)


def _held(layout: Layout) -> bool:
    """Whether a run holds the folder just now; on an object store nobody can tell."""
    if not layout.is_local:
        return False
    work = os.open(local_path(layout.work), os.O_RDONLY)
    try:
        fcntl.flock(work, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(work)
    return False


def _last(layout: Layout) -> list[Json]:
    """The events of the log with the highest number."""
    # below lie the attempts of downloads
    logs = {info.name: info.path for _, info in layout.listed("log") if "/" not in info.name}
    if not logs:
        return []
    return [json.loads(line) for line in layout.store.read_bytes(logs[max(logs)]).splitlines()]
