"""Rows that a list removes: first of all reasons, nothing else moves, and their texts are nowhere in the corpus."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import vlcorpus
from pipelines.engines.inline import InlineEngine
from pipelines.engines.step import Json, Step
from schemas.errors import InputError
from tests.pipelines.building import rows
from tests.pipelines.crawls import environment, litter, run_inline
from tests.pipelines.phases.test_evaluation import documents, noisy
from tests.pipelines.phases.test_ground import pairs
from tests.pipelines.phases.test_ground import recipe as grounding
from tests.pipelines.raw import add, picture
from tests.pipelines.sources.test_annotations import folder, line, lines
from tests.pipelines.sources.test_annotations import recipe as annotations

COUNT = 40
TWINS = {25: 3, 36: 4}
"""Rows that show the image of another, as the very bytes or encoded again."""


def caption(number: int) -> str:
    return f"A photograph of {number + 2} flowers in the garden of house secret{number:03d}"


def host(number: int) -> str:
    return f"host{number // 2}.example.org"


def tars(folder: Path) -> Path:
    """Two tars of twenty rows, with addresses, ids and scores of their own."""
    folder.mkdir(parents=True)
    for shard, numbers in enumerate((range(COUNT // 2), range(COUNT // 2, COUNT))):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in numbers:
                facts = {"url": f"https://{host(number)}/secret{number:03d}.jpg", "id": 1000 + number}
                facts |= {"similarity": ((7 * number) % 20) / 40 + 0.1, "title": f"secret{number:03d} title"}
                add(
                    tar,
                    f"{number:03d}.jpg",
                    picture(TWINS.get(number, number), quality=60 if number == 36 else 90),
                )
                add(tar, f"{number:03d}.txt", caption(number).encode())
                add(tar, f"{number:03d}.json", json.dumps(facts).encode())
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    columns = {"caption": ["txt"], "url": ["url"], "extra": ["id", "similarity", "title"]}
    web = {
        "id": "web",
        "path": str(tars(tmp_path_factory.mktemp("raw") / "in")),
        "columns": columns,
        "clip_score": "similarity",
        "rules": {"columns": {"similarity": {"min": 0.15}}, "clip": {"keep": 0.6}},
    }
    return {"sources": [web], "splits": {"val": 0.3}, "shards": {"samples": 4}}


@pytest.fixture(scope="module")
def plain(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus without a list."""
    out = tmp_path_factory.mktemp("plain") / "corpus"
    made(recipe, out)
    return out


def made(recipe: dict[str, Any], out: Path, *lists: Path, **more: Any) -> Path:
    """Builds the corpus inline, once for each list."""
    for removed in lists or (None,):
        settings = {**more, "removed": str(removed)} if removed else more
        vlcorpus.build(recipe, out, "inline", progress=False, **settings)
    assert vlcorpus.Corpus.open(out).verify() == []
    return out


def written(path: Path, column: str, values: list[str]) -> Path:
    path.write_text("\n".join([column, *values]) + "\n")
    return path


def files(out: Path) -> dict[str, bytes]:
    """All that a corpus consists of, but the facts of runs."""
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {
        name: data
        for name, data in found.items()
        if not name.startswith(("work/log/", "work/receipts/", "run.json"))
    }


