from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard

from pipelines.card.readme import card
from pipelines.writers import parquet
from pipelines.writers.features import TAR, in_card
from schemas.manifest import (
    BadShard,
    Funnel,
    Manifest,
    RuleCount,
    SampleCount,
    Source,
    Verdict,
    ViewCount,
)
from schemas.manifest_files import Output
from tests.pipelines.corpora import build


def manifest(**changes: Any) -> Manifest:
    rules = (
        RuleCount(rule="aspect_ratio", dropped=2, failed=3),
        RuleCount(rule="phash", dropped=2, failed=2),
    )
    funnel = Funnel(rows=1_200, kept=1_195, dropped=4, quarantined=1, rules=rules, errors={"truncated": 1})
    fields: dict[str, Any] = {
        "name": "demo",
        "recipe": "0" * 64,
        "seed": 1,
        "versions": {},
        "sources": (Source(id="web", origin="a | crawl\n<b>", licence="CC BY 4.0", rows=1_200),),
        "thresholds": {"web": {"aspect_ratio": {"max": 3.0}, "min_side": {"min": 200}}},
        "funnel": {"web": funnel},
        **counted(
            count("train", "caption", en=1_000),
            count("val", "caption", zh=90, und=10),
            count("eval", "text", zh=95),
        ),
        "outputs": {
            f"shards/{folder}/web/00000.{suffix}": Output(size=10, sha256="0" * 64, rows=rows)
            for folder, rows in (("train/caption", 1_000), ("val/caption", 100), ("eval/text", 95))
            for suffix in ("tar", "parquet")
        },
    }
    files = changes.get("outputs", fields["outputs"])
    fields["shards"] = {name.rpartition("/")[0]: ("00000",) for name in files}
    return Manifest.model_validate(fields | changes)


def count(split: str, task: str, **languages: int) -> ViewCount:
    total = sum(languages.values())
    return ViewCount(split=split, group=task, task=task, source="web", views=total, languages=languages)


def counted(*counts: ViewCount) -> dict[str, Any]:
    """The fields of a manifest whose samples have one view each."""
    return {
        "samples": tuple(
            SampleCount(
                split=one.split, group=one.group, source=one.source, samples=one.views, images=one.views
            )
            for one in counts
        ),
        "views": counts,
        "licences": {"web": {"CC BY 4.0": sum(one.views for one in counts)}},
    }


def front(text: str) -> dict[str, Any]:
    head = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(head, dict)
    return head


def test_the_hub_reads_the_front_matter() -> None:
    """Languages, licences, sizes, tasks and one config a task with its splits, under the Hub's names."""
    text = card(manifest())
    found = front(text)
    contents = [one.pop("description") for one in found["configs"]]
    assert all(one.startswith("sha256 of its files: ") for one in contents)
    assert len({*contents}) == 3
    assert found == {
        "language": ["en", "zh"],
        "license": ["cc-by-4.0"],
        "pretty_name": "demo",
        "size_categories": ["1K<n<10K"],
        "task_categories": ["image-to-text", "text-generation"],
        "tags": ["webdataset", "vlcorpus"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": ["shards/train/caption/*/*.tar"]},
                    {"split": "validation", "path": ["shards/val/caption/*/*.tar"]},
                    {"split": "test", "path": ["shards/eval/text/*/*.tar"]},
                ],
            },
            {
                "config_name": "caption",
                "data_files": [
                    {"split": "train", "path": ["shards/train/caption/*/*.tar"]},
                    {"split": "validation", "path": ["shards/val/caption/*/*.tar"]},
                ],
            },
            {
                "config_name": "text",
                "data_files": [{"split": "test", "path": ["shards/eval/text/*/*.tar"]}],
            },
        ],
        "dataset_info": [
            {"config_name": name, "features": in_card(TAR)} for name in ("default", "caption", "text")
        ],
    }
    assert DatasetCard(text).data.get("pretty_name") == "demo"


def test_the_card_does_not_depend_on_itself(tmp_path: Path) -> None:
    """The manifest that names the card's own file gives that very card."""
    told = build(tmp_path)
    assert "README.md" in told.outputs
    assert card(told).encode() == (tmp_path / "README.md").read_bytes()


def test_order_in_the_manifest_is_no_matter() -> None:
    """The card is the same whatever the order of the outputs' and thresholds' names."""
    sound = manifest()
    turned = manifest(
        outputs=dict(reversed([*sound.outputs.items()])),
        thresholds={"web": dict(reversed(sound.thresholds["web"].items()))},
    )
    assert card(turned) == card(sound)


def test_the_funnel_says_whose_rule_it_is() -> None:
    """Each rule has its settings, its counts, and whether it is the paper's or ours."""
    text = card(manifest())
    assert "| aspect\\_ratio | paper | max 3.0 | 2 | 0.2 % | 3 |" in text
    assert "| phash | ours |  | 2 | 0.2 % | 2 |" in text
    assert "| min\\_side | paper | min 200 | 0 | 0.0 % | 0 |" in text
    assert "| quarantined: truncated | ours |  | 1 | 0.1 % |  |" in text
    assert "Not in the paper, and added here: phash." in text


