"""The dataset card: README.md of a corpus, written from its manifest alone.

The YAML at its head is what the Hugging Face Hub and `datasets.load_dataset(DIR)` go by.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import pyarrow as pa
from huggingface_hub import DatasetCardData
from jinja2 import Environment, StrictUndefined, Template

from filters.rules import in_order
from filters.table import PAPER
from pipelines.card.drawn import drawn
from pipelines.recipe.load import BESIDE, applied_text
from pipelines.writers import parquet
from pipelines.writers.features import TAR, in_card
from schemas.clip import EMBEDDED
from schemas.manifest import Funnel, Manifest, RuleCount, Source
from schemas.mixture import read
from schemas.plain import mended
from schemas.sample import SEVERAL, TASKS

SPLITS: Final = {"train": "train", "val": "validation", "eval": "test"}
"""Our splits by the names that the Hub uses."""

_SIZES: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
# identifiers of the Hub for what people write; anything else is "other"
_LICENCES: Final = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-(2\.0|2\.5|3\.0|4\.0)|apache-2\.0|mit|bsd-[23]-clause|unlicense|pddl|odc-by"
    r"|odbl|gpl-[23]\.0|lgpl-[23]\.[01]|wtfpl|unknown"
)


def front_matter(manifest: Manifest, forms: Mapping[str, str]) -> str:
    """Returns the YAML without the lines that enclose it, from what the manifest says of `shards/`."""
    named = configurations(forms)
    contents = _contents(manifest, named)
    data = DatasetCardData(
        language=languages(manifest) or None,
        license=_licences(_named(manifest)),
        pretty_name=manifest.name,
        size_categories=[_size(sum(count.samples for count in manifest.samples))],
        task_categories=sorted({TASKS[c.task].category for c in manifest.views if c.task in TASKS}) or None,
        tags=[*(["webdataset"] if "tar" in forms.values() else []), "vlcorpus"],
        configs=[
            {
                "config_name": name,
                "data_files": _data_files(manifest, forms, groups),
                "description": f"sha256 of its files: {contents[name]}",
            }
            for name, groups in named.items()
        ]
        or None,
        dataset_info=[_declared(forms, name, groups) for name, groups in named.items()] or None,
    )
    return str(data.to_yaml(line_break="\n"))


def languages(manifest: Manifest) -> list[str]:
    """Returns the languages that the corpus is tagged with: those that the recipe keeps.

    Where a source keeps all, those of more than 1 % of the views: of the others many are mistaken labels.
    """
    kept = [manifest.thresholds.get(source.id, {}).get("languages") for source in manifest.sources]
    if kept and all(kept):
        return sorted({str(code) for one in kept if isinstance(one, list) for code in one})
    counts = _languages(manifest)
    return sorted(one for one, count in counts.items() if one != "und" and 100 * count > counts.total())


def _languages(manifest: Manifest) -> Counter[str]:
    counts: Counter[str] = Counter()
    for count in manifest.views:
        counts.update(count.languages)
    return counts


def _named(manifest: Manifest) -> Iterable[str]:
    """Returns the licences of the views; where there are none, those of the sources."""
    rows = [name for counts in manifest.licences.values() for name in counts]
    return rows or [source.licence for source in manifest.sources]


def configurations(forms: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Returns the groups of each configuration by its name: `default` with all of them, then one a group.

    `forms` has the suffix of each group's shards.

    `datasets` reads all configurations of a corpus by one reader. So they are those of the tars where there are
    any, else those of the Parquet files; a tar whose samples may have several images has no fixed columns.
    """
    tars = tuple(group for group, form in forms.items() if form == "tar" and group not in SEVERAL)
    groups = tars or tuple(group for group, form in forms.items() if form == "parquet")
    return {"default": groups} | {group: (group,) for group in groups} if groups else {}


def _forms(manifest: Manifest) -> dict[str, str]:
    """Returns the suffix of each group's shards, in the order of groups."""
    return dict(sorted({(name.split("/")[2], name.rpartition(".")[2]) for name in manifest.sample_files()}))


def _data_files(
    manifest: Manifest, forms: Mapping[str, str], groups: Collection[str]
) -> list[dict[str, Any]]:
    """Returns the files of a configuration by split, as `load_dataset` takes them."""
    paths: dict[str, list[str]] = {}
    for group in groups:
        for split in sorted({one.split for one in manifest.samples if one.group == group and one.samples}):
            paths.setdefault(split, []).append(f"shards/{split}/{group}/*/*.{forms[group]}")
    order = [*(split for split in SPLITS if split in paths), *sorted(paths.keys() - SPLITS.keys())]
    return [{"split": SPLITS.get(split, split), "path": paths[split]} for split in order]