def texts(out: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of each file, of Parquet all its values."""
    for path in sorted(out.rglob("*")):
        if path.suffix == ".parquet":
            yield path.name, json.dumps(pq.ParquetFile(path).read().to_pylist(), default=repr)
        if path.is_file():
            yield path.name, path.read_bytes().decode("utf-8", "replace")


def numbered(out: Path, wanted: Callable[[dict[str, Any]], bool]) -> set[int]:
    return {int(row["member"].partition(".")[0]) for row in rows(out, "decisions") if wanted(row)}


def removed(out: Path) -> set[int]:
    return numbered(out, lambda row: row["reason"] == "removed")


def value(column: str, number: int, out: Path) -> str:
    """What row `number` has of a list's column, spelled otherwise."""
    signals = {int(row["member"].partition(".")[0]): row for row in rows(out, "signals")}
    row = signals[number]
    found = {
        "key": f"{row['key']}-caption-0",
        "id": str(1000 + number),
        "url": row["url"].replace("https://host", "HTTPS://Host") + "#there",
        "host": host(number).upper(),
        "sha256": row["sha256"],
    }
    return str(found[column])


@pytest.mark.parametrize(
    ("column", "gone"),
    [
        ("key", {3, 25, 8}),
        ("id", {3, 25, 8}),
        ("url", {3, 25, 8}),
        ("host", {2, 3, 25, 8, 9}),
        ("sha256", {3, 25, 8}),
    ],
)
def test_a_list_gives_the_same_bytes_from_the_start_and_later(
    recipe: dict[str, Any], plain: Path, tmp_path: Path, column: str, gone: set[int]
) -> None:
    """Rows go by each column, with those of their image, and the corpus is the one of a build with the list; no text of
    them stays anywhere."""
    listed = written(tmp_path / "list.txt", column, [value(column, number, plain) for number in (3, 8)])
    first = made(recipe, tmp_path / "first", listed)
    later = shutil.copytree(plain, tmp_path / "later")
    made(recipe, later, listed)
    assert removed(first) == gone
    assert files(first) == files(later)
    assert files(first)["manifest.json"] != files(plain)["manifest.json"]
    for name, text in texts(later):
        assert not [number for number in gone if f"secret{number:03d}" in text], name
    assert any(f"secret{number:03d}" in text for _, text in texts(later) for number in (1, 5))


def test_nothing_else_moves(recipe: dict[str, Any], plain: Path, tmp_path: Path) -> None:
    """Shares of scores count removed rows, and no other row gets another decision or split."""
    kept = sorted(numbered(plain, lambda row: row["decision"] == "kept"))
    gone = kept[::4]
    listed = written(tmp_path / "list.txt", "id", [str(1000 + number) for number in gone])
    out = made(recipe, tmp_path / "out", listed)
    before, after = (
        {row["member"]: (row["decision"], row["reason"], row["split"]) for row in rows(one, "decisions")}
        for one in (plain, out)
    )
    changed = {int(member.partition(".")[0]) for member in before if before[member] != after[member]}
    assert changed == removed(out)
    assert set(gone) <= changed
    (funnel,) = vlcorpus.Corpus.open(out).funnel().values()
    assert funnel.rules[0].rule == "removed"
    assert funnel.rules[0].dropped == len(changed)


def test_only_the_listed_rows_go(recipe: dict[str, Any], plain: Path, tmp_path: Path) -> None:
    """With `removed_only_listed` the rows of the same image stay, and the best of them is kept in its stead."""
    listed = written(tmp_path / "list.txt", "id", ["1004", "1003"])
    unscored = json.loads(json.dumps(recipe))
    del unscored["sources"][0]["rules"]["clip"]
    whole = made(unscored, tmp_path / "whole", listed)
    alone = made(unscored, tmp_path / "alone", listed, removed_only_listed=True)
    assert removed(whole) == {3, 4, 25, 36}
    assert removed(alone) == {3, 4}
    kept = numbered(alone, lambda row: row["decision"] == "kept")
    assert {25, 36} <= kept
    said = {row["member"]: row["detail"] for row in rows(whole, "decisions") if row["reason"] == "removed"}
    assert said["003"] == "its id is on the list of removed rows"
    assert said["025"] == "in a cluster (exact) with a row on the list of removed rows"
    assert said["036"] == "in a cluster (phash) with a row on the list of removed rows"


def test_lists_add_up(recipe: dict[str, Any], plain: Path, tmp_path: Path) -> None:
    """Lists given one after the other are the list of them all, by whatever column, blanked rows counted too; a build
    without a list keeps that of the corpus."""
    one = written(tmp_path / "one.txt", "url", [value("url", 3, plain)])
    two = written(tmp_path / "two.txt", "host", [host(3), host(10)])
    out = made(recipe, tmp_path / "out", one, two)
    turned = made(recipe, tmp_path / "turned", two, one)
    assert files(out) == files(turned)
    assert removed(out) == {2, 3, 25, 10, 11}
    made(recipe, out)
    assert files(out) == files(turned)


def test_a_threshold_moves_after_a_removal(recipe: dict[str, Any], plain: Path, tmp_path: Path) -> None:
    """Another threshold over a corpus with blanked rows gives the corpus of a build with both from the start."""
    listed = written(tmp_path / "list.txt", "id", [str(1000 + number) for number in (1, 3, 8, 12)])
    out = made(recipe, tmp_path / "out", listed)
    other = json.loads(json.dumps(recipe))
    other["sources"][0]["rules"] = {"columns": {"similarity": {"min": 0.3}}, "clip": {"keep": 0.5}}
    made(other, out)
    fresh = made(other, tmp_path / "fresh", listed)
    shared = {name for name in files(out) if not name.startswith("work/scores")}
    assert {name: files(out)[name] for name in shared} == {name: files(fresh)[name] for name in shared}


def test_decisions_that_blank_texts_have_no_backup(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second task would read what the first one blanks; without a list nothing is blanked."""
    told: list[bool] = []
    run = InlineEngine.map

    def noting(self: InlineEngine, step: Step, *rest: Any) -> list[Json]:
        told.extend([step.twice] * step.worker.endswith(":Decide"))
        return run(self, step, *rest)

    monkeypatch.setattr(InlineEngine, "map", noting)
    out = made(recipe, tmp_path / "out")
    made(recipe, out, written(tmp_path / "one.txt", "url", [value("url", 3, out)]))
    assert told == [True, False]


def test_a_list_that_is_taken_away(recipe: dict[str, Any], tmp_path: Path) -> None:
    """What is blanked cannot come back: without its list the corpus is refused, with the remedy."""
    listed = written(tmp_path / "list.txt", "id", ["1003"])
    out = made(recipe, tmp_path / "out", listed)
    (out / "removed.parquet").unlink()
    with pytest.raises(
        InputError, match=r"web/0: the texts of 1 rows were removed .* put back its removed.parquet"
    ):
        made(recipe, out)
    made(recipe, out, listed)
    (out / "removed.parquet").unlink()
    made(recipe, out, listed)
    assert removed(out) == {3, 25}


def test_a_dry_run(plain: Path, file: Path, tmp_path: Path) -> None:
    """`select --dry-run` with a list says how many rows would go, and changes nothing."""
    before = files(plain)
    listed = written(tmp_path / "list.txt", "id", ["1003"])
    done = run_inline("select", file, "--out", plain, "--removed", listed, "--dry-run")
    assert re.search(r"dropped: removed\W+2\b", done.stdout)
    assert files(plain) == before


def test_values_that_match_nothing_are_counted(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run says how many rows the list removes and how many of its values match none."""
    listed = written(tmp_path / "list.txt", "id", ["1003", "no such", "nor this"])
    vlcorpus.build(recipe, tmp_path / "out", "inline", removed=str(listed))
    out, errors = capsys.readouterr()
    assert (
        "the list of removed rows has 3 values: rows removed: 2, values that match no row: 2" in out + errors
    )


@pytest.fixture
def file(recipe: dict[str, Any], tmp_path: Path) -> Path:
    """The recipe as a file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def ids(path: Path, *numbers: int) -> Path:
    """A list of ids without a header, as the option that says what they are allows."""
    path.write_text("".join(f"{1000 + number}\n" for number in numbers))
    return path


def command(out: Path, recipe: Path, *options: str | Path) -> str:
    """Runs `vlcorpus remove`, which has to end well; what it says."""
    done = run_inline("remove", out, recipe, *options, "--engine", "inline")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_command(recipe: dict[str, Any], plain: Path, file: Path, tmp_path: Path) -> None:
    """`vlcorpus remove` adds to the list, writes only shards that held a removed row, and says what it did."""
    (kept, *_) = sorted(numbered(plain, lambda row: row["decision"] == "kept") - {3, 4, 25, 36})
    out = shutil.copytree(plain, tmp_path / "out")
    before = outputs(out)
    said = command(out, file, "--ids", ids(tmp_path / "ids", kept, 999))
    assert "2 values: rows removed: 1, values that match no row: 1" in said
    after = outputs(out)
    changed = {
        name for name in before | after if name.startswith("shards/") and before.get(name) != after.get(name)
    }
    assert 0 < len({name.partition(".")[0] for name in changed}) <= 2
    written_anew = len({name.partition(".")[0] for name in changed & after.keys()})
    total = len({name.partition(".")[0] for name in after if name.startswith("shards/")})
    assert f"of {total} shards {written_anew} are written anew" in said
    command(out, file, "--hosts", written(tmp_path / "hosts", "host", [host(3)]), "--only-listed")
    listed = made(recipe, tmp_path / "listed", ids_with_header(tmp_path, kept, 999))
    made(recipe, listed, tmp_path / "hosts", removed_only_listed=True)
    assert files(out) == files(listed)
    assert removed(out) == {kept, 2, 3}


def ids_with_header(folder: Path, *numbers: int) -> Path:
    return written(folder / "with header", "id", [str(1000 + number) for number in numbers])


def outputs(out: Path) -> dict[str, str]:
    """The digest of each file that the manifest names."""
    return {name: one.sha256 for name, one in vlcorpus.Corpus.open(out).manifest.outputs.items()}


def test_a_removal_that_is_killed(recipe: dict[str, Any], plain: Path, file: Path, tmp_path: Path) -> None:
    """Killed at every file that it writes, and run again each time, it gives the bytes of a build with the list."""
    out = shutil.copytree(plain, tmp_path / "out")
    options = ["--ids", str(ids(tmp_path / "ids", 3, 8, 20)), "--engine", "inline"]
    words = [sys.executable, "-m", "tests.killed", "remove", str(out), str(file), *options]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 5
    assert files(out) == files(made(recipe, tmp_path / "first", ids_with_header(tmp_path, 3, 8, 20)))
    assert litter(out) == []


def test_what_the_command_refuses(plain: Path, file: Path, tmp_path: Path) -> None:
    """No list, no corpus, another recipe, a bad list: one sentence each, and the corpus stays as it was."""
    listed = ids(tmp_path / "ids", 3)
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text().replace("val: 0.3", "val: 0.2"))
    before = files(plain)
    for arguments, problem in (
        ((plain, file), "say which rows to remove"),
        ((tmp_path / "none", file, "--ids", listed), "there is no corpus in"),
        ((plain, other, "--ids", listed), "was built by another recipe"),
        ((plain, file, "--ids", listed, "--address", "h:1"), "needs the engine ray"),
        ((plain, file, "--keys", listed), "value 1 is no key"),
    ):
        done = run_inline("remove", *arguments)
        assert done.returncode == 1
        assert problem in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert files(plain) == before


def test_annotations(tmp_path: Path) -> None:
    """All records about an image go by its digest: their samples, drafts and words are nowhere."""
    images = folder(tmp_path / "images", 6)
    told = [line(n % 6) | {"caption": f"a dog by two cats, secret{n:03d}"} for n in range(12)]
    source = annotations(lines(tmp_path / "a.jsonl", told), images)
    plain = made(source, tmp_path / "plain")
    digest = hashlib.sha256((images / "2.jpg").read_bytes()).hexdigest()
    listed = written(tmp_path / "list.txt", "sha256", [digest])
    later = made(source, shutil.copytree(plain, tmp_path / "later"), listed)
    assert files(later) == files(made(source, tmp_path / "first", listed))
    gone = [row["member"] for row in rows(later, "decisions") if row["reason"] == "removed"]
    assert len(gone) == 2
    for name, text in texts(later):
        assert "secret002" not in text, name
        assert "secret008" not in text, name
    before, after = ({row["member"] for row in rows(one, "drafts")} for one in (plain, later))
    assert before - after == set(gone)


@pytest.mark.parametrize(
    ("column", "value", "only", "gone"),
    [
        ("id", "told-2", True, {"2"}),
        ("id", "told-2", False, {"2", "8"}),
        ("url", "https://example.org/2.jpg", True, {"2", "8"}),
    ],
)
def test_annotations_by_id_and_url(
    column: str, value: str, only: bool, gone: set[str], tmp_path: Path
) -> None:
    """A record goes by its id, with the others about its image unless only what is listed goes; all go by its URL."""
    images = folder(tmp_path / "images", 6)
    told = [
        line(n % 6)
        | {
            "caption": f"a dog by two cats, secret{n:03d}",
            "id": f"told-{n}",
            "url": f"https://example.org/{n % 6}.jpg",
        }
        for n in range(12)
    ]
    source = annotations(lines(tmp_path / "a.jsonl", told), images)
    plain = made(source, tmp_path / "plain")
    listed = written(tmp_path / "list.txt", column, [value])
    later = made(source, shutil.copytree(plain, tmp_path / "later"), listed, removed_only_listed=only)
    assert files(later) == files(made(source, tmp_path / "first", listed, removed_only_listed=only))
    assert {row["member"] for row in rows(later, "decisions") if row["reason"] == "removed"} == gone
    kept = {row["member"] for row in rows(plain, "drafts")} - gone
    assert {row["member"] for row in rows(later, "drafts")} == kept
    found = "".join(text for _, text in texts(later))
    assert {n for n in range(12) if f"secret{n:03d}" in found} == {*range(12)} - {int(one) for one in gone}


def test_the_images_of_a_document(tmp_path: Path) -> None:
    """The digest of any image of a document takes the document."""
    docs = documents(tmp_path / "docs", [noisy(1), noisy(2)], [noisy(3), noisy(4)])
    source = {"sources": [{"id": "docs", **docs}]}
    digest = hashlib.sha256(noisy(4)).hexdigest()
    out = made(source, tmp_path / "out", written(tmp_path / "list.txt", "sha256", [digest]))
    assert [row["reason"] for row in rows(out, "decisions")] == [None, "removed"]


def test_what_was_found_of_captions(tmp_path: Path) -> None:
    """Phrases of a removed caption leave work/grounded too, also where another threshold drops its row before."""
    source = grounding(pairs(tmp_path / "in" / "a.tar", range(10)).parent)
    out = made(source, tmp_path / "out")
    assert len(rows(out, "grounded")) == 8
    listed = written(tmp_path / "list.txt", "url", ["https://example.org/3"])
    strict = {**source, "rules": {**source["rules"], "caption_length": {"min_chars": 60}}}
    made(strict, out)
    made(strict, out, listed)
    assert len(rows(out, "grounded")) == 7
    made(source, out)
    assert len(rows(out, "grounded")) == 7
    assert {row["decision"] for row in rows(out, "decisions") if row["reason"] != "removed"} == {"kept"}


@pytest.mark.long
def test_few_files_change(tmp_path: Path) -> None:
    """Of 20,000 samples 20 keys change at most four files a key, and the bytes are those of a build with the list."""
    (tmp_path / "in").mkdir()
    for shard in range(20):
        table = [
            {"image": tiny(1000 * shard + row), "caption": f"number {row} of {shard}"} for row in range(1000)
        ]
        pq.write_table(pa.Table.from_pylist(table), tmp_path / "in" / f"{shard:02d}.parquet")
    off = dict.fromkeys(("min_side", "blank", "caption_length", "phash", "pixels", "exact"), False)
    source = {
        "sources": [{"id": "web", "path": str(tmp_path / "in"), "rules": off}],
        "shards": {"samples": 100},
    }
    out = made(source, tmp_path / "out")
    whole = seconds(out)
    before, fresh = outputs(out), shutil.copytree(out, tmp_path / "fresh")
    keys = sorted(row["key"] for row in rows(out, "decisions"))[::1000]
    listed = written(tmp_path / "list.txt", "key", keys)
    made(source, out, listed)
    after = outputs(out)
    names = {name for name in before | after if name.startswith("shards/")}
    changed = {name for name in names if before.get(name) != after.get(name)}
    print(f"{len(changed)} of {len(names)} files; phases {whole}, with the list {seconds(out)}")
    assert removed_rows(out) == 20
    assert 20 <= len(changed) <= 80
    shutil.rmtree(fresh / "work" / "receipts")
    made(source, fresh, listed)
    assert outputs(fresh) == after


def removed_rows(out: Path) -> int:
    return sum(row["reason"] == "removed" for row in rows(out, "decisions"))


def tiny(number: int) -> bytes:
    """A PNG of its own of 24 x 24 pixels."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def seconds(out: Path) -> dict[str, float]:
    """The seconds of each phase of the newest run."""
    log = max((out / "work" / "log").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    events = [json.loads(text) for text in log.read_text().splitlines()]
    return {event["phase"]: round(event["seconds"], 1) for event in events if event["event"] == "end"}
