"""What a build writes is read whole by the libraries that people train with: every sample, image and field."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow.dataset as pads
import pytest
import yaml

import vlcorpus
from pipelines.card.readme import card
from pipelines.opening import shards
from pipelines.show import inspect
from pipelines.writers import parquet, webdataset
from pipelines.writers.columns import Item
from schemas.manifest import Manifest
from schemas.sample import SEVERAL, ImageRef, Phrase, Segment, Text, Turn
from tests import needs
from tests.pipelines import building
from tests.pipelines.corpora import item
from tests.pipelines.crawls import demo
from tests.pipelines.phases.test_evaluation import documents
from tests.pipelines.raw import picture
from tests.pipelines.sources.test_sets import recipe as recipe_of_sets

FORMS = ("auto", "webdataset", "parquet")
Read = dict[str, tuple[str, tuple[bytes, ...]]]
"""By key: the sample as JSON with sorted keys, and the bytes of its images."""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, vlcorpus.Corpus]:
    """The same samples in each form: photographs, drawings, regions, dialogues, interleaved pages, text; and captions,
    objects and questions over one folder of images.
    """
    top = tmp_path_factory.mktemp("consumers")
    crawl = demo(top / "crawl", 60, 30)
    text = top / "text.jsonl"
    lines = [{"text": f"A long line of text about the number {n}, and of nothing else."} for n in range(9)]
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe: dict[str, Any] = {
        "sources": [
            {"id": "web", "path": [str(crawl)], "columns": "img2dataset", "max_quarantine": 0.5},
            {"id": "drawn", "kind": "rendered", "format": "scenes", "render": {"count": 12, "side": 288}},
            {"id": "words", "kind": "text", "path": [str(text)]},
            *recipe_of_sets(top / "coco", [str(n) for n in range(10)])["sources"],
            {"id": "pages", **documents(top / "pages", *[[picture(n), picture(n + 50)] for n in range(4)])},
        ],
        "chat": {"localise": 1, "join": 4, "joined": 0.7},
        "splits": {"val": 0.2},
    }
    for form in FORMS:
        building.build(recipe | {"shards": {"format": form, "samples": 12}}, top / form)
    return {form: vlcorpus.Corpus.open(top / form) for form in FORMS}


def ours(corpus: vlcorpus.Corpus, *groups: str) -> Read:
    """The samples of some groups as vlcorpus reads them; of all where none is named."""
    wanted = (None, groups or all_groups(corpus), None)
    found = [
        shown
        for path in shards(corpus.folder, corpus.manifest, wanted)
        for shown in inspect.samples(path, None)
    ]
    return {one.key: (one.sample.to_json(), one.images) for one in found if one.sample is not None}


def all_groups(corpus: vlcorpus.Corpus) -> set[str]:
    return {count.group for count in corpus.manifest.samples}


def tasks_of(line: str) -> set[str]:
    return {view["task"] for view in json.loads(line)["views"]}


def written(record: dict[str, Any]) -> str:
    """A sample's JSON as plain values say it: whole coordinates are whole."""
    return json.dumps(json.loads(json.dumps(record)), sort_keys=True, ensure_ascii=False)


def same(read: Read, wanted: Read) -> None:
    """Fails unless both hold the same samples, with equal fields and bytes."""
    assert read.keys() == wanted.keys()
    for key, (line, images) in wanted.items():
        assert json.loads(read[key][0]) == json.loads(line), key
        assert read[key][1] == images, key


def test_all_forms_hold_the_same_samples(corpora: dict[str, vlcorpus.Corpus]) -> None:
    """Each form gives back every sample that was counted, with images that are those described."""
    found = {form: ours(corpus) for form, corpus in corpora.items()}
    for form in FORMS:
        assert found[form] == found["auto"]
        assert len(found[form]) == sum(count.samples for count in corpora[form].manifest.samples)
        assert corpora[form].verify() == []
    tasks = set().union(*(tasks_of(line) for line, _ in found["auto"].values()))
    assert {"caption", "text", "chat", "grounding", "referring", "interleaved"} <= tasks
    assert {form for line, _ in found["auto"].values() for form in formats(line)} == {"JPEG", "PNG", "WEBP"}
    assert max(len(images) for _, images in found["auto"].values()) > 1


def formats(line: str) -> list[str]:
    return [image["format"] for image in json.loads(line)["images"]]


