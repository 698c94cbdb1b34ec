"""What a CLIP threshold would keep: the share of scored rows at or above it, by source and language."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.table import Table

from filters.language import key_of
from filters.rules import dedup_language
from pipelines.files import join
from pipelines.layout import Layout
from pipelines.manifest import read_manifest
from pipelines.parquet import by_member, read_table
from schemas.errors import InputError, missing
from schemas.manifest import MANIFEST

SHARES = (0.95, 0.9, 0.7, 0.5, 0.3, 0.14)

LEAST = 20
"""Languages of a source with fewer scored rows are shown together, and not drawn."""

ALL, OTHERS = "all", "others"

LINES = 9
"""At most so many languages of a source are drawn, those with the most rows."""


@dataclass(frozen=True)
class Curve:
    """The scores of one source and language, ascending; `used` is the threshold of the corpus, if it has one."""

    source: str
    language: str
    scorer: str
    scores: npt.NDArray[np.float32]
    used: float | None = None

    def threshold(self, share: float) -> float:
        """The least score among the best `share` of the rows."""
        kept = max(1, round(share * len(self.scores)))
        return float(self.scores[-kept])

    def share(self, thresholds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The share of rows at or above each threshold."""
        # scores are rounded to 1e-5 and stored in single precision: compare what was rounded
        whole = np.round(self.scores.astype(np.float64), 5)
        return 1 - np.searchsorted(whole, np.asarray(thresholds, np.float64), "left") / len(whole)


def curves(folder: str, storage_options: Mapping[str, Any] | None = None) -> list[Curve]:
    """One curve a source and language, and one a source over all its languages.

    Languages are those that thresholds and scorers go by. Raises InputError where the corpus has no scores.
    """
    layout = Layout(folder, options=dict(storage_options or {}))
    if not layout.store.is_folder(join(layout.work, "scores")):
        raise InputError(
            f"{folder} has no CLIP scores: add a `clip` block to its recipe, then vlcorpus score RECIPE --out {folder}"
        )
    rules = _thresholds(layout)
    table = pa.concat_tables(_tables(layout, rules))
    found: list[Curve] = []
    for source in sorted(set(table["source"].to_pylist())):
        found += _of_source(source, table.filter(pc.equal(table["source"], source)), rules.get(source, {}))
    return found


def _of_source(source: str, table: pa.Table, rules: dict[str, Any]) -> Iterator[Curve]:
    clip = rules.get("clip") or {}
    own = clip.get("languages") or {}
    yield _curve(source, ALL, table, None if own else _used(clip))
    counts = {str(one["values"]): one["counts"] for one in pc.value_counts(table["language"]).to_pylist()}
    named = sorted(code for code, count in counts.items() if count >= LEAST or code in own)
    for code in named:
        mine = table.filter(pc.equal(table["language"], code))
        key = key_of(own, code)
        yield _curve(source, code, mine, _used(clip if key is None else own[key]))
    rest = table.filter(pc.invert(pc.is_in(table["language"], value_set=pa.array(named, pa.string()))))
    if rest.num_rows and named:
        yield _curve(source, OTHERS, rest, _used(clip))


def _used(limit: dict[str, Any]) -> float | None:
    """The threshold that a corpus was built with, by its manifest."""
    value = limit.get("min") if limit.get("min") is not None else limit.get("least_score")
    return None if value is None else float(value)


def show(found: Sequence[Curve], console: Console) -> None:
    """Print, for each curve, the threshold that keeps each of SHARES, and the one in use with what it keeps."""
    used = any(curve.used is not None for curve in found)
    table = Table(
        "source",
        "language",
        "rows",
        *(f"{share:.0%}" for share in SHARES),
        *(("in use", "keeps") if used else ()),
        box=box.SIMPLE_HEAD,
        title="the CLIP score threshold that keeps …",
        title_justify="left",
        title_style="",
        padding=(0, 0, 0, 1),
    )
    for column in table.columns[2:]:
        # on a narrow terminal the names are folded, not the figures
        column.justify, column.no_wrap = "right", True
    for curve in found:
        cells = [f"{curve.threshold(share):.3f}" for share in SHARES]
        if used:
            cells += (
                ["", ""]
                if curve.used is None
                else [f"{curve.used:.5g}", f"{100 * float(curve.share(curve.used)):.1f}%"]
            )
        table.add_row(curve.source, curve.language, f"{len(curve.scores):,}", *cells)
    console.print(table)
    console.print(
        "equal scores: min keeps all such rows; keep takes those with the smaller keys, so exactly its share stays",
        soft_wrap=True,
    )
    for scorer in sorted({curve.scorer for curve in found}):
        console.print(f"scorer: {scorer}", soft_wrap=True)


