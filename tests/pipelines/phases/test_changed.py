"""An input shard that changes between two phases is noticed, also where its size and its ends stay the same."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ChangedError
from tests.pipelines.building import build, rows
from tests.pipelines.raw import shard


def flip(path: Path, *offsets: int) -> None:
    """Flips a bit in the pixels of the images at some offsets of a tar, in place."""
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset + 2000] ^= 1
    path.write_bytes(data)


@pytest.fixture
def middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tar of which all but the first and the last KiB is the middle that its identity does not see."""
    monkeypatch.setattr("pipelines.files.MIB", 1024)
    return shard(tmp_path / "in" / "00000.tar", range(8))


@pytest.mark.parametrize("phase", ["score", "shard"])
def test_each_image_is_the_one_measured(middle: Path, tmp_path: Path, phase: str) -> None:
    """The phase that reads the image again stops with shard, member and remedy; the next run measures it again."""
    out = tmp_path / "out"
    recipe: dict[str, Any] = {"sources": [{"id": "web", "path": str(middle)}]}
    if phase == "score":
        recipe["clip"] = {"scorers": {"default": {"model": "embedded"}}}
        recipe["rules"] = {"clip": {"min": -1.0}}
    build(recipe, out, until="dedup" if phase == "score" else "compose")
    before = {row["member"]: row for row in rows(out, "signals")}
    chosen = [before[f"{number:09d}"] for number in (3, 5)]
    flip(middle, *(row["offset"] for row in chosen))
    with pytest.raises(ChangedError, match=rf"{middle} no longer holds the image of '.*run the same command"):
        build(recipe, out)
    _, heard = build(recipe, out)
    assert heard.ran["measure"] == 1
    after = {row["member"]: row for row in rows(out, "signals")}
    changed = {member for member in before if before[member]["sha256"] != after[member]["sha256"]}
    assert changed == {row["member"] for row in chosen}
