"""The YAML at the head of a dataset card, by which the Hugging Face Hub files and opens a corpus."""

import re
from collections.abc import Iterable
from typing import Any, Final

from huggingface_hub import DatasetCardData

from schemas.manifest import Manifest

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

_SIZES: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
# identifiers of the Hub for what people write; anything else is "other"
_LICENCES: Final = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-(2\.0|2\.5|3\.0|4\.0)|apache-2\.0|mit|bsd-[23]-clause|unlicense|pddl|odc-by"
    r"|odbl|gpl-[23]\.0|lgpl-[23]\.[01]|wtfpl|unknown"
)


def front_matter(manifest: Manifest) -> str:
    """The YAML, without the lines that enclose it, from what the manifest says of `shards/`."""
    data = DatasetCardData(
        language=sorted(_languages(manifest) - {"und"}) or None,
        license=_licences(source.licence for source in manifest.sources),
        pretty_name=manifest.name,
        size_categories=[_size(sum(count.samples for count in manifest.samples))],
        task_categories=sorted({TASKS[c.task] for c in manifest.samples if c.task in TASKS}) or None,
        tags=[*(["webdataset"] if ".tar" in suffixes(manifest) else []), "vlcorpus"],
        configs=configs(manifest) or None,
    )
    return str(data.to_yaml(line_break="\n"))


def _languages(manifest: Manifest) -> set[str]:
    return {language for count in manifest.samples for language, n in count.languages.items() if n}


def suffixes(manifest: Manifest) -> set[str]:
    """The kinds of shard: .tar, or .parquet where no tar lies beside."""
    names = {name for name in manifest.outputs if name.startswith("shards/")}
    tars = {".tar" for name in names if name.endswith(".tar")}
    alone = (n for n in names if n.endswith(".parquet") and n.removesuffix(".parquet") + ".tar" not in names)
    return tars | {".parquet" for _ in alone}


def configs(manifest: Manifest) -> list[dict[str, Any]]:
    """One configuration a task, with a glob for each split, as `load_dataset` takes them."""
    suffix = ".tar" if ".tar" in suffixes(manifest) else ".parquet"
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