# ---------------------------------------------------------------------------------------------- datasets


def loaded(
    datasets: Any, folder: str, cache: Path, streaming: bool, *name: str, **given: Any
) -> Iterator[Any]:
    """The rows of all splits, images as their bytes."""
    named = datasets.load_dataset(folder, *name, streaming=streaming, cache_dir=str(cache), **given)
    for split in named.values():
        plain = datasets.Image(decode=False)
        for column, feature in (("jpg", plain), ("image", plain), ("images", datasets.List(plain))):
            split = split.cast_column(column, feature) if column in split.features else split
        yield from split


def of_rows(rows: Iterable[Any]) -> Read:
    """What the rows of a configuration say: of tars by `json` and `jpg`, of Parquet by its columns."""
    read: Read = {}
    for row in rows:
        if "json" in row:
            record, shown = row["json"], [row["jpg"]] if row["jpg"] else []
            assert row["__key__"] == record["key"]
        else:
            record = json.loads(row["sample"])
            record["views"], record["images"] = row["views"], row["pictures"]
            assert {"key": row["key"], "split": row["split"]}.items() <= record.items()
            shown = row.get("images") or ([row["image"]] if row.get("image") else [])
        assert record["key"] not in read
        read[record["key"]] = (written(record), tuple(one["bytes"] for one in shown))
    return read


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
@pytest.mark.parametrize("form", FORMS)
def test_datasets_loads_each_configuration(
    corpora: dict[str, vlcorpus.Corpus], form: str, streaming: bool, tmp_path: Path
) -> None:
    """Each configuration of the card gives the samples of its group; the default one those of all that it names."""
    datasets = needs.package("datasets")
    corpus = corpora[form]
    front = yaml.safe_load((Path(corpus.folder) / "README.md").read_text().split("---\n")[1])
    names = [one["config_name"] for one in front["configs"]]
    groups = sorted(all_groups(corpus) - ({*SEVERAL} if form != "parquet" else set()))
    assert names == ["default", *groups]
    same(of_rows(loaded(datasets, corpus.folder, tmp_path, streaming)), ours(corpus, *groups))
    for name in groups:
        same(of_rows(loaded(datasets, corpus.folder, tmp_path, streaming, name)), ours(corpus, name))


