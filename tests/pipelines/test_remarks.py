"""What a run says of rows that it lost: why it stopped, which file differs, which source kept nothing."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from pipelines.progress import Lines
from pipelines.recipe.model import Recipe
from pipelines.remarks import HUB_A_FOLDER, HUB_BYTES, HUB_FILES, beyond_hub
from pipelines.runs import Options, run
from schemas.errors import InputError
from tests.pipelines.building import build

RULES = {"languages": [], "rules": {"caption_length": False, "min_side": False, "language": False}}


def image(number: int) -> bytes:
    """A PNG of its own."""
    made = Image.new("RGB", (240, 240), "white")
    ImageDraw.Draw(made).rectangle(
        (10 * number, 20, 60 + 15 * number, 90 + 20 * number), fill=(number * 30, 90, 9)
    )
    out = io.BytesIO()
    made.save(out, "PNG")
    return out.getvalue()


def recipe(*sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"sources": list(sources), **RULES, **more}


def folder(root: Path, captions: list[Any]) -> str:
    """Images with a JSONL of captions."""
    root.mkdir()
    for number in range(len(captions)):
        (root / f"{number}.png").write_bytes(image(number))
    lines = [json.dumps({"file": f"{n}.png", "caption": caption}) for n, caption in enumerate(captions)]
    (root / "a.jsonl").write_text("\n".join(lines) + "\n")
    return str(root)


def test_a_stop_names_the_commonest_messages(tmp_path: Path) -> None:
    """Messages that differ in names and numbers alone are counted together, with one row as an example."""
    path = folder(tmp_path / "in", [["a list"], ["of captions"], {"no": "text"}, "a cat", "a dog", ["x"]])
    with pytest.raises(InputError) as caught:
        build(recipe({"id": "web", "path": path}), tmp_path / "out")
    text = str(caught.value)
    assert "4 of 6 rows (66.7%) are quarantined" in text
    assert "3 × bad_row: a caption of type list, not text; write a record a caption (as in a/0)" in text
    assert "1 × bad_row: a caption of type dict, not text (as in a/2)" in text


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_captions_in_another_column_stop(tmp_path: Path, form: str) -> None:
    """Files of one source with different caption columns: the sentence names both files and their columns."""
    for place, column in enumerate(("caption", "alt_text")):
        (tmp_path / f"{place}.png").write_bytes(image(place))
        path = tmp_path / f"{'ab'[place]}.{form}"
        if form == "parquet":
            pq.write_table(
                pa.table({"image": pa.array([image(place)], pa.binary()), column: ["a cat"]}), path
            )
        elif form == "csv":
            path.write_text(f"file,{column}\n{place}.png,a cat\n")
        else:
            path.write_text(json.dumps({"file": f"{place}.png", column: "a cat"}) + "\n")
    source = {"id": "web", "path": [str(tmp_path / f"*.{form}")]}
    with pytest.raises(
        InputError, match=rf"b\.{form} has the columns .*alt_text, but .*a\.{form} has the caption in"
    ):
        build(recipe(source), tmp_path / "out")
    both = {**source, "columns": {"caption": ["caption", "alt_text"]}}
    results, _ = build(recipe(both), tmp_path / "out")
    assert sum(receipt["captions"] for receipt in results["measure"].values()) == 2


def test_a_column_of_nulls_is_no_other_column(tmp_path: Path) -> None:
    """A file whose captions are all null has its column: its rows are `no_caption`, and nothing stops."""
    for name, caption in (("a", "a cat"), ("b", None)):
        table = {"image": pa.array([image(3)], pa.binary()), "caption": [caption]}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    results, _ = build(recipe({"id": "web", "path": str(tmp_path)}), tmp_path / "out", "select")
    assert [receipt["reasons"] for receipt in results["select"].values()] == [{}, {"no_caption": 1}]


def test_a_source_without_captions_names_its_columns(tmp_path: Path) -> None:
    """The sentence lists what the file has, so that the right column can be named."""
    table = {"image": pa.array([image(3)], pa.binary()), "alt_text": ["a cat"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"has a caption \(.*a\.parquet has image, alt_text\); name"):
        build(recipe({"id": "web", "path": str(tmp_path)}), tmp_path / "out")


@pytest.mark.parametrize("others", [True, False])
def test_a_source_that_keeps_nothing_is_the_last_line(tmp_path: Path, others: bool) -> None:
    """The last line warns and says why; the run fails only where no other source keeps a row."""
    bad = {"id": "bad", "path": folder(tmp_path / "bad", ["", None, ["x"]]), "max_quarantine": 1}
    good = {"id": "good", "path": folder(tmp_path / "good", ["a cat", "a dog"])}
    wanted = Recipe.model_validate(recipe(bad, *([good] if others else []), out=str(tmp_path / "out")))
    out = io.StringIO()
    expected = (
        "source bad: none of its 3 rows is kept (2 dropped by no_caption; quarantined: 1 × bad_row: a caption"
    )
    if others:
        for as_json in (False, True):
            run(wanted, "card", Options(engine="inline"), Lines(out, as_json))
            last = out.getvalue().splitlines()[-1]
            assert (json.loads(last)["text"] if as_json else last).startswith(f"warning: {expected}")
    else:
        with pytest.raises(InputError) as caught:
            run(wanted, "card", Options(engine="inline"), Lines(out))
        assert f"the corpus is empty: {expected}" in str(caught.value)
    assert (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("others", [True, False])
def test_a_source_without_a_sample_of_the_tasks_is_said(tmp_path: Path, others: bool) -> None:
    """Rows are kept, but no sample is of the recipe's tasks: a warning, and an error where that is all there is."""
    pairs = {"id": "pairs", "path": folder(tmp_path / "pairs", ["a cat", "a dog"])}
    (tmp_path / "words.jsonl").write_text('{"text": "A long line of text, and of nothing else."}\n')
    words = {"id": "words", "kind": "text", "path": str(tmp_path / "words.jsonl")}
    sources = [pairs, *([words] if others else [])]
    wanted = Recipe.model_validate(recipe(*sources, out=str(tmp_path / "out"), tasks=["text"]))
    out = io.StringIO()
    expected = "source pairs: no sample of its 2 kept rows is of a task that the recipe lists (tasks: text)"
    if others:
        run(wanted, "card", Options(engine="inline"), Lines(out))
        assert out.getvalue().splitlines()[-1] == f"warning: {expected}"
    else:
        with pytest.raises(InputError) as caught:
            run(wanted, "card", Options(engine="inline"), Lines(out))
        assert str(caught.value) == f"the corpus has no sample: {expected}"


def file(name: str, size: int = 1) -> dict[str, Any]:
    return {"name": name, "size": size}


def test_limits_of_the_hub() -> None:
    """Too many files in a folder or in all, and a file that is too large, are said with the remedy."""
    one = [file(f"shards/train/caption/web/{number}.tar") for number in range(HUB_A_FOLDER)]
    assert list(beyond_hub(one, 1000)) == []
    (said,) = beyond_hub([*one, file("shards/train/caption/web/x.tar")], 1000)
    assert said.startswith("shards/train/caption/web has 10,001 files")
    assert said.endswith("raise shards.samples (1,000 now) to 1,201 or more")
    many = [file(f"shards/train/caption/{number % 20}/{number}.tar") for number in range(HUB_FILES + 1)]
    (said,) = beyond_hub(many, 50)
    assert "the corpus has 100,001 files" in said
    (said,) = beyond_hub([file("a.tar"), file("b.tar", HUB_BYTES + 1)], 100_000)
    assert "b.tar has 20.0 GB" in said
    assert "lower shards.samples (100,000 now)" in said
    assert list(beyond_hub([], 1)) == []
