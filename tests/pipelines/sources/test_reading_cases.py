"""What users of such tools reported, made anew: each case as a whole build."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError
from tests.pipelines.building import build, rows


@pytest.fixture(scope="session")
def cases(test_data: Path) -> Path:
    """The folder of cases."""
    folder = test_data / "cases"
    if not folder.is_dir():
        pytest.skip("there are no cases in the test data")
    return folder


def made(path: Path, out: Path, **source: Any) -> list[dict[str, Any]]:
    """The decisions of a build of one source, however many rows are quarantined."""
    source = {"id": "web", "path": str(path), **source}
    build({"sources": [source], "languages": ["en"], "max_quarantine": 1}, out)
    return rows(out, "decisions")


@pytest.mark.parametrize(
    ("case", "kept", "reasons"),
    [
        ("tsvquote", 8, []),
        ("csvlong", 4, []),
        ("stray2", 8, []),
        ("nan", 22, ["no_caption", "no_caption"]),
        ("plist", 6, ["exact"] * 6),
        ("pathonly", 0, ["no_image"] * 6),
        ("listcap", 0, ["bad_row"] * 4),
    ],
)
def test_every_row_is_a_row(cases: Path, tmp_path: Path, case: str, kept: int, reasons: list[str]) -> None:
    """Odd tables, lists of captions and stray files: every record is kept, or lost with its reason."""
    found = made(cases / case, tmp_path / "out")
    assert sum(row["decision"] == "kept" for row in found) == kept
    assert [row["reason"] for row in found if row["decision"] != "kept"] == reasons


def test_all_captions_of_an_image_are_kept_on_request(cases: Path, tmp_path: Path) -> None:
    """`captions: all` keeps each caption of a list."""
    recipe = {
        "sources": [{"id": "web", "path": str(cases / "plist")}],
        "languages": ["en"],
        "captions": "all",
    }
    build(recipe, tmp_path / "out")
    assert [row["decision"] for row in rows(tmp_path / "out", "decisions")] == ["kept"] * 12


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "pdrift",
            r"b\.parquet has the columns image, alt_text, but .*a\.parquet has the caption in caption",
        ),
        ("listcap", "4 × bad_row: a caption of type list, not text; write a record a caption"),
        ("pathonly", "6 × no_image: the row has an image's path and not its bytes; store the images' bytes"),
    ],
)
def test_a_stop_says_why(cases: Path, tmp_path: Path, case: str, words: str) -> None:
    """The sentence names the commonest message, or the files that differ."""
    with pytest.raises(InputError, match=words):
        build({"sources": [{"id": "web", "path": str(cases / case)}], "languages": ["en"]}, tmp_path / "out")


@pytest.mark.parametrize(("several", "tasks"), [("drop", []), ("interleaved", ["interleaved"] * 3)])
def test_records_of_two_images_are_kept_whole_or_named(
    cases: Path, tmp_path: Path, several: str, tasks: list[str]
) -> None:
    """Six images in three records: each record is a sample with both, or has the reason several_images."""
    found = made(cases / "multi", tmp_path / "out", several=several)
    assert {row["reason"] for row in found} == ({None} if tasks else {"several_images"})
    samples = rows(tmp_path / "out", "samples") if tasks else []
    assert [row["group"] for row in samples] == tasks
    assert [len(row["places"]) for row in samples] == [2] * len(tasks)


def test_extra_columns_of_every_type_are_carried(cases: Path, tmp_path: Path) -> None:
    """A decimal is a number, a date a text, a list a list."""
    names = ["width", "height", "similarity", "date", "tags", "pwatermark", "nsfw"]
    made(cases / "plarge" / "a.parquet", tmp_path / "out", columns={"extra": names})
    assert '"date": "2020-01-01"' in rows(tmp_path / "out", "signals")[0]["extra"]
    assert '"similarity": 0.31, "tags": ["a"]' in rows(tmp_path / "out", "signals")[0]["extra"]


@pytest.mark.parametrize(("case", "kind"), [("csvdir", "text"), ("strdir", "both")])
def test_scores_are_carried_as_they_are_written(cases: Path, tmp_path: Path, case: str, kind: str) -> None:
    """Scores in a CSV, or in text, stand in `extra`; none becomes null."""
    made(cases / "keep" / case, tmp_path / "out", columns={"extra": ["similarity"]})
    extra = [row["extra"] for row in rows(tmp_path / "out", "signals")]
    assert extra[1] == '{"similarity": "0.12"}'
    assert extra[0] == ('{"similarity": "0.1"}' if kind == "text" else '{"similarity": 0.1}')
    assert len(extra) == 20
