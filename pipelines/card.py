"""The dataset card: README.md of a corpus, written from its manifest alone."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from huggingface_hub import DatasetCardData
from jinja2 import Environment, StrictUndefined, Template

from schemas.manifest import Funnel, Manifest, Source

SPLITS: Final = {"train": "train", "val": "validation", "eval": "test"}
"""Our splits by the names that the Hub uses."""

TASKS: Final = {
    "caption": "image-to-text",
    "vqa": "visual-question-answering",
    "grounding": "image-to-text",
    "grounded_caption": "image-to-text",
    "referring": "zero-shot-object-detection",
    "ocr": "image-to-text",
    "text": "text-generation",
    "chat": "image-text-to-text",
    "interleaved": "image-text-to-text",
}
"""Our tasks by the names of the Hub's task categories."""

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

_SIZES: Final = [
    (10**3, "1K"),
    (10**4, "10K"),
    (10**5, "100K"),
    (10**6, "1M"),
    (10**7, "10M"),
    (10**8, "100M"),
]
_SIZES_ABOVE: Final = [(10**9, "1B"), (10**10, "10B"), (10**11, "100B"), (10**12, "1T")]
# identifiers of the Hub for what people write; anything else is "other"
_LICENCES: Final = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-(2\.0|2\.5|3\.0|4\.0)|apache-2\.0|mit|bsd-[23]-clause|unlicense|pddl|odc-by"
    r"|odbl|gpl-[23]\.0|lgpl-[23]\.[01]|wtfpl|unknown"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a source's funnel table."""

    rule: str
    origin: str
    settings: str
    dropped: int
    failed: int


def card(manifest: Manifest) -> str:
    """The card of the corpus that `manifest` describes: the Hub's YAML, then Markdown for a reader.

    It goes by what the manifest says of `shards/` only, so that it does not matter whether the card
    itself is among the manifest's outputs.
    """
    yaml = DatasetCardData(
        language=sorted(_languages(manifest) - {"und"}) or None,
        license=_licences(source.licence for source in manifest.sources),
        pretty_name=manifest.name,
        size_categories=[_size(sum(count.samples for count in manifest.samples))],
        task_categories=sorted({TASKS[c.task] for c in manifest.samples if c.task in TASKS}) or None,
        tags=[*(["webdataset"] if ".tar" in _suffixes(manifest) else []), "vlcorpus"],
        configs=_configs(manifest) or None,
    ).to_yaml(line_break="\n")
    return f"---\n{yaml}\n---\n\n" + _template().render(_facts(manifest)).strip() + "\n"


def _facts(manifest: Manifest) -> dict[str, Any]:
    funnels = [
        (source, manifest.funnel[source.id], _rows(manifest, source, manifest.funnel[source.id]))
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
        "suffixes": _suffixes(manifest),
        "tasks": sorted({count.task for count in manifest.samples}),
        "ours": sorted({row.rule for _, _, rows in funnels for row in rows if row.origin == "ours"}),
        "bytes": sum(one.size for name, one in manifest.outputs.items() if name.startswith("shards/")),
        "example": _example(manifest),
    }


def _rows(manifest: Manifest, source: Source, funnel: Funnel) -> list[Row]:
    settings = manifest.thresholds.get(source.id, {})
    counted = [
        Row(
            one.rule,
            PAPER.get(one.rule, "ours"),
            _settings(settings.get(one.rule)),
            one.dropped,
            one.failed,
        )
        for one in funnel.rules
    ]
    silent = sorted(settings.keys() - {one.rule for one in funnel.rules})
    return counted + [Row(rule, PAPER.get(rule, "ours"), _settings(settings[rule]), 0, 0) for rule in silent]


def _settings(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_settings(value[name])}" for name in sorted(value))
    if isinstance(value, list):
        shown = [_settings(one) for one in value[:12]]
        return " ".join(shown) + (f" and {len(value) - 12} more" if len(value) > 12 else "")
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _languages(manifest: Manifest) -> set[str]:
    return {language for count in manifest.samples for language, n in count.languages.items() if n}


def _suffixes(manifest: Manifest) -> set[str]:
    """The kinds of shard: .tar, or .parquet where no tar lies beside."""
    names = {name for name in manifest.outputs if name.startswith("shards/")}
    tars = {".tar" for name in names if name.endswith(".tar")}
    alone = (n for n in names if n.endswith(".parquet") and n.removesuffix(".parquet") + ".tar" not in names)
    return tars | {".parquet" for _ in alone}


def _configs(manifest: Manifest) -> list[dict[str, Any]]:
    suffix = ".tar" if ".tar" in _suffixes(manifest) else ".parquet"
    splits: dict[str, set[str]] = {}
    for count in manifest.samples:
        if count.samples:
            splits.setdefault(count.task, set()).add(count.split)
    return [
        {
            "config_name": task,
            "data_files": [
                {"split": SPLITS.get(split, split), "path": f"shards/{split}/{task}/*/*{suffix}"}
                for split in (*SPLITS, *sorted(splits[task] - SPLITS.keys()))
                if split in splits[task]
            ],
        }
        for task in sorted(splits)
    ]


def _example(manifest: Manifest) -> str:
    """A glob that opens one part of the corpus."""
    configs = _configs(manifest)
    return str(configs[0]["data_files"][0]["path"]) if configs else "shards/train/*/*/*.tar"


def _licences(texts: Iterable[str]) -> list[str]:
    """The Hub's identifiers for the licences as people write them, each once."""
    found = set()
    for text in texts:
        name = re.sub(r"[\s_]+", "-", text.strip().lower()).removesuffix("-licence").removesuffix("-license")
        name = {"cc0": "cc0-1.0", "public-domain": "cc0-1.0", "": "unknown"}.get(name, name)
        found.add(name if _LICENCES.fullmatch(name) else "other")
    return sorted(found)


def _size(samples: int) -> str:
    """The Hub's size category."""
    lower = ""
    for limit, name in (*_SIZES, *_SIZES_ABOVE):
        if samples < limit:
            return f"{lower}<n<{name}" if lower else f"n<{name}"
        lower = name
    return f"n>{lower}"


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
