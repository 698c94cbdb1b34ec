"""When the manifest and the card are written, and what else lies beside them."""

import os
from pathlib import Path
from unittest import mock

import pytest

from pipelines.audit.verify import verify
from pipelines.files import Store
from schemas.errors import OutputError
from tests.pipelines.building import Heard, build


def texts(folder: Path, out: Path) -> Heard:
    """Builds a corpus of four input shards of text; what was reported."""
    (folder / "in").mkdir(exist_ok=True)
    for number in range(4):
        (folder / "in" / f"{number}.jsonl").write_text(
            f'{{"text": "number {number} of a few short texts"}}\n'
        )
    sources = [{"id": "words", "path": str(folder / "in"), "kind": "text"}]
    return build({"sources": sources, "shards": {"samples": 1}}, out)[1]


def stamps(out: Path) -> dict[Path, int]:
    """The files outside work/ with the times of their last change."""
    return {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.relative_to(out).parts[0] != "work"
    }


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    """The same build again writes neither manifest nor card, opens no samples, and lists no folder below work/."""
    out = tmp_path / "out"
    texts(tmp_path, out)
    before = stamps(out)
    with mock.patch.object(Store, "open", autospec=True, side_effect=Store.open) as opened:
        heard = texts(tmp_path, out)
    assert stamps(out) == before
    assert not any(heard.ran.values())
    paths = [call.args[1].removeprefix(f"{out}/") for call in opened.call_args_list]
    written = {"manifest.json", "manifest.sha256", "README.md", "recipe.json"}
    assert {path for path in paths if not path.startswith("work/receipts/")} <= written


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "README.md", "recipe.json"])
def test_what_was_damaged_is_written_again(tmp_path: Path, name: str) -> None:
    """A manifest, card or recipe that is gone or holds other bytes comes back though nothing else is to do."""
    out = tmp_path / "out"
    texts(tmp_path, out)
    sound = (out / name).read_bytes()
    (out / name).unlink()
    texts(tmp_path, out)
    assert (out / name).read_bytes() == sound
    before = (out / name).stat()
    (out / name).write_bytes(sound[:-1] + b"!")
    os.utime(out / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    texts(tmp_path, out)
    assert (out / name).read_bytes() == sound


@pytest.mark.parametrize("phase", ["card", "score"])
def test_damaged_receipts_do_not_outlive_the_next_build(tmp_path: Path, phase: str) -> None:
    """Of the card, which may be written without a look at them, and of a phase that the recipe does not have."""
    out = tmp_path / "out"
    texts(tmp_path, out)
    folder = out / "work" / "receipts" / phase
    folder.mkdir(exist_ok=True)
    receipts = next(folder.glob("*.jsonl"), folder / "00000001-0.jsonl")
    receipts.write_bytes(b"no receipts")
    assert verify(str(out), work=True) != []
    texts(tmp_path, out)
    assert verify(str(out), work=True) == []


def test_an_orphan_file_goes_though_nothing_is_to_do(tmp_path: Path) -> None:
    """A file that the manifest does not name is removed by the next build, wherever it lies, and named."""
    out = tmp_path / "out"
    texts(tmp_path, out)
    for name in ("stray.txt", "shards/train/text/words/stray.tar", "more/deep/stray.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"stray")
    (out / ".git").mkdir()
    (out / ".git" / "config").write_bytes(b"of another program")
    heard = texts(tmp_path, out)
    assert verify(str(out)) == []
    assert not list(out.rglob("stray*")) + list(out.glob("more"))
    assert (out / ".git" / "config").exists()
    assert "3 files that the manifest does not name, removed" in " ".join(heard.said)


def test_a_manifest_that_nobody_could_read_is_not_written(tmp_path: Path) -> None:
    """Above the limit of what `verify` reads the build stops with a sentence that says how to get below it."""
    with (
        mock.patch("pipelines.card.manifest.MAX_BYTES", 1000),
        pytest.raises(
            OutputError,
            match=r"manifest\.json would have .* bytes for 8 files.*raise shards\.samples \(1 now",
        ),
    ):
        texts(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
