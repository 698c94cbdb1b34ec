"""The log of a training run: a line of JSON a step, TensorBoard, a line on the terminal, curves; and metrics.json."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from model.config import read_json
from schemas.plain import mended, say

LOG: Final = "log.jsonl"
CURVES: Final = "curves.png"

POINTS: Final = 100
"""Points of a drawn curve, at most."""


class Journal:
    """The log of one stage on rank 0; on any other rank it keeps silent."""

    def __init__(self, folder: Path, start: int, steps: int, title: str, *, silent: bool) -> None:
        self._folder, self._steps, self._title, self._silent = folder, steps, title, silent
        if silent:
            return
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for line in read(folder / LOG) if line["step"] <= start]
        # a resumed run goes on after its checkpoint: what came later is written again
        text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
        (folder / LOG).write_text(text, "utf-8")
        self._file = (folder / LOG).open("a", encoding="utf-8")
        self._board = _board(folder)
        self._status = _status(title)
        self._noted = 0

    def step(self, record: Mapping[str, Any]) -> None:
        if self._silent:
            return
        self._file.write(json.dumps(record, sort_keys=True) + "\n")
        self._file.flush()
        if self._board:
            for name, value in flat(record).items():
                self._board.add_scalar(name, value, record["step"])
        line = line_of(record, self._steps, self._title)
        if self._status:
            self._status.update(mended(line))
        elif self._noted % 20 == 0:
            self.say(line)
        self._noted += 1

    def say(self, text: str) -> None:
        if not self._silent:
            say(text, to=sys.stderr)

    def close(self) -> None:
        """Ends the log and draws the curves."""
        if self._silent:
            return
        if self._status:
            self._status.stop()
        self._file.close()
        if self._board:
            self._board.close()
        draw_curves(read(self._folder / LOG), self._folder / CURVES, self._title)


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the records of a log; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text("utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Returns the numbers of a record by path, as TensorBoard names them."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found[prefix + name] = float(value)
    return found


def line_of(record: Mapping[str, Any], steps: int, title: str) -> str:
    tasks = " ".join(f"{task} {loss:.3f}" for task, loss in sorted(record["tasks"].items()))
    return (
        f"{title} {record['step']}/{steps} loss {record['loss']:.4f} ({tasks}) rate {record['rate']:.2e} "
        f"gradient {record['gradient']['total']:.2f} {record['tokens_per_s']:,.0f} tokens/s "
        f"MFU {record['mfu']:.1%} loader wait {record['wait']:.1%}"
    )


def evened(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most `POINTS` points: means over as many neighbours each, so that curves can be told apart."""
    size = -(-len(points) // POINTS)
    chunks = [points[at : at + size] for at in range(0, len(points), max(size, 1))]
    return [(sum(x for x, _ in one) / len(one), sum(y for _, y in one) / len(one)) for one in chunks]


def draw_curves(records: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draws losses and gradient norms over the steps into a PNG; nothing where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        say("no curves drawn: matplotlib is not installed", to=sys.stderr)
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name in ((left, "tasks"), (right, "gradient")):
        for key in sorted({key for record in records for key in record[name]}):
            points = [(record["step"], record[name][key]) for record in records if key in record[name]]
            axes.plot(*zip(*evened(points), strict=True), label=key, linewidth=1.2)
        axes.set(xlabel="step", yscale="log", title={"tasks": "loss", "gradient": "gradient norm"}[name])
        if records:
            axes.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _status(title: str) -> Any:
    """Returns a line that is written over on a terminal; None where there is no terminal or no rich."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    status = Console(stderr=True).status(title)
    status.start()
    return status


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def merge_metrics(path: Path, part: Mapping[str, Any]) -> None:
    """Puts the entries of `part` into the file, beside what is there."""
    whole = read_json(path) | dict(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    os.replace(scratch, path)
