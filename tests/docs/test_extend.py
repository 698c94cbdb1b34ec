"""docs/extend.md: everything on the page is added to a copy of the source, and works there."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.filters.pictures import encoded, noise

HOUSE = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"<!-- (new|after|before|replace) (\S+?)(?:: (.*?))? -->\n```\w+\n(.*?)```", re.S)


def added(folder: Path) -> Path:
    """A copy of the source with everything on the page; the number of files and of lines in tables is the page's."""
    for room in ("filters", "model", "pipelines", "recipes", "schemas", "synth"):
        shutil.copytree(HOUSE / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "vlcorpus.py", folder)
    for how, name, anchor, text in BLOCK.findall((HOUSE / "docs" / "extend.md").read_text()):
        path = folder / name
        if how == "new":
            assert not path.exists(), name
            path.write_text(text)
            continue
        lines = path.read_text().splitlines(keepends=True)
        (at,) = [number for number, line in enumerate(lines) if anchor.rstrip() in line][:1] or [None]
        assert at is not None, f"{name} has no line with {anchor}"
        if how == "replace":
            lines[at] = lines[at].replace(anchor, text.strip())
        else:
            lines.insert(at + (how == "after"), text)
        path.write_text("".join(lines))
    return folder


def run(house: Path, *words: str) -> str:
    """What a program of the copy prints."""
    env = {**os.environ, "PYTHONPATH": str(house)}
    done = subprocess.run([sys.executable, *words], cwd=house, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy."""
    return added(tmp_path_factory.mktemp("house"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with a source of each new sort; two of the pairs are dropped by the new rules."""
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    connection.execute("CREATE TABLE pairs (name, caption, image)")
    sides = [(240, 260), (240, 260), (240, 520)]
    images = [encoded(noise(*size, seed=number), "PNG") for number, size in enumerate(sides)]
    images.append(encoded(noise(240, 260, seed=9).point(lambda grey: grey // 8), "PNG"))
    rows = [
        (f"row{number}", f"A photo of beach number {number}", image) for number, image in enumerate(images)
    ]
    with connection:
        connection.executemany("INSERT INTO pairs VALUES (?, ?, ?)", rows)
    connection.close()
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(encoded(noise(300, 240, seed=20 + number), "PNG"))
    totals = [{"scan": f"{number}.png", "total": total} for number, total in enumerate(("12.50", None))]
    (tmp_path / "totals.jsonl").write_text("".join(json.dumps(one) + "\n" for one in totals))
    off = {"phash": False, "blank": False}
    record: dict[str, Any] = {
        "sources": [
            {"id": "web", "kind": "sqlite", "path": str(tmp_path / "a.sqlite")},
            {
                "id": "scans",
                "kind": "annotations",
                "format": "receipts",
                "path": str(tmp_path / "totals.jsonl"),
                "images": str(tmp_path),
            },
            {"id": "flags", "kind": "rendered", "format": "flags", "render": {"count": 3}, "rules": off},
        ],
        "rules": {"max_side": {"pixels": 500}, "dark": {"mean": 20}, "phash": False, "language": False},
        "max_quarantine": 1,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(record))
    return path


def test_a_corpus_is_built_with_everything_on_the_page(house: Path, recipe: Path, tmp_path: Path) -> None:
    """The new filter, rule, kind, dataset, generator and engine stand in the manifest and the ledger."""
    said = run(
        house, "-m", "pipelines", "build", str(recipe), "--out", str(tmp_path / "out"), "--engine", "counting"
    )
    assert "measure: 3 tasks" in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    counts = {
        source: (funnel["kept"], {rule["rule"]: rule["dropped"] for rule in funnel["rules"]})
        for source, funnel in manifest["funnel"].items()
    }
    assert counts == {
        "web": (2, {"dark": 1, "max_side": 1}),
        "scans": (1, {"unanswered": 1}),
        "flags": (3, {}),
    }
    assert "brightness" in manifest["filters"]
    run(house, "-m", "pipelines", "verify", str(tmp_path / "out"))


def test_an_editor_knows_what_is_added(house: Path) -> None:
    """The schema that an editor checks recipes with has the new kind and the new rules."""
    schema = json.loads(run(house, "-m", "pipelines", "schema"))["$defs"]
    assert {"max_side", "dark"} <= schema["RuleSettings"]["properties"].keys()
    assert "sqlite" in schema["Source"]["properties"]["kind"]["enum"]


def test_the_same_bytes_come_from_workers(house: Path, recipe: Path, tmp_path: Path) -> None:
    """What is added runs in the workers' processes too."""
    for engine in ("counting", "local"):
        run(
            house,
            "-m",
            "pipelines",
            "build",
            str(recipe),
            "--out",
            str(tmp_path / engine),
            "--engine",
            engine,
        )
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("counting", "local"))
    assert first == second


def test_the_dialect_and_the_stage_are_there(house: Path) -> None:
    """A caption becomes a line; the new stage has the preset's numbers."""
    pytest.importorskip("torch", reason="the trainer needs torch")
    code = """
from model.stages import stage_config
from schemas.dialects.plain import to_plain
from schemas.sample import Example, Image, ImageRef, Text, Turn

turns = (Turn("document", (ImageRef(0), Text("a dog", True))),)
example = Example("k", "caption", "train", "en", "s", "CC0-1.0", (Image("PNG", 8, 8, "0" * 64),), turns)
print(to_plain(example, ["a.jpg"]), stage_config("tiny", "4").steps)
"""
    assert run(house, "-c", code) == "a.jpg\ta dog 100\n"
