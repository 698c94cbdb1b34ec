"""Evaluation sets come first: no image of theirs in another split, none of their rows lost to a duplicate."""

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from filters.table import SIGNALS
from pipelines.audit.verify import verify
from pipelines.layout import Layout
from pipelines.phases.dedup.driver import DedupPlan, dedup
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.recipe.model import Recipe
from schemas.errors import InputError
from schemas.manifest import load
from schemas.row import FURTHER
from tests.pipelines import raw
from tests.pipelines.building import build, rows
from tests.pipelines.phases.test_select import engine

OFF = dict.fromkeys(("exact", "pixels", "phash"), False)


@dataclass(frozen=True)
class Row:
    """A row as far as evaluation protection looks."""

    source: str
    member: str
    key: int
    sha256: int | None
    pixels: int
    phash: int
    split: str
    language: str
    side: int
    error: str | None
    beside: tuple[tuple[int, int, int], ...] = ()

    @property
    def images(self) -> list[tuple[int, int, int]]:
        """The SHA-256, pixels and hash of its images: the first, and those beside it."""
        return [] if self.sha256 is None else [(self.sha256, self.pixels, self.phash), *self.beside]

    @property
    def evaluation(self) -> bool:
        """Whether it is held out: `bench` and `quiz` are evaluation sources, `coco` brings its own splits."""
        return self.source in ("bench", "quiz") or (self.source == "coco" and self.split in ("val", "test"))

    def shown_by(self, others: Sequence["Row"], distance: int) -> tuple[int, int] | None:
        """How near, and by which key, the images of other rows come to one of this row's; None where none does."""
        found = []
        for image in self.images:
            pairs = [(row.key, one) for row in others for one in row.images]
            equal = [[(0, key) for key, one in pairs if one[part] == image[part]] for part in (0, 1)]
            near = [((one[2] ^ image[2]).bit_count(), key) for key, one in pairs]
            ways = [*equal, [one for one in near if one[0] <= distance]]
            found += [min(way) for way in ways if way][:1]
        return min(found, default=None)


@st.composite
def corpora(draw: st.DrawFn) -> list[Row]:
    """Rows of pairs, annotations and two evaluation sources, with many images in common or nearly so."""
    flips = st.lists(st.integers(0, 63), max_size=7).map(lambda places: sum(1 << p for p in set(places)))
    seeds = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    return [
        Row(
            source=draw(st.sampled_from(["web", "coco", "bench", "quiz"])),
            member=f"{number:03d}",
            key=draw(st.integers(1, 12)) << 64 | number * draw(st.integers(0, 1)),
            sha256=draw(st.none() | st.integers(0, 9)),
            pixels=draw(st.integers(0, 9)),
            phash=draw(st.sampled_from(seeds)) ^ draw(flips),
            split=draw(st.sampled_from(["", "train", "val", "test"])),
            language=draw(st.sampled_from(["en", "zh", "fr"])),
            side=draw(st.sampled_from([100, 300])),
            error=draw(st.sampled_from([None, None, None, "truncated"])),
            beside=tuple(
                (draw(st.integers(0, 9)), draw(st.integers(0, 9)), draw(st.sampled_from(seeds)) ^ draw(flips))
                for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
            ),
        )
        for number in range(draw(st.integers(2, 24)))
    ]


def further_of(rows: Sequence[Row]) -> pa.Table:
    """The images beside the first of a shard's rows."""
    records = [
        {"row": place, "sha256": f"{sha256:064x}", "pixels": f"{pixels:032x}", "phash": phash}
        for place, row in enumerate(rows)
        for sha256, pixels, phash in row.images[1:]
    ]
    return pa.Table.from_pylist(records, FURTHER)


