"""What a CLIP threshold would keep: the share of scored rows at or above it, by source and language."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.files import join
from pipelines.layout import Layout
from pipelines.parquet import read_table
from schemas.errors import InputError

SHARES = (0.95, 0.9, 0.7, 0.5, 0.3, 0.14)

LEAST = 20
"""Languages of a source with fewer scored rows are shown together."""

OTHERS = "others"


@dataclass(frozen=True)
class Curve:
    """The scores of one source and language, ascending."""

    source: str
    language: str
    scorer: str
    scores: npt.NDArray[np.float32]

    def threshold(self, share: float) -> float:
        """The least score among the best `share` of the rows."""
        kept = max(1, round(share * len(self.scores)))
        return float(self.scores[-kept])

    def share(self, thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The share of rows at or above each threshold."""
        below = np.searchsorted(self.scores, thresholds.astype(np.float32), "left")
        return 1 - below / len(self.scores)


def curves(folder: str) -> list[Curve]:
    """One curve a source and language, and one a source over all its languages.

    Raises InputError where the corpus has no scores.
    """
    layout = Layout(folder)
    scores = join(layout.work, "scores")
    if not layout.store.is_folder(scores):
        raise InputError(
            f"{folder} has no CLIP scores: add a `clip` block to its recipe, then vlcorpus score RECIPE --out {folder}"
        )
    tables = list(_tables(layout, scores))
    table = pa.concat_tables(tables)
    found: list[Curve] = []
    for source in sorted(set(table["source"].to_pylist())):
        mine = table.filter(pc.equal(table["source"], source))
        found.append(_curve(source, "all", mine))
        counts = {str(one["values"]): one["counts"] for one in pc.value_counts(mine["language"]).to_pylist()}
        named = sorted(code for code, count in counts.items() if count >= LEAST)
        found += [_curve(source, code, mine.filter(pc.equal(mine["language"], code))) for code in named]
        rest = mine.filter(pc.invert(pc.is_in(mine["language"], value_set=pa.array(named, pa.string()))))
        if rest.num_rows and named:
            found.append(_curve(source, OTHERS, rest))
    return found


def show(found: Sequence[Curve], console: Console) -> None:
    """Print, for each curve, the threshold that keeps each of SHARES."""
    table = Table("source", "language", "rows", *(f"{share:.0%}" for share in SHARES), box=box.SIMPLE_HEAD)
    for column in table.columns[2:]:
        column.justify = "right"
    for curve in found:
        thresholds = (f"{curve.threshold(share):.3f}" for share in SHARES)
        table.add_row(curve.source, curve.language, f"{len(curve.scores):,}", *thresholds)
    console.print("the least CLIP score among the best … of the rows:", highlight=False)
    console.print(table)
    for scorer in sorted({curve.scorer for curve in found}):
        console.print(f"scorer: {scorer}", highlight=False)


def plot(found: Sequence[Curve], out: Path) -> None:
    """Draw the share kept against the threshold, one line a curve, as PNG or SVG by the suffix of `out`."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise InputError("a plot needs matplotlib: pip install 'vlcorpus[clip]'") from error
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    least = min(float(curve.scores[0]) for curve in found)
    most = max(float(curve.scores[-1]) for curve in found)
    thresholds = np.linspace(least, most, 400)
    for curve in found:
        style = "-" if curve.language == "all" else "--"
        label = f"{curve.source}: {curve.language} ({len(curve.scores):,})"
        axes.plot(thresholds, 100 * curve.share(thresholds), style, label=label)
    axes.set(
        xlabel="CLIP score threshold", ylabel="rows kept, %", ylim=(0, 101), title="Keep rate by threshold"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(out, dpi=120, metadata={"Software": None} if out.suffix == ".png" else None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write the plot {out}: {error}; name a .png or .svg in a folder that exists"
        ) from error
    finally:
        pyplot.close(figure)


def _tables(layout: Layout, folder: str) -> Iterator[pa.Table]:
    """Every scored row with its caption's language."""
    for info in layout.store.list_files(folder):
        source, _, shard = info.name.removesuffix(".parquet").partition("/")
        table = read_table(layout, info.path, ["source", "member", "clip_score", "scorer"])
        signals = read_table(layout, layout.signals(source, shard), ["member", "language"])
        at = pc.index_in(table["member"].combine_chunks(), value_set=signals["member"].combine_chunks())
        languages = pc.fill_null(signals["language"].combine_chunks().take(at), "und")
        table = table.append_column("language", languages)
        yield table.filter(pc.is_valid(table["clip_score"])).drop_columns(["member"])


def _curve(source: str, language: str, table: pa.Table) -> Curve:
    scores = np.sort(table["clip_score"].to_numpy())
    if len(scores) == 0:
        raise InputError(
            f"source {source}: none of its rows has a CLIP score; is every row dropped before the clip rule?"
        )
    scorer = ", ".join(sorted(set(table["scorer"].to_pylist())))
    return Curve(source, language, scorer, scores)
