"""What a person, a log or a machine sees while phases run, and of the funnel at the end."""

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.files import is_local
from pipelines.show.terminal import Terminal
from schemas.manifest import Funnel
from schemas.plain import many, say


def funnel_table(source: str, funnel: Funnel) -> Table:
    """One source's rows, rule by rule: how many fell there first, how many failed it at all."""
    table = Table(title=f"source {source}", title_justify="left")
    table.add_column("what became of the rows")
    table.add_column("rows", justify="right")
    table.add_column("%", justify="right")
    table.add_column("failed in all", justify="right")
    table.add_row("read", f"{funnel.rows:,}", "100.0", "")
    for error, count in funnel.errors.items():
        table.add_row(f"quarantined: {error}", f"{count:,}", _percent(count, funnel.rows), "")
    for rule in funnel.rules:
        table.add_row(
            f"dropped: {rule.rule}",
            f"{rule.dropped:,}",
            _percent(rule.dropped, funnel.rows),
            f"{rule.failed:,}",
        )
    table.add_section()
    table.add_row("kept", f"{funnel.kept:,}", _percent(funnel.kept, funnel.rows), "", style="bold")
    return table


def print_end(funnels: Mapping[str, Funnel], out: str, complete: bool) -> None:
    """Prints what became of the rows and, where the corpus is whole, where it is and how to check it."""
    console = Terminal()
    for source, funnel in funnels.items():
        console.print(funnel_table(source, funnel))
    if complete:
        console.print(f"corpus: {out} (README.md says what is in it)", soft_wrap=True)
        console.print(f"check:  {_check(out)}", soft_wrap=True)


def _check(out: str) -> str:
    """The command that checks a corpus; on an object store with the option for what the recipe alone has."""
    if is_local(out):
        return f"vlcorpus verify {out}"
    return (
        f"vlcorpus verify {out} --storage-options FILE (FILE: the recipe's storage_options; where there are none, "
        "leave the option out)"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


class Reporter:
    """Hears of phases as they go; this one says nothing. Every call is cheap."""

    def begin(self, phase: str, tasks: int, done: int) -> None:
        """A phase starts: so many tasks in all, so many done by earlier runs."""

    def rows(self, count: int) -> None:
        """So many more rows were begun; of a task that is done, as many as its receipt counts."""

    def task(self, receipt: dict[str, Any]) -> None:
        """A task of the phase is done."""

    def live(self, text: str) -> None:
        """How tasks stand that are not done, in a few words: in the place of what receipts say."""

    def end(self) -> None:
        """The phase is done, or was broken off."""

    def say(self, sentence: str) -> None:
        """Something a person should know."""

    def finish(self, funnels: Mapping[str, Funnel], out: str, complete: bool, remarks: Sequence[str]) -> None:
        """The run has ended: what became of every source's rows; `complete` if the corpus is whole.

        `remarks` are sentences that a person should know at the end.
        """

    def close(self) -> None:
        """Nothing more will come."""


class Meter(Reporter):
    """Counts what a phase does: rows, rows/s, MB/s, kept; `show` is called whenever there is more to show."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        Meter.begin(self, "", 0, 0)

    def begin(self, phase: str, tasks: int, done: int) -> None:
        self._phase, self._tasks, self._done = phase, tasks, done
        self._rows = self._bytes = self._kept = self._judged = 0
        self._live = ""
        self._since = time.monotonic()

    def rows(self, count: int) -> None:
        # each worker's thread calls it
        with self._lock:
            self._rows += count
        self.show()

    def task(self, receipt: dict[str, Any]) -> None:
        self._done += 1
        self._bytes += int(receipt.get("bytes", 0))
        self._kept += int(receipt.get("kept", 0))
        self._judged += int(receipt.get("rows", 0)) if "kept" in receipt else 0
        self.show()

    def live(self, text: str) -> None:
        self._live = text
        self.show()

    def show(self) -> None:
        """Shows what is counted so far."""

    def figures(self) -> str:
        """The figures that this phase has, in a few words."""
        seconds = max(time.monotonic() - self._since, 1e-6)
        parts = []
        if self._rows:
            parts.append(f"{many(self._rows, 'row')}  {self._rows / seconds:,.0f} rows/s")
        if self._live:
            return "  ".join([*parts, self._live])
        if self._bytes:
            parts.append(f"{self._bytes / seconds / 1e6:,.1f} MB/s")
        if self._judged:
            parts.append(f"kept {100 * self._kept / self._judged:.1f} %")
        return "  ".join(parts)


class Live(Meter):
    """Bars on a terminal, one a phase."""

    def __init__(self, console: Terminal) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.fields[phase]:<8}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._bar: TaskID | None = None

    def begin(self, phase: str, tasks: int, done: int) -> None:
        super().begin(phase, tasks, done)
        self._progress.start()
        self._bar = self._progress.add_task("", total=tasks, completed=done, phase=phase, figures="")

    def end(self) -> None:
        self._live = ""
        self.show()

    def close(self) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        self._progress.console.print(sentence)

    def finish(self, funnels: Mapping[str, Funnel], out: str, complete: bool, remarks: Sequence[str]) -> None:
        print_end(funnels, out, complete)
        for remark in remarks:
            self.say(remark)

    def show(self) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, completed=self._done, figures=self.figures())


class Lines(Meter):
    """A line now and then, for logs; JSON lines where a machine reads them."""

    EVERY = 5.0

    def __init__(self, out: TextIO | None = None, as_json: bool = False) -> None:
        super().__init__()
        self._out, self._json = out or sys.stderr, as_json
        self._last = 0.0

    def begin(self, phase: str, tasks: int, done: int) -> None:
        super().begin(phase, tasks, done)
        self._last = time.monotonic()
        self._line("begin", f"{phase}: {many(tasks, 'task')}, {done} done before")

    def end(self) -> None:
        self._live = ""
        self._line("end", self._text())

    def close(self) -> None:
        self._out.flush()

    def say(self, sentence: str) -> None:
        self._line("say", sentence)

    def finish(self, funnels: Mapping[str, Funnel], out: str, complete: bool, remarks: Sequence[str]) -> None:
        if not self._json:
            print_end(funnels, out, complete)
        for remark in remarks:
            self.say(remark)
        if self._json:
            record = {source: funnel.model_dump(mode="json") for source, funnel in funnels.items()}
            facts = {"event": "funnel", "out": out, "funnel": record}
            say(json.dumps(facts, ensure_ascii=False), to=self._out)

    def _text(self) -> str:
        return f"{self._phase}: {self._done}/{self._tasks}  {self.figures()}".rstrip()

    def show(self) -> None:
        if time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            self._line("progress", self._text())

    def _line(self, event: str, text: str) -> None:
        if self._json:
            facts = {"event": event, "phase": self._phase, "tasks": self._tasks, "done": self._done}
            text = json.dumps({**facts, "rows": self._rows, "text": text}, ensure_ascii=False)
        say(text, to=self._out)


def reporter_for(as_json: bool = False) -> Reporter:
    """Returns bars on a terminal or in a notebook, lines elsewhere, JSON lines where asked for."""
    if as_json:
        return Lines(sys.stdout, as_json=True)
    console = Terminal(stderr=True)
    return Live(console) if console.is_terminal or console.is_jupyter else Lines()