def signals_of(row: Row) -> dict[str, Any]:
    image = {
        "sha256": f"{row.sha256:064x}" if row.sha256 is not None else None,
        "pixels": f"{row.pixels:032x}",
        "phash": row.phash,
        "width": row.side,
        "height": row.side,
        "aspect_ratio": 1.0,
        "grey_std": 50.0,
        "grey_range": 200,
    }
    said = "a caption of this row"
    caption = {"caption_raw": said, "caption": said, "caption_chars": len(said), "caption_words": 5}
    return {
        "source": row.source,
        "shard": "0",
        "member": row.member,
        "key": f"{row.key:032x}",
        **caption,
        "caption_han": 0,
        "emoji": 0,
        "letters": 17,
        "language": row.language,
        "language_score": 0.99,
        "scripts": [{"script": "Latin", "letters": 17}],
        "extra": json.dumps({"split": row.split}) if row.source == "coco" else None,
        "error": row.error,
        **(image if row.sha256 is not None and row.error is None else {}),
    }


def recipe_of(order: Sequence[str], more: dict[str, Any]) -> Recipe:
    sources = {
        "web": {"id": "web", "path": "web"},
        "coco": {
            "id": "coco",
            "path": "c.json",
            "kind": "annotations",
            "format": "coco_captions",
            "images": "i",
        },
        "bench": {"id": "bench", "path": "bench", "role": "eval"},
        "quiz": {"id": "quiz", "path": "quiz", "role": "eval", "kind": "parquet", "rules": {"exact": False}},
    }
    return Recipe.model_validate(
        {"languages": ["en", "zh"], "sources": [sources[one] for one in order], **more}
    )


Decided = dict[str, dict[str, Any]]


