"""`verify` finds an image that stands in `eval` and in another split, by pairs, over indexes and over `work/`."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlcorpus
from pipelines.audit.held_out import IMAGES, Side, compared
from pipelines.audit.verify import verify
from tests.pipelines.building import build
from tests.pipelines.crawls import run_inline
from tests.pipelines.phases.test_evaluation import documents, noisy, pairs, sources_of

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, annotations, documents as Parquet shards, and an evaluation set of pairs."""
    folder = tmp_path_factory.mktemp("held out")
    made = sources_of(folder)
    docs = {"id": "docs", **documents(folder / "docs", [noisy(30), noisy(31)])}
    build({"languages": ["en", "zh"], "sources": [*made.values(), docs]}, folder / "out")
    assert vlcorpus.Corpus.open(folder / "out").verify() == []
    return folder / "out"


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "out")


def table(out: Path, pattern: str) -> tuple[Path, pa.Table]:
    path = next(out.glob(pattern))
    return path, pq.ParquetFile(path).read()


def plant(out: Path, pattern: str, change: Change, number: int = 0) -> str:
    """Changes one row of a Parquet file, mends its digest in the manifest, and returns its key."""
    path, found = table(out, pattern)
    rows = found.to_pylist()
    change(rows[number])
    pq.write_table(pa.Table.from_pylist(rows, found.schema), path)
    name = path.relative_to(out).as_posix()
    manifest = json.loads((out / "manifest.json").read_bytes())
    if name in manifest["outputs"]:
        data = path.read_bytes()
        manifest["outputs"][name].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        (out / "manifest.json").write_text(json.dumps(manifest))
    return str(rows[number]["key"])


def differences(out: Path) -> list[str]:
    """Returns what verify says of images that stand on both sides, not what it says of the manifest mended here."""
    return [one for one in verify(str(out)) if one.endswith("which is in eval")]


def same(name: str, value: object, number: int = 0) -> Change:
    """Gives an image of a sample another value, whichever form its shard has."""

    def change(row: dict[str, Any]) -> None:
        row["pictures" if "pictures" in row else "images"][number][name] = value

    return change


TRAIN = "shards/train/*/web/*.parquet"
DOCS = "shards/train/*/docs/*.parquet"
EVAL = "shards/eval/*/bench/*.parquet"


@pytest.mark.parametrize("work", [True, False])
@pytest.mark.parametrize(
    ("pattern", "name", "number"),
    [(TRAIN, "sha256", 0), (TRAIN, "original_sha256", 0), (DOCS, "sha256", 1)],
)
def test_equal_bytes_in_an_index(out: Path, pattern: str, name: str, number: int, work: bool) -> None:
    """An index whose image has the digest of an evaluation image is found, with both samples named."""
    if not work:
        shutil.rmtree(out / "work")
    path, held = table(out, EVAL)
    digest = held["images"][2].as_py()[0][name]
    key = plant(out, pattern, same(name, digest, number))
    (problem,) = differences(out)
    twin = f"{path.relative_to(out).as_posix()}: {held['key'][2].as_py()}"
    assert problem.endswith(f": {key} is in train and has the bytes of {twin}, which is in eval")


def test_near_hashes_in_an_index(out: Path) -> None:
    """A perceptual hash within the distance is found in an index, with the bits between; one beyond it is not."""
    _, held = table(out, EVAL)
    number = held["phash"][1].as_py()
    plant(out, TRAIN, lambda row: row.update(phash=number ^ 0b10111))
    (problem,) = differences(out)
    assert f"is in train and is 4 bits from {EVAL.partition('*')[0]}" in problem
    plant(out, TRAIN, lambda row: row.update(phash=number ^ 0b11111))
    assert differences(out) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [("sha256", "has the bytes of"), ("pixels", "has the pixels of"), ("phash", "is 1 bits from")],
)
def test_what_is_measured_of_a_row(out: Path, name: str, says: str) -> None:
    """Signals that show an evaluation image are found whatever the indexes say."""
    _, held = table(out, "work/signals/bench/*.parquet")
    value = held[name][0].as_py()
    path, decided = table(out, "work/decisions/coco/*.parquet")
    kept = decided["decision"].to_pylist().index("kept")
    shown = value ^ 1 if name == "phash" else value
    plant(out, "work/signals/coco/*.parquet", lambda row: row.update({name: shown}), kept)
    (problem,) = differences(out)
    place = f"coco/{path.stem}/{decided['member'][kept].as_py()}"
    assert problem.startswith(f"{place} is in train and {says} bench/")


