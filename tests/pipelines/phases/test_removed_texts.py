"""Texts and addresses of removed rows are nowhere in the corpus, whatever kind of source they are of."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import vlcorpus
from pipelines import runs
from pipelines.progress import Reporter
from pipelines.recipe.load import load
from tests.pipelines.building import rows
from tests.pipelines.crawls import environment, ran
from tests.pipelines.phases.test_evaluation import noisy
from tests.pipelines.phases.test_removed import files, made, texts, written
from tests.pipelines.phases.test_score import embedded
from tests.pipelines.raw import add, picture
from tests.pipelines.sources.test_annotations import folder, line, lines
from tests.pipelines.sources.test_annotations import recipe as annotations
from tests.synth.made_pdf import Sheet, pdf, text

Recipe = dict[str, Any]
COUNT = 6
GONE = "secret3"


def said(number: int) -> str:
    return f"A photograph of flowers and a garden, secret{number} of {COUNT}"


def url(number: int) -> str:
    return f"https://example.org/secret{number}.jpg"


def image(number: int) -> bytes:
    """The image of a row; that of the last is none, so that it is in quarantine."""
    return picture(number) if number < COUNT else b"\xff\xd8 cut short"


def web(**source: Any) -> Recipe:
    return {"sources": [{"id": "web", **source}], "max_quarantine": 0.5}


def parquet(place: Path) -> Recipe:
    table = [
        {"image": image(n), "caption": said(n), "url": url(n), "title": said(n)} for n in range(COUNT + 1)
    ]
    pq.write_table(pa.Table.from_pylist(table), place / "a.parquet")
    return web(path=str(place), columns={"extra": ["title"]})


def quarantined(place: Path) -> Recipe:
    """The row that goes has a broken image."""
    table = [
        {"image": image(COUNT if n == 3 else n), "caption": said(n), "url": url(n)} for n in range(COUNT)
    ]
    pq.write_table(pa.Table.from_pylist(table), place / "a.parquet")
    return web(path=str(place))


def images_in_a_folder(place: Path) -> Recipe:
    records = []
    for number in range(COUNT):
        (place / f"{number}.jpg").write_bytes(image(number))
        records.append(json.dumps({"file": f"{number}.jpg", "caption": said(number), "url": url(number)}))
    (place / "data.jsonl").write_text("\n".join(records))
    return web(path=str(place))


def words(place: Path) -> Recipe:
    lines(place / "a.jsonl", [{"text": said(n), "url": url(n)} for n in range(COUNT)])
    return web(path=str(place / "a.jsonl"), kind="text")


def several(place: Path) -> Recipe:
    with tarfile.open(place / "a.tar", "w") as tar:
        for number in range(COUNT):
            for part in range(2):
                add(tar, f"{number}.{part}.jpg", picture(10 * number + part))
            add(tar, f"{number}.txt", said(number).encode())
            add(tar, f"{number}.json", json.dumps({"url": url(number)}).encode())
    return web(path=str(place), several="interleaved", columns={"url": ["url"]})


def grounding(place: Path) -> Recipe:
    told = [line(n) | {"caption": f"a dog by two cats, secret{n}"} for n in range(COUNT)]
    return annotations(lines(place / "a.jsonl", told), folder(place / "images", COUNT))


def talks(place: Path) -> Recipe:
    """Dialogues in parts of a document, joined two by two."""
    told = [
        {
            "id": n,
            "image": f"{n}.jpg",
            "conversations": [
                {"from": "human", "value": f"<image>\nWhat is secret{n}?"},
                {"from": "gpt", "value": f"It is secret{n}."},
            ],
        }
        for n in range(COUNT)
    ]
    (place / "a.json").write_text(json.dumps(told))
    source = {"chat": {"join": 2}}
    return annotations(place / "a.json", folder(place / "images", COUNT), "conversations", source=source)


def questions(place: Path) -> Recipe:
    """Two files, joined with each other, in parts."""
    asked = [{"question_id": n, "image_id": n, "question": f"what is secret{n}?"} for n in range(COUNT)]
    answers = [
        {"question_id": n, "answers": [{"answer": f"secret{n}", "answer_confidence": "yes"}] * 3}
        for n in range(COUNT)
    ]
    (place / "q.json").write_text(json.dumps({"questions": asked}))
    (place / "a.json").write_text(json.dumps({"annotations": answers}))
    images = place / "images"
    images.mkdir()
    for number in range(COUNT):
        (images / f"COCO_train2014_{number:012d}.jpg").write_bytes(picture(number))
    paths = {"questions": str(place / "q.json"), "annotations": str(place / "a.json")}
    source = {"id": "vqa", "kind": "annotations", "format": "vqav2", "files": paths, "images": str(images)}
    return {"sources": [source], "max_quarantine": 1}


def refused(place: Path) -> Recipe:
    """The record that goes has no image, and says so with its name."""
    told = [line(n) | {"caption": f"a dog by two cats, secret{n}"} for n in range(COUNT)]
    told[3] |= {"image": "secret3.jpg"}
    return annotations(lines(place / "a.jsonl", told), folder(place / "images", COUNT))


def documents(place: Path) -> Recipe:
    (place / "images").mkdir()
    records = []
    for number in range(COUNT):
        (place / "images" / f"{number}.png").write_bytes(noisy(number))
        shown = [{"image_name": f"{number}.png", "matched_text_index": 0}]
        records.append(json.dumps({"text_list": [said(number)], "image_info": shown}))
    (place / "docs.jsonl").write_text("\n".join(records))
    source = {"format": "mmc4", "path": str(place / "docs.jsonl"), "images": str(place / "images")}
    return {"sources": [{"id": "docs", "kind": "annotations", **source}]}


def sheet(number: int) -> Sheet:
    """A page that looks like no other, with a line of text."""
    drawn = np.random.default_rng(number).integers(0, 100, (30, 4))
    blocks = "".join(f"{g / 100} g {3 * x} {2 * y} {w} 40 re f\n" for x, y, w, g in drawn.tolist())
    return Sheet(f"{blocks} 0 g {text(f'secret{number} is on this page', 20, 120)}")


def pages(place: Path) -> Recipe:
    pytest.importorskip("pypdfium2")
    (place / "paper.pdf").write_bytes(pdf([sheet(number) for number in range(COUNT)]))
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(place), "render": {}}
    return {"sources": [source | {"rules": {"min_side": False}}]}


KINDS = (
    parquet, quarantined, images_in_a_folder, words, several, grounding, talks, questions, refused, documents, pages,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def parts() -> Iterator[None]:
    """Annotation files are read in parts of a few records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sources.annotations.BYTES_A_PART", 600)
        yield


