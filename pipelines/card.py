"""The dataset card: README.md of a corpus, written from its manifest alone."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template

from pipelines.front_matter import configs, front_matter, suffixes
from pipelines.thresholds import applied_text
from schemas.clip import EMBEDDED
from schemas.manifest import Funnel, Manifest, RuleCount, Source
from schemas.rules import RuleSettings, in_order

PAPER: Final = {
    "aspect_ratio": "paper",
    "min_side": "paper",
    "clip": "paper",
    "script": "paper",
    "emoji": "paper",
    "caption_length": "paper",
    "special_tag": "paper",
    "pattern": "paper cleans, we drop",
}
"""Rules that stand in the cleaning steps of Qwen-VL (arXiv 2308.12966, appendix A.1); all others are ours."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a source's funnel table."""

    rule: str
    origin: str
    settings: str
    dropped: int
    failed: int


@dataclass(frozen=True, slots=True)
class _Told:
    source: Source
    funnel: Funnel
    rows: list[Row]
    beside: list[str]
    applied: str


def card(manifest: Manifest) -> str:
    """The card of the corpus that `manifest` describes: the Hub's YAML, then Markdown for a reader.

    It goes by what the manifest says of `shards/` only, so that it does not matter whether the card
    itself is among the manifest's outputs.
    """
    return f"---\n{front_matter(manifest)}\n---\n\n" + _template().render(_facts(manifest)).strip() + "\n"


def _facts(manifest: Manifest) -> dict[str, Any]:
    funnels = [
        _Told(
            source,
            manifest.funnel[source.id],
            _rows(manifest, source, manifest.funnel[source.id]),
            _beside(manifest, source),
            applied_text(manifest.thresholds.get(source.id, {})),
        )
        for source in manifest.sources
    ]
    languages: Counter[str] = Counter()
    for count in manifest.samples:
        languages.update(count.languages)
    return {
        "manifest": manifest,
        "funnels": funnels,
        "samples": sum(count.samples for count in manifest.samples),
        "languages": sorted(languages.items(), key=lambda pair: (-pair[1], pair[0])),
        "suffixes": suffixes(manifest),
        "tasks": sorted({count.task for count in manifest.samples}),
        "ours": sorted({row.rule for told in funnels for row in told.rows if row.origin == "ours"}),
        "left_out": sorted(
            {rule for rules in manifest.thresholds.values() for rule in PAPER if rules.get(rule) is False}
        ),
        "bytes": sum(one.size for name, one in manifest.outputs.items() if name.startswith("shards/")),
        "example": _example(manifest),
        "embedded": any(scorer.startswith(f"{EMBEDDED}@") for scorer in manifest.scorers),
    }


def _rows(manifest: Manifest, source: Source, funnel: Funnel) -> list[Row]:
    """What evaluation sources took, the rules that are on, in their order, and any that are unknown here."""
    settings = {**manifest.thresholds.get(source.id, {})}
    if isinstance(columns := settings.pop("columns", False), Mapping):
        settings |= {f"columns.{name}": limit for name, limit in columns.items()}
    counts = {one.rule: one for one in funnel.rules}
    on = [rule for rule in settings if _is_rule(rule) and settings[rule] is not False]
    rows = []
    for rule in in_order({*counts, *on}):
        one = counts.get(rule, RuleCount(rule=rule, dropped=0, failed=0))
        rows.append(
            Row(rule, PAPER.get(rule, "ours"), _settings(settings.get(rule)), one.dropped, one.failed)
        )
    return rows


def _is_rule(name: str) -> bool:
    return name.partition(".")[0] in RuleSettings.model_fields


def _beside(manifest: Manifest, source: Source) -> list[str]:
    """What a source was given beside its rules, and the rules that are off."""
    settings = manifest.thresholds.get(source.id, {})
    return [
        f"{name}: {'off' if settings[name] is False else _settings(settings[name])}"
        for name in sorted(settings)
        if name not in RuleSettings.model_fields or settings[name] is False
    ]


def _settings(value: Any) -> str:
    if isinstance(value, Mapping):
        told = {name: value[name] for name in sorted(value) if value[name] not in (None, [], {})}
        return ", ".join(f"{name} {_settings(one)}" for name, one in told.items())
    if isinstance(value, list):
        shown = [_settings(one) for one in value[:12]]
        return " ".join(shown) + (f" and {len(value) - 12} more" if len(value) > 12 else "")
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _example(manifest: Manifest) -> str:
    """A glob that opens one part of the corpus."""
    found = configs(manifest)
    return str(found[0]["data_files"][0]["path"]) if found else "shards/train/*/*/*.tar"


def _cell(value: object) -> str:
    """`value` for a Markdown table: on one line, and nothing in it read as Markdown's or HTML's own."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(str(value).split()))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


@cache
def _template() -> Template:
    # not HTML: the Hub renders Markdown and cleans it; `cell` keeps tables whole
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        newline_sequence="\n",
    )
    environment.filters.update(cell=_cell, n="{:,}".format)
    environment.globals["share"] = _share
    return environment.from_string(files("pipelines").joinpath("card.md.jinja").read_text("utf-8"))