def test_what_is_not_checked_without_work(out: Path, tmp_path: Path) -> None:
    """Without work/ the command says what it could not compare; with it, it says no such thing."""
    corpus = vlcorpus.Corpus.open(out)
    assert corpus.unchecked() == []
    shutil.rmtree(out / "work")
    assert [sentence.partition(":")[0] for sentence in corpus.unchecked()] == [
        "the decisions on its rows were not counted again",
        "images of eval were compared with those of other splits by SHA-256 and by the perceptual hash of each "
        "sample's first image, as the indexes give them, not by their pixels",
    ]
    done = run_inline("verify", out)
    assert done.returncode == 0
    assert "not checked: images of eval were compared" in done.stdout


def test_many_are_counted(tmp_path: Path) -> None:
    """Ten pairs are named, the others counted."""
    said = "A photograph of {} flowers, number {}"
    train = [noisy(number) for number in range(20, 34)]
    sources = [
        {"id": "web", "path": pairs(tmp_path / "web", train, said)},
        {"id": "bench", "role": "eval", "path": pairs(tmp_path / "bench", [noisy(0)], said)},
    ]
    build({"sources": sources, "splits": {"val": 0}}, tmp_path / "out")
    _, held = table(tmp_path / "out", EVAL)
    digest = held["images"][0].as_py()[0]["sha256"]
    path, found = table(tmp_path / "out", TRAIN)
    rows = found.to_pylist()
    for row in rows:
        row["images"][0]["sha256"] = digest
    pq.write_table(pa.Table.from_pylist(rows, found.schema), path)
    problems = vlcorpus.Corpus.open(tmp_path / "out").verify()
    named = [problem for problem in problems if "which is in eval" in problem]
    assert len(named) == 10
    assert "4 further samples show images of evaluation samples" in problems


DIGESTS = st.none() | st.integers(0, 6).map(str)
HASHES = st.none() | st.lists(st.integers(0, 63), max_size=6).map(lambda bits: sum(1 << b for b in set(bits)))
IMAGE = st.fixed_dictionaries(
    {"sha256": DIGESTS, "original_sha256": DIGESTS, "pixels": DIGESTS, "phash": HASHES}
)


@settings(deadline=None)
@given(st.lists(IMAGE, max_size=9), st.lists(IMAGE, max_size=9), st.integers(0, 6))
def test_all_pairs_are_compared(
    held: list[dict[str, Any]], others: list[dict[str, Any]], distance: int
) -> None:
    """What is found is what a comparison of all with all finds."""

    def images(side: Side) -> Iterator[pa.Table]:
        for number, row in enumerate(held if side == "eval" else others):
            place = {"place": f"{side}{number}", "split": "eval" if side == "eval" else "val"}
            yield pa.Table.from_pylist([row | place], IMAGES)

    def shows(one: dict[str, Any], other: dict[str, Any]) -> bool:
        files = [{row[name] for name in ("sha256", "original_sha256")} - {None} for row in (one, other)]
        near = (
            None not in (one["phash"], other["phash"])
            and (one["phash"] ^ other["phash"]).bit_count() <= distance
        )
        return bool(files[0] & files[1]) or near or one["pixels"] == other["pixels"] is not None

    wanted = {f"other{number}" for number, one in enumerate(others) if any(shows(one, two) for two in held)}
    found = {sentence.split()[0] for sentence in compared(images, distance, "rows")}
    assert found == wanted