def decided(recipe: Recipe, corpus: Sequence[Row], partitions: int) -> tuple[Decided, Decided]:
    """member -> its decision, and its pair with an evaluation row; after dedup and select over signals of the rows."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(folder)
        shards = [(source.id, "0") for source in recipe.sources]
        for source, shard in shards:
            rows = [row for row in corpus if row.source == source]
            signals = pa.Table.from_pylist([signals_of(row) for row in rows], SIGNALS)
            for kind, table in (("signals", signals), ("further", further_of(rows))):
                if table.num_rows or kind == "signals":
                    path = Path(layout.path(kind, source, shard))
                    path.parent.mkdir(parents=True)
                    pq.write_table(table, path)
        phash = recipe.rules.phash
        plan = DedupPlan(
            layout,
            tuple(shards),
            distance=phash.distance if phash else None,
            evaluation=recipe.evaluation,
            eval_distance=recipe.eval_distance,
            partitions=partitions,
        )
        dedup(engine(partitions), plan)
        select(engine(partitions), SelectPlan(recipe, layout, shards, partitions, scored={}))
        found = {
            kind: [
                row for name in shards for row in pq.ParquetFile(layout.path(kind, *name)).read().to_pylist()
            ]
            for kind in ("decisions", "clusters")
        }
        pairs = [row for row in found["clusters"] if row["kind"] == "eval"]
        assert len({row["member"] for row in pairs}) == len(pairs)
        return {row["member"]: row for row in found["decisions"]}, {row["member"]: row for row in pairs}


@settings(max_examples=40)
@given(
    corpus=corpora(),
    order=st.permutations(["web", "coco", "bench", "quiz"]),
    captions=st.sampled_from(["one_per_language", "longest", "all"]),
    rules=st.sampled_from(
        [{}, OFF, {"phash": {"distance": 8}}, {"phash": {"distance": 0}}, {"exact": False}]
    ),
    partitions=st.integers(1, 4),
)
def test_no_image_of_an_evaluation_row_is_kept_elsewhere(
    corpus: list[Row], order: list[str], captions: str, rules: dict[str, Any], partitions: int
) -> None:
    """Of all measured rows, training rows that show an evaluation image go, and no other; evaluation rows stay."""
    recipe = recipe_of(order, {"captions": captions, "rules": rules})
    found, pairs = decided(recipe, corpus, partitions)
    held = [row for row in corpus if row.evaluation and row.error is None]
    assert not pairs.keys() & {row.member for row in corpus if row.evaluation or row.error is not None}
    for row in corpus:
        decision = found[row.member]
        if row.error is not None:
            assert decision["decision"] == "quarantined"
        elif row.evaluation:
            rule = {"language": row.language == "fr", "min_side": row.sha256 is not None and row.side < 200}
            expected = [name for name, fails in rule.items() if fails]
            assert decision["failed"] == expected or (not expected and decision["reason"] == "repeat")
            twins = [one for one in corpus if one.evaluation and one.key == row.key and one is not row]
            assert decision["reason"] != "repeat" or twins
            assert decision["split"] == ("eval" if decision["decision"] == "kept" else None)
        else:
            expected_pair = row.shown_by(held, recipe.eval_distance)
            guarded = {name for name in decision["failed"] if name.startswith("eval:")}
            pair = pairs.get(row.member)
            assert (pair and (pair["distance"], int(pair["cluster"], 16))) == expected_pair
            assert guarded == ({f"eval:{pair['eval_source']}"} if pair else set())
            assert not guarded or (decision["decision"], decision["reason"]) == ("dropped", *guarded)
            assert decision["split"] != "eval"


def noisy(number: int, bits: int = 0) -> bytes:
    """A PNG of a number; `bits` other ones look like it to every hash but differ in each pixel."""
    image = np.asarray(Image.open(io.BytesIO(raw.picture(number)))).astype(np.int16)
    out = io.BytesIO()
    Image.fromarray(np.clip(image + bits, 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def pairs(folder: Path, images: Sequence[bytes], said: str) -> str:
    folder.mkdir(parents=True)
    lines = []
    for number, data in enumerate(images):
        (folder / f"{number:03d}.png").write_bytes(data)
        caption = said.format(raw.COLOURS[number % 8], number)
        lines.append(json.dumps({"file": f"{number:03d}.png", "caption": caption}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return str(folder)


def coco(folder: Path, images: Sequence[bytes]) -> dict[str, Any]:
    """An annotation source of its own kind, with a caption an image."""
    (folder / "images").mkdir(parents=True)
    record: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    for number, data in enumerate(images):
        name = f"{number:03d}.png"
        (folder / "images" / name).write_bytes(data)
        record["images"].append({"id": number, "file_name": name, "width": 256, "height": 224})
        caption = f"The annotated thing of number {number}"
        record["annotations"].append({"id": number, "image_id": number, "caption": caption})
    (folder / "captions.json").write_text(json.dumps(record))
    return {
        "kind": "annotations",
        "format": "coco_captions",
        "path": str(folder / "captions.json"),
        "images": str(folder / "images"),
    }


def sources_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Training pairs, training annotations and an evaluation set that share images, as they are or nearly so."""
    bench = [noisy(number) for number in range(6)]
    web = [noisy(0), noisy(1, 3), *(noisy(number) for number in range(10, 14))]
    return {
        "web": {"id": "web", "path": pairs(folder / "web", web, "A photograph of {} flowers, number {}")},
        "coco": {"id": "coco", **coco(folder / "coco", [noisy(2), noisy(3, -3), noisy(20)])},
        "bench": {
            "id": "bench",
            "role": "eval",
            "path": pairs(folder / "bench", bench, "花园里有一朵{}色的花和一棵树，第{}张图片"),
        },
    }


@pytest.mark.parametrize("order", [("web", "coco", "bench"), ("bench", "coco", "web")])
@pytest.mark.parametrize("captions", ["one_per_language", "longest", "all"])
def test_a_whole_build_keeps_the_evaluation_set_whole(
    tmp_path: Path, order: tuple[str, ...], captions: str
) -> None:
    """Pairs and annotations alike lose what the evaluation set shows; the row tells whose image it is."""
    made = sources_of(tmp_path)
    recipe = {"languages": ["en", "zh"], "captions": captions, "sources": [made[one] for one in order]}
    build(recipe | {"rules": OFF if captions == "all" else {}}, tmp_path / "out")
    found = {(row["source"], row["member"]): row for row in rows(tmp_path / "out", "decisions")}
    dropped = [row for row in found.values() if row["decision"] != "kept"]
    assert {row["reason"] for row in dropped} == {"eval:bench"}
    assert [row["source"] for row in dropped].count("web") == 2
    assert [row["source"] for row in dropped].count("coco") == 2
    bench = [row for row in found.values() if row["source"] == "bench"]
    assert {(row["decision"], row["split"]) for row in bench} == {("kept", "eval")}
    assert all(" of bench" in row["detail"] for row in dropped)
    clusters = [row for row in rows(tmp_path / "out", "clusters") if row["kind"] == "eval"]
    assert {row["cluster"] for row in clusters} <= {row["key"] for row in bench}
    assert {row["eval_source"] for row in clusters} == {"bench"}
    assert len(clusters) == 4
    assert verify(str(tmp_path / "out")) == []


