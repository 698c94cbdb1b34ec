"""The text of a recipe: whatever the data is called, it stays a value or a comment."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from filters.table import RuleSettings
from pipelines.init.recipe import recipe, scalar, shown
from pipelines.init.survey import survey
from pipelines.recipe.parse import parse
from tests.pipelines.raw import caption, picture

HOSTILE = [
    "a: b",
    "- x",
    "# no comment",
    "\n    evil: true",
    "\r\n- id: evil",
    "*alias",
    "&anchor !!python/object:os.system",
    "{a: 1}",
    "[",
    '"quoted"',
    "it's",
    "no",
    "on",
    "1e3",
    "null",
    "~",
    "%TAG",
    "\x1b[31mred\x07",
    "\u2028\u0085\u202e",
    "\ufeff",
    "",
    " ",
    "---",
    "...",
    "图片 说明",
    "x" * 300,
]


@given(st.text())
@example("\udc80")
def test_a_scalar_is_itself(text: str) -> None:
    """Any text, alone or in a list, stands on one line and is read back as itself."""
    for value in (text, [text, text]):
        line = scalar(value)
        assert line.isprintable()
        assert yaml.safe_load(f"key: {line}  # {shown(text)}") == {"key": value}


@given(st.text())
def test_a_comment_is_one_line(text: str) -> None:
    """Any text in a comment is short, prints, and leaves what stands around it alone."""
    assert shown(text).isprintable()
    assert len(shown(text)) <= 61
    assert yaml.safe_load(f"a: 1\n# {shown(text)}\nb: 2") == {"a": 1, "b": 2}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_columns(tmp_path: Path, name: str) -> None:
    """A column with such a name and such values is listed, named where it is guessed, and breaks nothing."""
    column = f"caption {name}"
    rows = [{"image": picture(0), column: f"{caption(0)} {name}", name: name}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    text = recipe(survey([str(tmp_path)]))
    assert all(line.isprintable() for line in text.split("\n"))
    [source] = parse(text, "recipe.yaml").sources
    assert (source.kind, source.columns.caption) == ("parquet", (column,))


def test_hostile_paths(tmp_path: Path) -> None:
    """A folder with such a name is read from there, under an id that is safe."""
    folder = tmp_path / "it's a\n- id: evil # 图"
    folder.mkdir()
    (folder / "a.txt").write_text(f"{caption(0)}\n")
    [source] = parse(recipe(survey([str(folder)])), "recipe.yaml").sources
    assert source.path == (str(folder),)
    assert source.id == "it-s-a-id-evil"


def test_the_defaults_are_the_defaults(tmp_path: Path) -> None:
    """What stands in comments at the end is a part of a recipe, and changes nothing where it is uncommented."""
    (tmp_path / "a.txt").write_text(f"{caption(0)}\n")
    text = recipe(survey([str(tmp_path)]))
    head, tail = text.split("# The defaults of what follows", 1)
    uncommented = head + re.sub(r"^# ", "", tail.partition("\n")[2], flags=re.M)
    plain, full = parse(text, "recipe.yaml"), parse(uncommented, "recipe.yaml")
    assert full.model_fields_set > plain.model_fields_set
    assert full.digest() == plain.digest()
    assert full.rules.model_fields_set == set(RuleSettings.model_fields)
