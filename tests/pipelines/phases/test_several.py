"""Pairs of several images: a sample of task interleaved, or a reason; never the first image alone."""

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vlcorpus
from pipelines.audit.verify import verify
from pipelines.recipe.model import Recipe
from schemas.sample import Example, Image, ImageRef, Phrase, Sample, Text, Turn
from tests.filters.clips import write_model
from tests.pipelines.building import build, rows
from tests.pipelines.corpora import alone
from tests.pipelines.phases.test_evaluation import noisy
from tests.pipelines.raw import add, caption, picture

Records = Sequence[Sequence[bytes]]
"""The images of each record."""


def tar(folder: Path, records: Records, mode: str = "w") -> Path:
    """KEY.0.jpg, KEY.1.jpg, … with KEY.txt; the image alone is KEY.jpg."""
    folder.mkdir()
    with tarfile.open(folder / ("a.tar" if mode == "w" else "a.tar.gz"), mode) as file:  # type: ignore[call-overload]
        for number, images in enumerate(records):
            # the numbers of a tar need not be in order
            for place, data in reversed(list(enumerate(images))):
                add(file, f"{number}.jpg" if len(images) == 1 else f"{number}.{place}.jpg", data)
            add(file, f"{number}.txt", caption(number).encode())
    return folder


def packed(folder: Path, records: Records) -> Path:
    return tar(folder, records, "w:gz")


def parquet(folder: Path, records: Records, struct: bool = False) -> Path:
    """A column of lists of images."""
    folder.mkdir()
    of_one = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
    lists = [[{"bytes": one, "path": None} if struct else one for one in images] for images in records]
    captions = [caption(number) for number in range(len(records))]
    pq.write_table(
        pa.table({"images": pa.array(lists, pa.list_(of_one)), "caption": captions}), folder / "a.parquet"
    )
    return folder


def structs(folder: Path, records: Records) -> Path:
    return parquet(folder, records, struct=True)