def test_an_evaluation_row_that_a_rule_drops_still_protects_its_image(tmp_path: Path) -> None:
    """The benchmark's caption is too short to be kept, and its image stays out of training all the same."""
    sources = [
        {"id": "web", "path": pairs(tmp_path / "web", [noisy(0)], "A photograph of {} flowers, number {}")},
        {"id": "bench", "role": "eval", "path": pairs(tmp_path / "bench", [noisy(0)], "cat")},
    ]
    build({"sources": sources}, tmp_path / "out")
    found = {row["source"]: row["reason"] for row in rows(tmp_path / "out", "decisions")}
    assert found["web"] == "eval:bench"
    assert found["bench"] == "caption_length"


def test_the_manifest_counts_what_evaluation_took_first_and_the_card_names_it(tmp_path: Path) -> None:
    """The reason stands before every rule, with its count; the distance stands among the settings."""
    made = sources_of(tmp_path)
    build({"languages": ["en", "zh"], "sources": [*made.values()]}, tmp_path / "out")
    manifest = load((tmp_path / "out" / "manifest.json").read_bytes())
    first = manifest.funnel["web"].rules[0]
    assert (first.rule, first.dropped, first.failed) == ("eval:bench", 2, 2)
    assert manifest.thresholds["web"]["eval"] == {"distance": 4}
    assert "eval:bench" in (tmp_path / "out" / "README.md").read_text()


def test_verify_names_an_image_in_two_splits(tmp_path: Path) -> None:
    """Where a training row is put back by hand, verify says whose image it shows, and how near."""
    made = sources_of(tmp_path)
    build({"languages": ["en", "zh"], "sources": [*made.values()]}, tmp_path / "out")
    path = next((tmp_path / "out" / "work" / "decisions" / "web").glob("*.parquet"))
    table = pq.ParquetFile(path).read()
    kept = [
        {**row, "decision": "kept", "reason": None, "failed": [], "split": "train"}
        for row in table.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(kept, table.schema), path)
    problems = [problem for problem in verify(str(tmp_path / "out")) if "which is in eval" in problem]
    assert len(problems) == 2
    assert any("has the bytes of bench/" in problem for problem in problems)
    assert any("bits from bench/" in problem for problem in problems)


def test_a_changed_evaluation_source_is_heeded_by_a_resumed_run(tmp_path: Path) -> None:
    """A benchmark that is added to a recipe takes its images out of a corpus that stands already."""
    made = sources_of(tmp_path)
    build({"languages": ["en", "zh"], "sources": [made["web"]]}, tmp_path / "out")
    assert all(row["decision"] == "kept" for row in rows(tmp_path / "out", "decisions"))
    assert "eval_source" not in rows(tmp_path / "out", "clusters")
    build({"languages": ["en", "zh"], "sources": [made["web"], made["bench"]]}, tmp_path / "out")
    gone = [row["reason"] for row in rows(tmp_path / "out", "decisions") if row["decision"] == "dropped"]
    assert gone == ["eval:bench"] * 2