def test_datasets_does_not_give_the_corpus_before(tmp_path: Path) -> None:
    """A corpus built anew in its folder is loaded anew, though `datasets` keeps what it has loaded by folder."""
    datasets = pytest.importorskip("datasets", reason="the loader is that of Hugging Face")
    crawl = demo(tmp_path / "crawl", 60, 30)
    recipe: dict[str, Any] = {
        "sources": [{"id": "web", "path": [str(crawl)], "columns": "img2dataset", "max_quarantine": 0.5}]
    }
    for languages in (["zh"], []):
        building.build(recipe | {"languages": languages}, tmp_path / "corpus")
        corpus = vlcorpus.Corpus.open(tmp_path / "corpus")
        found = datasets.load_dataset(
            str(tmp_path / "corpus"), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert sorted(row["__key__"] for row in found) == sorted(ours(corpus))


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_datasets_loads_what_no_configuration_names(
    corpora: dict[str, vlcorpus.Corpus], streaming: bool, tmp_path: Path
) -> None:
    """Dialogues and pages of several images, Parquet beside tars, load by the lines in the card."""
    datasets = needs.package("datasets")
    corpus = corpora["auto"]
    card = (Path(corpus.folder) / "README.md").read_text()
    for task in SEVERAL:
        assert f'`load_dataset("parquet", data_files="DIR/shards/*/{task}/*/*.parquet")`' in card
        files = f"{corpus.folder}/shards/*/{task}/*/*.parquet"
        rows = loaded(datasets, "parquet", tmp_path, streaming, data_files=files)
        same(of_rows(rows), ours(corpus, task))


def test_datasets_decodes_images_whatever_their_format(
    corpora: dict[str, vlcorpus.Corpus], tmp_path: Path
) -> None:
    """PNG and WebP under the name KEY.jpg come as images of their size."""
    datasets = needs.package("datasets")
    corpus = corpora["auto"]
    rows = datasets.load_dataset(corpus.folder, split="train", cache_dir=str(tmp_path))
    seen = Counter()
    for row in rows:
        if not row["json"]["images"]:
            continue
        (image,) = row["json"]["images"]
        assert row["jpg"].size == (image["width"], image["height"])
        seen[image["format"]] += 1
    assert seen.keys() == {"JPEG", "PNG", "WEBP"}


# ------------------------------------------------------------------------------------- tables and loaders


def images_of(stem: str, row: dict[str, Any]) -> tuple[bytes, ...]:
    """The images of a row: out of the tar by offset and size, or as the row carries them."""
    if "json_offset" not in row:
        return tuple(one["bytes"] for one in row.get("images") or ([row["image"]] if row["image"] else []))
    with open(f"{stem}.tar", "rb") as tar:
        return tuple(cut(tar, one["offset"], one["size"]) for one in row["images"])


def cut(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


@pytest.mark.parametrize("form", FORMS)
def test_pyarrow_reads_shards_and_indexes(corpora: dict[str, vlcorpus.Corpus], form: str) -> None:
    """Every row of every Parquet file is a sample; its images lie in it, or where its index says."""
    corpus = corpora[form]
    read: Read = {}
    for path in Path(corpus.folder).glob("shards/*/*/*/*.parquet"):
        for row in pads.dataset(path).to_table().to_pylist():
            read[row["key"]] = (row["sample"], images_of(str(path.with_suffix("")), row))
            known = row["pictures"] if "pictures" in row else row["images"]
            stored = [hashlib.sha256(data).hexdigest() for data in read[row["key"]][1]]
            assert [one["sha256"] for one in known] == stored
            said = json.loads(row["sample"])["views"]
            assert [{name: one[name] for name in row["views"][0]} for one in said] == row["views"]
    same(read, ours(corpus))


@pytest.mark.parametrize("form", FORMS)
def test_duckdb_and_pandas_read_all_files_at_once(corpora: dict[str, vlcorpus.Corpus], form: str) -> None:
    """One query over all Parquet files has each sample with its words; pairs have the URL of their row."""
    corpus = corpora[form]
    query = f"""
        SELECT key, source, caption, text, url, [view.task for view in views] AS tasks
        FROM read_parquet('{corpus.folder}/shards/*/*/*/*.parquet', union_by_name = true)
    """
    frame = duckdb.sql(query).df()
    samples = [one.sample for one in corpus.samples()]
    wanted = {one.key: (one.caption, one.text) for one in samples}
    words = frame[["caption", "text"]].astype(object).where(frame[["caption", "text"]].notna(), None)
    assert dict(zip(frame["key"], words.itertuples(index=False, name=None), strict=True)) == wanted
    counts = frame.explode("tasks").groupby(["tasks", "source"]).size().to_dict()
    assert counts == Counter((view.task, one.source) for one in samples for view in one.views)
    assert counts == {
        (task, source): sum(
            one.views for one in corpus.manifest.views if (one.task, one.source) == (task, source)
        )
        for task, source in counts
    }
    assert frame[frame["source"] == "web"]["url"].str.startswith("http").all()


def test_pandas_filters_an_index(corpora: dict[str, vlcorpus.Corpus]) -> None:
    """pandas reads an index alone, and what it finds there can be cut out of the tar."""
    pandas = needs.package("pandas")
    corpus = corpora["auto"]
    (path, *_) = sorted(Path(corpus.folder).glob("shards/train/caption/web/*.parquet"))
    frame = pandas.read_parquet(path)
    chinese = frame[frame["language"] == "zh"]
    wanted = ours(corpus, "caption")
    assert len(chinese) > 0
    for row in chinese.to_dict("records"):
        assert images_of(str(path.with_suffix("")), row) == wanted[row["key"]][1]


def test_tarfile_reads_members_in_order(corpora: dict[str, vlcorpus.Corpus]) -> None:
    """A plain tar reader finds each JSON, then its images: what webdataset makes of a tar."""
    corpus = corpora["webdataset"]
    read: dict[str, tuple[str, list[bytes]]] = {}
    for path in Path(corpus.folder).glob("shards/*/*/*/*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                if suffix == "json":
                    read[key] = (file.read().decode(), [])
                else:
                    several = len(json.loads(read[key][0])["images"]) > 1
                    assert suffix == (f"{len(read[key][1])}.jpg" if several else "jpg")
                    read[key][1].append(file.read())
    same({key: (line, tuple(images)) for key, (line, images) in read.items()}, ours(corpus))


@pytest.mark.parametrize("form", FORMS)
def test_webdataset_reads_tars(corpora: dict[str, vlcorpus.Corpus], form: str) -> None:
    """The library webdataset gives each sample of a tar with its images under jpg, or 0.jpg, 1.jpg, …"""
    library = needs.package("webdataset")
    corpus = corpora[form]
    tars = sorted(map(str, Path(corpus.folder).glob("shards/*/*/*/*.tar")))
    read: Read = {}
    for row in library.WebDataset(tars, shardshuffle=False, empty_check=False) if tars else ():
        names = sorted((name for name in row if name.endswith("jpg")), key=lambda name: (len(name), name))
        read[row["__key__"]] = (row["json"].decode(), tuple(row[name] for name in names))
    apart = {
        "auto": {*SEVERAL},
        "webdataset": set(),
        "parquet": all_groups(corpus),
    }
    groups = all_groups(corpus) - apart[form]
    same(read, ours(corpus, *groups) if groups else {})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_reads_every_sample(corpora: dict[str, vlcorpus.Corpus], form: str, workers: int) -> None:
    """Our loader, with a DataLoader of two workers too, gives each training view once, with its images."""
    from model.loader import Feed, Loader
    from model.shards import find
    from model.store import Store
    from model.tokenizer import train

    corpus = corpora[form]
    views = [view for one in corpus.samples(split="train") for view in one.sample.examples]
    strata = find(Store(corpus.folder), "train")
    feed = Feed(
        Store(corpus.folder), strata, length=2048, micro=2, side=32, queries=4, endless=False, pool=64
    )
    loader = Loader(feed, train([one.text for one in views], 400, 0), workers=workers)
    batches = list(loader)
    assert loader.drops.total() == 0
    assert Counter(key for batch in batches for row in batch.keys for key in row) == Counter(
        one.key for one in views
    )


# -------------------------------------------------------------------------------------------- ourselves


def words_and_images(examples: Iterable[vlcorpus.Example]) -> Counter[Any]:
    """What is left of samples that are read as pairs: the caption, else all words, as one line; of several images all
    turns.
    """
    return Counter(
        (tuple((view.task, view.turns) for view in one.sample.views), one.images)
        if len(one.images) > 1
        else (" ".join((one.sample.caption or one.sample.text or "").split()), one.images)
        for one in examples
    )


ALL = {"exact": False, "pixels": False, "phash": False}
"""Rules that would drop samples which show one image."""


@pytest.mark.parametrize("form", FORMS)
def test_what_we_write_is_input_again(corpora: dict[str, vlcorpus.Corpus], form: str, tmp_path: Path) -> None:
    """Each group's shards are read whole: images, words, text without images, several images with all their turns."""
    corpus = corpora[form]
    for group in sorted(all_groups(corpus)):
        folder = f"{corpus.folder}/shards/*/{group}"
        source = {"id": "again", "path": [folder], "several": "interleaved"}
        recipe = {"sources": [source], "rules": ALL, "shards": {"format": form}}
        building.build(recipe, tmp_path / group)
        again = vlcorpus.Corpus.open(tmp_path / group)
        keys = ours(corpus, group)
        examples = [one for one in corpus.samples() if one.sample.key in keys]
        assert words_and_images(again.samples()) == words_and_images(examples)
        assert again.funnel()["again"].errors == {}
        assert (group not in SEVERAL) or any(len(one.images) > 1 for one in examples)
        assert again.verify() == []


@pytest.mark.parametrize("form", FORMS)
def test_a_corpus_is_input_as_a_whole(corpora: dict[str, vlcorpus.Corpus], form: str, tmp_path: Path) -> None:
    """Its folder is one source, Parquet among tars too: every sample is there, but for equal words on an image."""
    corpus = corpora[form]
    source = {"id": "again", "path": [corpus.folder], "several": "interleaved"}
    building.build({"sources": [source], "rules": ALL, "captions": "all"}, tmp_path / "out")
    again = vlcorpus.Corpus.open(tmp_path / "out")
    assert again.funnel()["again"].rows == sum(count.samples for count in corpus.manifest.samples)
    assert words_and_images(again.samples()).keys() == words_and_images(corpus.samples()).keys()
    assert again.verify() == []


@pytest.mark.parametrize("form", FORMS)
def test_a_tar_of_jpeg_and_png_is_read_whole(form: str, test_data: Path, tmp_path: Path) -> None:
    """The case `mixed`: datasets gives every sample with its image in one column, tars and Parquet alike."""
    datasets = needs.package("datasets")
    source = {"id": "web", "path": str(test_data / "cases" / "mixed"), "kind": "webdataset"}
    building.build({"sources": [source], "shards": {"format": form}}, tmp_path / "out")
    corpus = vlcorpus.Corpus.open(tmp_path / "out")
    wanted = ours(corpus)
    assert {kind for line, _ in wanted.values() for kind in formats(line)} == {"JPEG", "PNG"}
    for streaming in (False, True):
        cache = tmp_path / f"cache-{streaming}"
        same(of_rows(loaded(datasets, corpus.folder, cache, streaming)), wanted)
        same(of_rows(loaded(datasets, corpus.folder, cache, streaming, "caption")), wanted)


# ------------------------------------------------------------------------------------------------- Ray


@pytest.mark.long
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's, on itself
def test_ray_data_reads_each_form(corpora: dict[str, vlcorpus.Corpus]) -> None:
    """ray.data.read_webdataset and read_parquet give every sample with its images."""
    ray = needs.package("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for corpus in corpora.values():
            read: Read = {}
            for group in sorted(all_groups(corpus)):
                files = sorted(map(str, Path(corpus.folder).glob(f"shards/*/{group}/*/*")))
                tars = [file for file in files if file.endswith(".tar")]
                if tars:
                    rows = map(parsed, ray.data.read_webdataset(tars, decoder=None).take_all())
                    read |= {row["json"]["key"]: of_webdataset(row) for row in rows}
                else:
                    read |= of_rows(ray.data.read_parquet(files).take_all())
            same(read, ours(corpus))
    finally:
        ray.shutdown()


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"json": json.loads(row["json"])}


def of_webdataset(row: dict[str, Any]) -> tuple[str, tuple[bytes, ...]]:
    """A row of a tar by its suffixes; where another row has more of them, Ray puts NaN here."""
    names = [name for name in row if name.endswith("jpg") and isinstance(row[name], bytes)]
    names.sort(key=lambda name: (len(name), name))
    return written(row["json"]), tuple(row[name] for name in names)


# ------------------------------------------------------------------------------------------ mixed types


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_types_that_come_late_are_kept(form: str, streaming: bool, tmp_path: Path) -> None:
    """Boxes, quads and words that the first five samples lack come back from the sixth on."""
    datasets = needs.package("datasets")
    box, quad = (1.0, 2.0, 3.5, 4.0), ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    bare: tuple[Segment, ...] = (ImageRef(0),)
    full = (ImageRef(0), Text("late words", True), Phrase("a cat", (box,), (quad,), True))
    given = [with_turns(item(n), (Turn("document", bare if n < 6 else full),)) for n in range(9)]
    folder = tmp_path / "corpus"
    name = f"shards/train/caption/web/{'0' * 16}"
    path = folder / f"{name}.{form}"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file, path.with_suffix(".index").open("wb") as index:
        webdataset.write(given, file, index) if form == "tar" else parquet.write(given, file, parquet.ONE)
    place = {"split": "train", "group": "caption", "source": "web"}
    counts = place | {"samples": 9, "images": 9}
    views = place | {"task": "caption", "views": 9, "languages": {"en": 9}}
    output = {"size": 1, "sha256": "0" * 64, "rows": 9}
    manifest = Manifest.model_validate(
        {
            "recipe": "0" * 64,
            "seed": 1,
            "versions": {},
            "sources": [{"id": "web", "rows": 9}],
            "thresholds": {},
        }
        | {
            "funnel": {"web": {"rows": 9, "kept": 9, "dropped": 0, "quarantined": 0}},
            "samples": [counts],
            "views": [views],
        }
        | {"licences": {"web": {"CC0-1.0": 9}}}
        | {"outputs": {f"{name}.{form}": output}, "shards": {name.rpartition("/")[0]: [path.stem]}}
    )
    (folder / "README.md").write_text(card(manifest))
    wanted = {one.sample.key: (one.sample.to_json(), tuple(one.images)) for one in given}
    same(of_rows(loaded(datasets, str(folder), tmp_path / "cache", streaming)), wanted)


def with_turns(one: Item, turns: tuple[Turn, ...]) -> Item:
    """The item with other turns in each of its views."""
    views = tuple(replace(view, turns=turns) for view in one.sample.views)
    return replace(one, sample=replace(one.sample, views=views))