def jsonl(folder: Path, records: Records) -> Path:
    """Records that name a list of files."""
    folder.mkdir()
    lines = []
    for number, images in enumerate(records):
        names = [f"{number}-{place}.jpg" for place in range(len(images))]
        for name, data in zip(names, images, strict=True):
            (folder / name).write_bytes(data)
        lines.append(json.dumps({"images": names, "caption": caption(number)}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder


FORMS = pytest.mark.parametrize("form", [tar, packed, parquet, structs, jsonl])


def recipe(path: Path, several: str | None = "interleaved", **more: Any) -> dict[str, Any]:
    source = {"id": "web", "path": str(path), **({"several": several} if several else {})}
    return {"sources": [source], "max_quarantine": 1} | more


def decided(out: Path) -> list[tuple[str, str | None]]:
    found = sorted(rows(out, "decisions"), key=lambda row: row["key"])
    return [(row["decision"], row["reason"]) for row in found]


@FORMS
@pytest.mark.parametrize("written", ["webdataset", "parquet"])
def test_a_record_of_several_images_is_one_sample(tmp_path: Path, form: Any, written: str) -> None:
    """Its images stand in their order, then the caption, which is taught; a record of one image stays a pair."""
    records = [[picture(10 * n + place) for place in range(count)] for n, count in enumerate([2, 1, 12])]
    build(recipe(form(tmp_path / "in", records), shards={"format": written}), tmp_path / "out")
    corpus = vlcorpus.Corpus.open(tmp_path / "out")
    assert corpus.verify() == []
    found = {one.sample.caption or one.sample.text: one for one in corpus.samples()}
    assert {text: list(one.images) for text, one in found.items()} == {
        caption(number): images for number, images in enumerate(records)
    }
    assert [found[caption(number)].sample.views[0].task for number in range(3)] == [
        "interleaved",
        "caption",
        "interleaved",
    ]
    shown = [ImageRef(place) for place in range(12)]
    assert found[caption(2)].sample.views[0].turns == (Turn("document", (*shown, Text(caption(2), True))),)
    assert found[caption(2)].sample.views[0].language == "en"


@FORMS
def test_a_source_that_does_not_ask_for_them_drops_them(tmp_path: Path, form: Any) -> None:
    """Without `several` the reason is several_images, and its message says how to keep them."""
    records = [[picture(1), picture(2)], [picture(3)]]
    build(recipe(form(tmp_path / "in", records), several=None), tmp_path / "out")
    (lost,) = (row for row in rows(tmp_path / "out", "decisions") if row["decision"] == "quarantined")
    assert lost["reason"] == "several_images"
    assert "several: interleaved" in lost["detail"]
    assert [one.sample.views[0].task for one in vlcorpus.Corpus.open(tmp_path / "out").samples()] == [
        "caption"
    ]


@FORMS
def test_more_images_than_the_limit_are_a_reason(tmp_path: Path, form: Any) -> None:
    """`read.images` is the most that a record may have; a record of one image more is no sample."""
    records = [[picture(10 * n + place) for place in range(2 + n)] for n in range(2)]
    build(recipe(form(tmp_path / "in", records), read={"images": 2}), tmp_path / "out")
    decisions = rows(tmp_path / "out", "decisions")
    assert sorted(row["decision"] for row in decisions) == ["kept", "quarantined"]
    (lost,) = (row for row in decisions if row["decision"] == "quarantined")
    assert lost["reason"] == "several_images"
    assert "3 images, more than read.images: 2" in lost["detail"]


@FORMS
@pytest.mark.parametrize(
    ("bad", "reason"),
    [(b"no image", "not_image"), (b"", "empty"), (picture(1) + bytes(200_000), "too_large")],
)
def test_one_bad_image_quarantines_the_record_by_its_number(
    tmp_path: Path, form: Any, bad: bytes, reason: str
) -> None:
    """The message says which image it is; nothing of the row is measured, and no other row is touched."""
    records = [[picture(1), picture(2), bad], [picture(3), picture(4)]]
    folder = form(tmp_path / "in", records)
    build(recipe(folder, read={"image_bytes": 150_000}), tmp_path / "out")
    signals = {row["caption_raw"]: row for row in rows(tmp_path / "out", "signals")}
    lost = signals[caption(0)]
    assert lost["error"] == reason
    assert "image 3 of 3: " in lost["error_message"]
    assert lost["sha256"] is None
    assert signals[caption(1)]["error"] is None
    (one,) = vlcorpus.Corpus.open(tmp_path / "out").samples()
    assert one.images == (picture(3), picture(4))


@FORMS
def test_evaluation_images_are_protected_wherever_they_stand(tmp_path: Path, form: Any) -> None:
    """A training row goes for a further image, and an evaluation row protects all of its images."""
    bench = form(tmp_path / "bench", [[noisy(0), noisy(1)], [noisy(2)]])
    web = form(
        tmp_path / "web",
        [
            [noisy(10), noisy(11), noisy(2)],
            [noisy(12), noisy(1, 3)],
            [noisy(1)],
            [noisy(14), noisy(15)],
        ],
    )
    sources = [
        {"id": "web", "path": str(web), "several": "interleaved"},
        {"id": "bench", "path": str(bench), "several": "interleaved", "role": "eval"},
    ]
    build({"sources": sources}, tmp_path / "out")
    found = {(row["source"], row["key"]): row["reason"] for row in rows(tmp_path / "out", "decisions")}
    texts = {(row["source"], row["key"]): row["caption_raw"] for row in rows(tmp_path / "out", "signals")}
    reasons = {(source, texts[source, key]): reason for (source, key), reason in found.items()}
    assert [reasons["web", caption(n)] for n in range(4)] == ["eval:bench", "eval:bench", "eval:bench", None]
    assert [reasons["bench", caption(n)] for n in range(2)] == [None, None]
    assert verify(str(tmp_path / "out")) == []


def test_rows_of_one_first_image_and_caption_are_no_repeats(tmp_path: Path) -> None:
    """The key is of all images of a row: others behind the same first one are another pair."""
    folder = parquet(
        tmp_path / "in", [[picture(0), picture(1)], [picture(0), picture(2)], [picture(0), picture(1)]]
    )
    path = folder / "a.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "caption", pa.array([caption(0)] * 3)), path)
    off = dict.fromkeys(("exact", "pixels", "phash"), False)
    build(recipe(path, rules=off, captions="all"), tmp_path / "out")
    assert sorted(decided(tmp_path / "out"), key=str) == [
        ("dropped", "repeat"),
        ("kept", None),
        ("kept", None),
    ]


def test_caption_and_image_rules_apply(tmp_path: Path) -> None:
    """A record of several images is judged by its caption and by its first image."""
    records = [[picture(0, (640, 100)), picture(1)], [picture(2), picture(3, (640, 100))]]
    build(recipe(tar(tmp_path / "in", records)), tmp_path / "out")
    assert sorted(decided(tmp_path / "out"), key=str) == [("dropped", "aspect_ratio"), ("kept", None)]


def test_a_scorer_leaves_rows_of_several_images_alone(tmp_path: Path) -> None:
    """They pass the clip rule unscored, while a threshold that no pair reaches drops the pairs."""
    folder = tar(tmp_path / "in", [[picture(0), picture(1)], [picture(2)], [picture(3)]])
    model = write_model(tmp_path / "model")
    scorers = {"default": {"model": f"local-dir:{model}"}}
    more = {"clip": {"scorers": scorers}, "rules": {"clip": {"min": 1.0}}}
    results, _ = build(recipe(folder, **more), tmp_path / "out")
    assert [receipt["scored"] for receipt in results["score"].values()] == [2]
    found = {row["member"]: row["reason"] for row in rows(tmp_path / "out", "decisions")}
    assert found == {"0": None, "1": "clip", "2": "clip"}


def test_scores_of_the_data_count_for_rows_of_several_images(tmp_path: Path) -> None:
    """A score that came with the record is the record's, however many images it has."""
    (tmp_path / "in").mkdir()
    images = pa.array([[picture(0), picture(1)], [picture(2), picture(3)]], pa.list_(pa.binary()))
    columns = {"images": images, "caption": [caption(0), caption(1)], "similarity": [0.1, 0.5]}
    pq.write_table(pa.table(columns), tmp_path / "in" / "a.parquet")
    source = {"columns": {"extra": ["similarity"]}, "clip_score": "similarity", "several": "interleaved"}
    source |= {"id": "web", "path": str(tmp_path / "in")}
    build({"sources": [source], "rules": {"clip": {"min": 0.3}}}, tmp_path / "out")
    found = {row["member"]: row["reason"] for row in rows(tmp_path / "out", "decisions")}
    assert found == {"0": "clip", "1": None}


def test_a_source_that_changes_its_mind_is_read_again(tmp_path: Path) -> None:
    """`several` is part of what the signals depend on, in both directions."""
    folder = tar(tmp_path / "in", [[picture(0), picture(1)], [picture(2)]])
    tasks = []
    for several in (None, "interleaved", "drop"):
        build(recipe(folder, several), tmp_path / "out")
        tasks.append([one.sample.views[0].task for one in vlcorpus.Corpus.open(tmp_path / "out").samples()])
    assert tasks == [["caption"], ["caption", "interleaved"], ["caption"]]


@pytest.mark.parametrize("source", [{"kind": "text"}, {"kind": "annotations", "format": "mmc4"}])
def test_several_is_for_pairs(source: dict[str, Any]) -> None:
    """Texts have no images, and annotations name theirs."""
    with pytest.raises(ValueError, match="several is for pairs"):
        Recipe.model_validate({"sources": [{"id": "a", "path": "x", "several": "interleaved", **source}]})


def chat(images: Sequence[bytes], size: tuple[int, int]) -> Sample:
    """A dialogue about several images, whose regions are given for the first image in that size."""
    known = [Image("JPEG", *size, "0" * 64), *[Image("JPEG", 256, 224, "0" * 64)] * (len(images) - 1)]
    asked = Turn("user", (*[ImageRef(n) for n in range(len(images))], Text("Where is the lamp?")))
    answered = Turn("assistant", (Phrase("the lamp", ((10, 20, 30, 40),), supervised=True),))
    return alone(
        Example("k-chat-0", "chat", "train", "en", "web", "unknown", tuple(known), (asked, answered))
    )


@pytest.mark.parametrize(("size", "reason"), [((256, 224), None), ((224, 256), "bad_row")])
def test_regions_of_a_sample_of_ours_hold_for_images_of_its_size(
    tmp_path: Path, size: tuple[int, int], reason: str | None
) -> None:
    """A sample whose image is measured in another size than the one of its regions is a bad row, which says so."""
    images = [picture(0), picture(1)]
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "a.tar", "w") as file:
        add(file, "k.json", chat(images, size).to_json().encode())
        for place, data in enumerate(images):
            add(file, f"k.{place}.jpg", data)
    build(recipe(tmp_path / "in"), tmp_path / "out")
    assert decided(tmp_path / "out") == [("kept", None) if reason is None else ("quarantined", reason)]
    (row,) = rows(tmp_path / "out", "signals")
    if reason:
        assert "image 1 of 2 is 256 x 224 pixels, but the sample gives" in row["error_message"]
    else:
        (one,) = vlcorpus.Corpus.open(tmp_path / "out").samples()
        (view,), (wanted,) = one.sample.views, chat(images, size).views
        assert (view.task, view.turns) == ("chat", wanted.turns)


def test_what_captions_name_is_looked_for_in_pairs_alone(tmp_path: Path) -> None:
    """Phase ground looks at one image, so rows of several are left out, and make no grounded samples."""
    folder = tar(tmp_path / "in", [[picture(0), picture(1)], [picture(2)]])
    wanted = recipe(folder)
    wanted["sources"][0]["ground"] = {"detector": {"model": "colours"}, "chunker": "rules"}
    results, _ = build(wanted, tmp_path / "out")
    assert [receipt["rows"] for receipt in results["ground"].values()] == [1]
    assert {row["member"] for row in rows(tmp_path / "out", "grounded")} == {"1"}