@dataclass(frozen=True)
class Case:
    """A recipe, its corpus, a list with the key of the row that goes, and the corpora with the list: built with it, and
    given it later."""

    recipe: Recipe
    plain: Path
    gone: Path
    first: Path
    later: Path


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Recipe]], Case]:
    """Returns the case of a kind of source, made once."""

    @cache
    def case(kind: Callable[[Path], Recipe]) -> Case:
        top = tmp_path_factory.mktemp(kind.__name__)
        (top / "raw").mkdir()
        recipe = kind(top / "raw")
        plain = made(recipe, top / "plain")
        gone = listed(plain, top)
        later = made(recipe, shutil.copytree(plain, top / "later"), gone)
        return Case(recipe, plain, gone, made(recipe, top / "first", gone), later)

    return case


def listed(plain: Path, place: Path) -> Path:
    """A list with the key of the row that goes."""
    members = {row["member"] for row in rows(plain, "signals") if GONE in str(row)}
    if (plain / "work" / "drafts").is_dir():
        members |= {row["member"] for row in rows(plain, "drafts") if GONE in row["sample"]}
    (key,) = (row["key"] for row in rows(plain, "signals") if row["member"] in members)
    return written(place / "list.txt", "key", [key])


def places(out: Path, word: str = GONE) -> set[str]:
    """The files that hold a word, decoded where they are Parquet."""
    return {name for name, found in texts(out) if word in found}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_text_of_a_removed_row_stays(
    kind: Callable[[Path], Recipe], case_of: Callable[..., Case], tmp_path: Path
) -> None:
    """Nor does an address; the corpus is that of a build with the list, and the next run has nothing to do."""
    case = case_of(kind)
    assert places(case.plain)
    assert places(case.later) == set()
    assert places(case.later, "secret1")
    assert files(case.later) == files(case.first)
    again = made(case.recipe, shutil.copytree(case.later, tmp_path / "again"))
    assert ran(again)["measure"] == ran(again)["select"] == ran(again)["shard"] == 0
    assert files(again) == files(case.first)