def test_text_of_the_recipe_cannot_break_a_table() -> None:
    """Bars, line feeds and HTML in an origin are shown as characters."""
    text = card(manifest())
    assert "| web | a \\| crawl \\<b\\> | CC BY 4.0 | train | 1,200 | 1,195 (99.6 %) |" in text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("CC0", "cc0-1.0"),
        ("Apache-2.0", "apache-2.0"),
        ("MIT License", "mit"),
        ("", "unknown"),
        ("as each site says", "other"),
    ],
)
def test_licences_become_the_hubs(written: str, read: str) -> None:
    """Usual spellings become the Hub's identifiers; what it does not know is other."""
    rows = manifest(licences={"web": {written: 1_195}})
    assert front(card(rows))["license"] == [read]
    nothing = counted() | {"licences": {}, "outputs": {}}
    without = manifest(**nothing, sources=(Source(id="web", licence=written, rows=1_200),))
    assert front(card(without))["license"] == [read]


def test_parquet_shards_are_offered_as_such() -> None:
    """A corpus without tars has Parquet configs, no webdataset tag, and says how to open it."""
    outputs = {name: one for name, one in manifest().outputs.items() if name.endswith(".parquet")}
    text = card(manifest(outputs=outputs))
    assert front(text)["configs"][2]["data_files"][0]["path"] == ["shards/eval/text/*/*.parquet"]
    assert front(text)["dataset_info"][0] == {"config_name": "default", "features": in_card(parquet.ONE)}
    assert front(text)["tags"] == ["vlcorpus"]
    assert "WebDataset" not in text


def test_what_no_configuration_loads_is_named() -> None:
    """Beside tars, the card says how to read Parquet shards and tars of several images: no configuration has them."""
    outputs = {
        f"shards/train/{name}": Output(size=1, sha256="0" * 64, rows=1)
        for name in ("caption/web/00000.tar", "chat/web/00000.tar", "interleaved/web/00000.parquet")
    }
    counts = [count("train", task, en=1) for task in ("caption", "chat", "interleaved")]
    text = card(manifest(**counted(*counts), outputs=outputs))
    assert [one["config_name"] for one in front(text)["configs"]] == ["default", "caption"]
    assert (
        '- interleaved: `load_dataset("parquet", data_files="DIR/shards/*/interleaved/*/*.parquet")`' in text
    )
    assert "- chat: tars whose samples have `KEY.0.jpg`" in text


def test_what_went_wrong_is_told() -> None:
    """Damaged shards and rows given up stand in the card; without them there is no word of it."""
    text = card(
        manifest(
            verdicts=(Verdict(source="web", shard="0", member="1", error="deadline"),),
            bad_shards=(BadShard(source="web", shard="00007", rows=3, error="it is cut"),),
        )
    )
    assert "- web, 00007: 3 rows read, then it is cut" in text
    assert "too much memory: 1;" in text
    assert "Damaged" not in card(manifest())


@pytest.mark.parametrize(
    ("samples", "size"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (10**6, "1M<n<10M"),
        (10**9, "1B<n<10B"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories_are_the_hubs(samples: int, size: str) -> None:
    """The size category is that of the samples, in the Hub's words."""
    outputs = {"shards/train/caption/web/00000.parquet": Output(size=1, sha256="0" * 64, rows=samples)}
    text = card(manifest(**counted(count("train", "caption", en=samples)), outputs=outputs))
    assert front(text)["size_categories"] == [size]


def test_what_is_off_is_told() -> None:
    """A rule that is off has no line in the table; a step of the paper that is left out is named."""
    settings = {"clip": False, "orientation": False, "phash": {"distance": 4}, "languages": ["en", "zh"]}
    text = card(manifest(thresholds={"web": settings}))
    assert "| clip |" not in text
    assert "Also set: clip: off; languages: en zh; orientation: off." in text
    assert "Steps of the paper that are off here for one source at least: clip." in text
    assert "are off here" not in card(manifest())


def test_a_rule_without_counts_is_listed() -> None:
    """A rule that dropped nothing still shows its settings, in rule order; null ones are left out."""
    settings = {"min_side": {"pixels": 200}, "caption_length": {"min_chars": 5, "min_words": None}}
    lines = card(manifest(thresholds={"web": settings})).splitlines()
    rules = [line.split(" | ")[0] for line in lines if " | paper | " in line or " | ours | " in line]
    assert rules[:4] == ["| caption\\_length", "| aspect\\_ratio", "| min\\_side", "| phash"]
    assert "| caption\\_length | paper | min\\_chars 5 | 0 | 0.0 % | 0 |" in lines


@pytest.mark.parametrize(
    ("phash", "said"),
    [
        (False, "were not looked for."),
        ({"distance": 4}, "by a perceptual hash: crops, turned or mirrored images and strong edits pass"),
        ({"distance": 4, "turned": True}, ", turned and mirrored copies too, are found"),
    ],
)
def test_the_limits_are_those_of_the_rule(phash: object, said: str) -> None:
    """What is said of near duplicates goes by the settings of phash."""
    limits = card(manifest(thresholds={"web": {"phash": phash}})).partition("## Limits")[2]
    (line,) = [one for one in limits.splitlines() if "Near duplicates" in one]
    assert said in line