def _contents(manifest: Manifest, named: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Returns a digest of the files of each configuration.

    `datasets` keeps what it has loaded under the folder's name and the configurations: without the digest a corpus
    that was built anew, or another in a folder of that name, would give the samples of the one before.
    """
    digests = {name: hashlib.sha256() for name in named}
    for file, output in manifest.sample_outputs():
        group = file.split("/")[2]
        for name, groups in named.items():
            if group in groups:
                digests[name].update(f"{file} {output.sha256}\n".encode())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _declared(forms: Mapping[str, str], name: str, groups: Sequence[str]) -> dict[str, Any]:
    """Returns the features of a configuration: left to itself, `datasets` infers them from the first few samples."""
    if forms[groups[0]] == "tar":
        schema = TAR
    else:
        kinds = {group in SEVERAL for group in groups}
        schema = pa.unify_schemas([parquet.SEVERAL if several else parquet.ONE for several in sorted(kinds)])
    return {"config_name": name, "features": in_card(schema)}


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
    for power, name in enumerate(_SIZES, start=3):
        if samples < 10**power:
            return f"{lower}<n<{name}" if lower else f"n<{name}"
        lower = name
    return f"n>{lower}"


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
    forms = _forms(manifest)
    text = _template().render(_facts(manifest, forms)).strip()
    return f"---\n{front_matter(manifest, forms)}\n---\n\n{text}\n"


def _facts(manifest: Manifest, forms: Mapping[str, str]) -> dict[str, Any]:
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
    counts = _languages(manifest)
    return {
        "manifest": manifest,
        "funnels": funnels,
        "samples": sum(count.samples for count in manifest.samples),
        "images": sum(count.images for count in manifest.samples),
        "views": counts.total(),
        "licences": [
            (source, licence, count)
            for source, own in manifest.licences.items()
            for licence, count in sorted(own.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "languages": sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])),
        "drawn": drawn(read(manifest.mixture), manifest.sizes),
        "forms": forms,
        "configurations": configurations(forms),
        "ours": sorted({row.rule for told in funnels for row in told.rows if row.origin == "ours"}),
        "left_out": sorted(
            {rule for rules in manifest.thresholds.values() for rule in PAPER if rules.get(rule) is False}
        ),
        "bytes": sum(one.size for name, one in manifest.outputs.items() if name.startswith("shards/")),
        "near": _near(manifest),
        "embedded": any(scorer.startswith(f"{EMBEDDED}@") for scorer in manifest.scorers),
    }


def _near(manifest: Manifest) -> Mapping[str, Any] | None:
    """Returns the settings of the rule `phash`, which all sources share; None where none has the rule."""
    found = (rules.get("phash", False) for rules in manifest.thresholds.values())
    return next((one for one in found if isinstance(one, Mapping)), None)


def _rows(manifest: Manifest, source: Source, funnel: Funnel) -> list[Row]:
    """What evaluation sources took, the rules that are on, in their order, and any that are unknown here."""
    settings = {**manifest.thresholds.get(source.id, {})}
    if isinstance(columns := settings.pop("columns", False), Mapping):
        settings |= {f"columns.{name}": limit for name, limit in columns.items()}
    counts = {one.rule: one for one in funnel.rules}
    on = [rule for rule in settings.keys() - BESIDE if settings[rule] is not False]
    rows = []
    for rule in in_order({*counts, *on}):
        one = counts.get(rule, RuleCount(rule=rule, dropped=0, failed=0))
        rows.append(
            Row(rule, PAPER.get(rule, "ours"), _settings(settings.get(rule)), one.dropped, one.failed)
        )
    return rows


def _beside(manifest: Manifest, source: Source) -> list[str]:
    """What a source was given beside its rules, and the rules that are off."""
    settings = manifest.thresholds.get(source.id, {})
    return [
        f"{name}: {'off' if settings[name] is False else _settings(settings[name])}"
        for name in sorted(settings)
        if name in BESIDE or settings[name] is False
    ]


def _settings(value: Any) -> str:
    if isinstance(value, Mapping):
        told = {name: value[name] for name in sorted(value) if value[name] not in (None, [], {})}
        return ", ".join(f"{name} {_settings(one)}" for name, one in told.items())
    if isinstance(value, list):
        shown = [_settings(one) for one in value[:12]]
        return " ".join(shown) + (f" and {len(value) - 12} more" if len(value) > 12 else "")
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _cell(value: object) -> str:
    """`value` for a Markdown table: on one line, and nothing in it read as Markdown's or HTML's own."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", mended(" ".join(str(value).split())))


def _share(part: float, whole: float) -> str:
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
    environment.filters.update(cell=_cell, n="{:,}".format, whole="{:,.0f}".format)
    environment.globals["share"] = _share
    return environment.from_string(files("pipelines.card").joinpath("readme.md.jinja").read_text("utf-8"))