def test_the_image_of_a_removed_page_goes_too(case_of: Callable[..., Case]) -> None:
    """A rendered page shows its text, so its bytes go; those of other pages stay where they are."""
    case = case_of(pages)
    (path,) = (case.plain / "work" / "rendered").rglob("*.tar")
    with tarfile.open(path) as tar:
        images = [tar.extractfile(one).read() for one in tar if one.name.endswith(".jpg")]  # type: ignore[union-attr]
    whole = [data for name, data in files(case.later).items() if not name.endswith(".parquet")]
    found = [any(image in data for data in whole) for image in images]
    assert found == [number != 3 for number in range(COUNT)]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (parquet, "measure"), (parquet, "there and back"),
        (pages, "measure"), (pages, "render"), (pages, "settings"), (pages, "there and back"),
        (talks, "measure"), (talks, "split"), (talks, "settings"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)  # fmt: skip
def test_what_is_made_again_is_blanked_again(
    kind: Callable[[Path], Recipe], change: str, case_of: Callable[..., Case], tmp_path: Path
) -> None:
    """Whatever makes a phase write texts once more, the corpus is that of a fresh build with the list, without them."""
    case = case_of(kind)
    out = shutil.copytree(case.later, tmp_path / "out")
    recipe, wanted = case.recipe, case.first
    other = recipe | {"read": {"images": 63}}
    if change == "settings":
        recipe, wanted = other, made(other, tmp_path / "fresh", case.gone)
    elif change == "there and back":
        measured(other, out)
    else:
        shutil.rmtree(out / "work" / "receipts" / change)
    made(recipe, out)
    assert places(out) == set()
    assert files(out) == files(wanted)


def measured(recipe: Recipe, out: Path) -> None:
    """Runs a recipe up to phase measure, as a run that was interrupted does."""
    runs.run(load(recipe, {"out": str(out)}), "measure", runs.Options("inline"), Reporter())


def test_the_removal_of_a_page_that_is_killed(case_of: Callable[..., Case], tmp_path: Path) -> None:
    """Killed at every file that it writes, and run again each time, it gives the bytes of a build with the list."""
    case = case_of(pages)
    out = shutil.copytree(case.plain, tmp_path / "out")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(case.recipe))
    options = ["--keys", str(case.gone), "--engine", "inline"]
    words = [sys.executable, "-m", "tests.killed", "remove", str(out), str(file), *options]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 5
    assert files(out) == files(case.first)


def test_vectors_of_captions_go(tmp_path: Path) -> None:
    """Of a removed row the score stays, since shares of scores count it, and its vectors go."""
    recipe = embedded(tmp_path, embeddings=True, allow_embedded=True)
    plain = made(recipe, tmp_path / "plain")
    (first, *_) = rows(plain, "scores")
    gone = written(tmp_path / "list.txt", "key", [first["key"]])
    out = made(recipe, shutil.copytree(plain, tmp_path / "out"), gone)
    found = {row["key"]: row for row in rows(out, "scores")}
    assert found[first["key"]]["clip_score"] == first["clip_score"]
    without = [key for key, row in found.items() if row["text_embedding"] is None]
    assert without == [key for key, row in found.items() if row["image_embedding"] is None] == [first["key"]]
    assert vlcorpus.Corpus.open(out).verify() == []
