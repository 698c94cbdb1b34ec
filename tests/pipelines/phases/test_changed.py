"""An input that changes, between two runs or two phases, is measured again; one that was touched alone is not."""

import os
from pathlib import Path
from time import time_ns
from typing import Any

import pytest

from pipelines.audit.verify import verify
from pipelines.sources.identities import Identities
from tests.bits import flip
from tests.pipelines.building import build, rows
from tests.pipelines.raw import shard


def flip_pixels(path: Path, *offsets: int) -> None:
    """Flips a bit in the pixels of the images at some offsets of a tar, in place."""
    flip(path, *(offset + 2000 for offset in offsets))


def tar(tmp_path: Path) -> Path:
    return shard(tmp_path / "in" / "00000.tar", range(8))


def recipe(path: Path, phase: str) -> dict[str, Any]:
    found: dict[str, Any] = {"sources": [{"id": "web", "path": str(path)}]}
    if phase == "score":
        found["clip"] = {"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}}
        found["rules"] = {"clip": {"min": -1.0}}
    if phase == "ground":
        found["sources"][0]["ground"] = {"detector": {"model": "colours"}, "chunker": "rules"}
    return found


@pytest.mark.parametrize("phase", ["score", "ground", "shard"])
def test_what_changes_after_it_was_measured_is_measured_again_at_once(
    tmp_path: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phase that reads other bytes says so; the same run measures the shard again and ends well."""
    path, out = tar(tmp_path), tmp_path / "out"
    build(recipe(path, phase), out, until={"score": "dedup", "ground": "select", "shard": "compose"}[phase])
    before = {row["member"]: row for row in rows(out, "signals")}
    chosen = [before[f"{number:09d}"] for number in (3, 5)]
    # the change comes when the run has looked at its inputs
    said = Identities.of

    def then_flip(self: Identities, *arguments: Any) -> Any:
        found = said(self, *arguments)
        if chosen:
            flip_pixels(path, *(row["offset"] for row in chosen))
            chosen.clear()
        return found

    changed = {row["member"] for row in chosen}
    monkeypatch.setattr(Identities, "of", then_flip)
    _, heard = build(recipe(path, phase), out)
    assert [
        line for line in heard.said if f"{path} no longer holds the image of" in line and "made again" in line
    ]
    after = {row["member"]: row for row in rows(out, "signals")}
    assert {member for member in before if before[member]["sha256"] != after[member]["sha256"]} == changed
    assert verify(str(out)) == []


def test_a_change_in_the_middle_of_a_file_is_seen(tmp_path: Path) -> None:
    """A tar of the same size whose ends are the same is measured again, since all of it counts."""
    path, out = tar(tmp_path), tmp_path / "out"
    build(recipe(path, "shard"), out)
    flip_pixels(path, rows(out, "signals")[4]["offset"])
    _, heard = build(recipe(path, "shard"), out)
    assert heard.ran["measure"] == 1


@pytest.mark.parametrize("years", [1, -1])
def test_a_file_that_was_touched_is_read_and_nothing_else(tmp_path: Path, years: int) -> None:
    """Another time, a year ahead or back, costs a read of the file; no phase has anything to do."""
    path, out = tar(tmp_path), tmp_path / "out"
    build(recipe(path, "shard"), out)
    when = path.stat().st_mtime + years * 365 * 86400
    os.utime(path, (when, when))
    _, heard = build(recipe(path, "shard"), out)
    assert {phase for phase, count in heard.ran.items() if count} == set()


def test_an_input_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later run reads a local file again only where its size or its times are others."""
    path, out = tar(tmp_path), tmp_path / "out"
    when = path.stat().st_mtime - 60
    os.utime(path, (when, when))
    monkeypatch.setattr("pipelines.files.time.time_ns", lambda: time_ns() + 60 * 10**9)
    build(recipe(path, "shard"), out)
    read: list[str] = []
    monkeypatch.setattr("pipelines.files.hashlib.file_digest", lambda file, name: read.append(file.name))
    _, heard = build(recipe(path, "shard"), out)
    assert (read, heard.ran["measure"]) == ([], 0)