def plot(found: Sequence[Curve], out: Path) -> None:
    """Draw the share kept against the threshold, a panel a source, as PNG or SVG by the suffix of `out`."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise InputError(missing("a plot", "matplotlib")) from error
    sources = sorted({curve.source for curve in found})
    across = min(2, len(sources))
    down = -(-len(sources) // across)
    figure, grid = pyplot.subplots(
        down, across, figsize=(8 if across == 1 else 12, 4.6 * down), squeeze=False, layout="constrained"
    )
    for axes, source in zip(grid.flat, sources, strict=False):
        _panel(axes, [curve for curve in found if curve.source == source])
    for axes in grid.flat[len(sources) :]:
        axes.set_visible(False)
    try:
        figure.savefig(out, dpi=120, metadata={"Software": None} if out.suffix == ".png" else None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write the plot {out}: {error}; name a .png or .svg in a folder that exists"
        ) from error
    finally:
        pyplot.close(figure)


def _panel(axes: Any, found: Sequence[Curve]) -> None:
    """One source: a line a language, and a dot where its threshold is."""
    whole, *languages = found
    drawn = sorted(
        (curve for curve in languages if len(curve.scores) >= LEAST), key=lambda curve: -len(curve.scores)
    )
    for curve in (whole, *drawn[:LINES]):
        # the few worst scores would squeeze all others into a corner
        thresholds = np.linspace(np.quantile(whole.scores, 0.001), float(whole.scores[-1]), 400)
        label = f"{curve.language} ({len(curve.scores):,})"
        black = {"color": "black", "linewidth": 2.2} if curve is whole else {"linewidth": 1.4}
        (line,) = axes.plot(thresholds, 100 * curve.share(thresholds), label=label, **black)
        if curve.used is not None:
            kept = 100 * float(curve.share(curve.used))
            label += f": {curve.used:.4g} keeps {kept:.1f} %"
            axes.plot(curve.used, kept, "o", color=line.get_color(), markersize=6, zorder=3)
            line.set_label(label)
    axes.set(ylim=(0, 101), xlabel="least CLIP score", ylabel="rows kept, %")
    axes.set_title(f"{whole.source}, scored by {whole.scorer}", fontsize="medium", wrap=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize="small")


def _thresholds(layout: Layout) -> dict[str, Any]:
    """What the corpus was built with, by source; nothing where it is not built yet."""
    path = layout.at(MANIFEST)
    exists = layout.store.exists(path)
    return dict(read_manifest(layout.store, layout.out).thresholds) if exists else {}


def _tables(layout: Layout, rules: dict[str, Any]) -> Iterator[pa.Table]:
    """Every scored row with the language of its caption."""
    for (source, shard), info in layout.listed("scores"):
        table = read_table(layout, info.path, ["source", "member", "clip_score", "scorer"])
        signals = read_table(layout, layout.path("signals", source, shard), ["member", "language", "scripts"])
        known = pc.fill_null(dedup_language(signals, rules.get(source, {}).get("languages", ())), "und")
        signals = signals.append_column("known", known)
        table = table.append_column("language", by_member(signals, "known", table["member"]))
        yield table.filter(pc.is_valid(table["clip_score"])).drop_columns(["member"])


def _curve(source: str, language: str, table: pa.Table, used: float | None) -> Curve:
    scores = np.sort(table["clip_score"].to_numpy())
    if len(scores) == 0:
        raise InputError(
            f"source {source}: none of its rows has a CLIP score; is every row dropped before the clip rule?"
        )
    scorer = ", ".join(sorted(set(table["scorer"].to_pylist())))
    return Curve(source, language, scorer, scores, used)
