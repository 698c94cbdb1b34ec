"""The recipe's rules over the columns of a list: what falls by them is not downloaded."""

from typing import Any

import numpy as np
import pyarrow as pa

from filters.arrow import bools, pc, some
from filters.corpus_rules import CLIP, UNSCORED, Clip
from filters.extra import number, parsed
from filters.rules import failures
from filters.signals import Measurer
from filters.table import SIGNALS
from pipelines.recipe.model import Recipe, Source
from pipelines.shares import is_below
from schemas.row import BEFORE_SIGNALS, pair_key

_BATCH = 16_384


class ListRules:
    """Judges rows of a list by what their columns say.

    The rules and the signals are those of the build, so select comes to the same verdict by itself. A rule passes a row
    where nothing is known: no list says whether an image is blank.
    """

    def __init__(self, recipe: Recipe, source: Source) -> None:
        rules = recipe.rules_of(source)
        if not source.needs_captions:
            rules = rules.model_copy(update={"no_caption": False})
        self._rules, self._source = rules, source
        self._languages = recipe.languages_of(source)
        self._share = recipe.sample
        on = [rule for rule in type(rules).table if rule.fails and getattr(rules, rule.name)]
        clip = rules.get(Clip) if source.clip_score is not None else None
        self._clip_rule = clip
        self._judging = bool(on) or clip is not None
        # models are loaded where a rule asks for what they say
        of_text = [one for one, _ in recipe.signals.running() if one.batch is not None and one.image is None]
        measured = {name for one in of_text for name in one.columns}
        asked = {name for rule in on for name in rule.reads} | (
            {"language"} if clip and clip.languages else set()
        )
        self._measurer = Measurer(recipe.signals, asked & measured) if asked & measured else None

    def reasons(self, table: pa.Table) -> list[str | None]:
        """Returns why each row of LIST is not downloaded, None where it is.

        That is the first rule that it fails, or that it is not of the sample.
        """
        found: list[str | None] = []
        for first in range(0, table.num_rows, _BATCH):
            batch = table.slice(first, _BATCH)
            found += self._sampled(batch, self._batch(batch))
        return found

    def _sampled(self, table: pa.Table, reasons: list[str | None]) -> list[str | None]:
        """The reasons, with `sample` for rows that pass all rules and are not of the recipe's sample."""
        if self._share == 1:
            return reasons
        pairs = zip(table["url"].to_pylist(), table["caption"].to_pylist(), reasons, strict=True)
        return [
            reason or ("sample" if url and not self._is_drawn(url, caption) else None)
            for url, caption, reason in pairs
        ]

    def _is_drawn(self, url: str, caption: bytes | None) -> bool:
        return is_below(self._share, int(pair_key(self._source.id, url, "", caption)[:16], 16))

    def _batch(self, table: pa.Table) -> list[str | None]:
        if not self._judging:
            return [None] * table.num_rows
        signals = _listed(table)
        if self._measurer:
            signals = self._measurer.measured(_before(signals, table), table.num_rows)
        failed = failures(signals, self._rules, self._languages)
        reasons = np.full(table.num_rows, None, object)
        rows = np.flatnonzero(bools(pc.greater(pc.list_value_length(failed), 0)))
        reasons[rows] = pc.list_element(some(failed, rows), 0).to_pylist()
        if self._clip_rule is not None:
            languages = signals["language"].to_pylist() if self._measurer else [None] * table.num_rows
            for at, (extra, language) in enumerate(zip(table["extra"].to_pylist(), languages, strict=True)):
                reasons[at] = reasons[at] or self._clip(self._clip_rule, extra, language or "")
        reasons[bools(table["error"].is_valid())] = None
        found: list[str | None] = reasons.tolist()
        return found

    def _clip(self, clip: Clip, extra: str | None, language: str) -> str | None:
        """What a score that came with the list says; the best share (`keep`) is known only over all rows."""
        assert self._source.clip_score is not None
        score = number(parsed(extra).get(self._source.clip_score))
        limit = clip.limit(language).min
        if score is None:
            return UNSCORED if clip.unscored == "drop" else None
        return CLIP.name if limit is not None and score < limit else None


def _listed(table: pa.Table) -> pa.Table:
    """The signals that a list itself has, without those of captions."""
    both = pc.and_(table["width"].is_valid(), table["height"].is_valid())
    width, height = (pc.if_else(both, table[name], None) for name in ("width", "height"))
    longer, shorter = (
        of(width, height, skip_nulls=False) for of in (pc.max_element_wise, pc.min_element_wise)
    )
    shape = pc.divide(longer.cast(pa.float64()), shorter.cast(pa.float64())).cast(
        SIGNALS.field("aspect_ratio").type
    )
    sizes = {"width": width, "height": height}
    columns = {name: column.cast(SIGNALS.field(name).type) for name, column in sizes.items()}
    return pa.table({**columns, "aspect_ratio": shape, "extra": table["extra"]})


def _before(listed: pa.Table, table: pa.Table) -> dict[str, Any]:
    """The columns that measure would know of rows without their images."""
    known = {name: pa.nulls(table.num_rows, kind) for name, kind in BEFORE_SIGNALS}
    known |= {name: listed[name].combine_chunks() for name in listed.column_names}
    return known | {"url": table["url"].combine_chunks(), "caption_raw": _decoded(table["caption"])}


def _decoded(captions: Any) -> Any:
    """Captions as text, with U+FFFD where they are no UTF-8."""
    try:
        return captions.combine_chunks().cast(pa.string())
    except pa.ArrowInvalid:
        texts = [None if one is None else one.decode("utf-8", "replace") for one in captions.to_pylist()]
        return pa.array(texts, pa.string())