@pytest.mark.parametrize("damage", ["no image", "cut short"])
def test_an_evaluation_source_that_cannot_be_read_stops_the_run(tmp_path: Path, damage: str) -> None:
    """No tolerance of the recipe lets a run go on without its evaluation images; the sentence says so."""
    web = raw.shard(tmp_path / "web" / "0.tar", range(3))
    bench = raw.shard(tmp_path / "bench" / "0.tar", range(3))
    if damage == "cut short":
        bench.write_bytes(bench.read_bytes()[: bench.stat().st_size // 2])
        told = "is an evaluation set, which must be read whole"
    else:
        images = [b"no image"] * 3
        pairs(tmp_path / "text", images, "A photograph of {} flowers, number {}")
        bench, told = tmp_path / "text", "none of the 3 rows of source bench could be measured"
    sources = [{"id": "web", "path": str(web)}, {"id": "bench", "path": str(bench), "role": "eval"}]
    recipe = {"sources": sources, "max_quarantine": 1, "max_bad_shards": 5}
    with pytest.raises(InputError, match=told):
        build(recipe, tmp_path / "out")


@pytest.mark.parametrize("case", ["near", "near_all", "test_first", "train_first"])
def test_real_cases(test_data: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published situations: the evaluation set stays whole, and what it shows leaves training."""
    import yaml

    folder = test_data / "cases" / "eval"
    if not folder.is_dir():
        pytest.skip("the folder of real data holds no cases")
    monkeypatch.chdir(folder)
    recipe = yaml.safe_load((folder / f"{case}.yaml").read_text())
    build({**recipe, "out": str(tmp_path / "out")}, tmp_path / "out")
    found = rows(tmp_path / "out", "decisions")
    held = {source["id"] for source in recipe["sources"] if source.get("role") == "eval"}
    assert all((row["decision"], row["split"]) == ("kept", "eval") for row in found if row["source"] in held)
    gone = [row["reason"] for row in found if row["source"] not in held and row["decision"] == "dropped"]
    assert gone == [f"eval:{next(iter(held))}"] * (12 if case.startswith("near") else 10)
    assert verify(str(tmp_path / "out")) == []


def documents(folder: Path, *records: Sequence[bytes]) -> dict[str, Any]:
    """An interleaved source: one document for each list of images, a sentence before each image."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, images in enumerate(records):
        names = [f"{number}-{place}.png" for place in range(len(images))]
        for name, data in zip(names, images, strict=True):
            (folder / "images" / name).write_bytes(data)
        sentences = [f"Sentence {place} of document {number}." for place in range(len(images))]
        info = [{"image_name": name, "matched_text_index": place} for place, name in enumerate(names)]
        lines.append(json.dumps({"text_list": sentences, "image_info": info}))
    (folder / "docs.jsonl").write_text("\n".join(lines))
    return {
        "kind": "annotations",
        "format": "mmc4",
        "path": str(folder / "docs.jsonl"),
        "images": str(folder / "images"),
    }


@pytest.mark.parametrize("order", [("docs", "web", "bench", "album"), ("album", "bench", "web", "docs")])
def test_every_image_of_a_document_counts_on_both_sides(tmp_path: Path, order: tuple[str, ...]) -> None:
    """A training document goes for its second image, and an evaluation document protects each of its images."""
    said = "A photograph of {} flowers, number {}"
    made = {
        "docs": documents(tmp_path / "docs", [noisy(10), noisy(0)], [noisy(11), noisy(12, 3)], [noisy(13)]),
        "web": {"path": pairs(tmp_path / "web", [noisy(21), noisy(22, 2), noisy(14)], said)},
        "bench": {"path": pairs(tmp_path / "bench", [noisy(0), noisy(1)], said), "role": "eval"},
        "album": documents(tmp_path / "album", [noisy(20), noisy(21), noisy(22)], [noisy(12)])
        | {"role": "eval"},
    }
    build({"sources": [{"id": one, **made[one]} for one in order]}, tmp_path / "out")
    found = {(row["source"], row["member"]): row for row in rows(tmp_path / "out", "decisions")}
    reasons = {name: [row["reason"] for key, row in sorted(found.items()) if key[0] == name] for name in made}
    assert reasons["docs"] == ["eval:bench", "eval:album", None]
    assert reasons["web"] == ["eval:album", "eval:album", None]
    assert reasons["bench"] == reasons["album"] == [None, None]
    assert verify(str(tmp_path / "out")) == []
    path = next((tmp_path / "out" / "work" / "decisions" / "docs").glob("*.parquet"))
    table = pq.ParquetFile(path).read()
    kept = [{**row, "decision": "kept", "reason": None, "split": "train"} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(kept, table.schema), path)
    problems = [problem for problem in verify(str(tmp_path / "out")) if "which is in eval" in problem]
    assert len(problems) == 2
