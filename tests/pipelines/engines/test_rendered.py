"""Pages that are made, and pages of documents: the same bytes on every engine, and after any kill."""

import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from PIL import Image

import vlcorpus
from tests import needs
from tests.chaos import kill
from tests.pipelines.crawls import build, decisions, environment, litter, manifest, ran
from tests.pipelines.engines.contract import QUIET
from tests.synth.made_pdf import SHIFTED, Sheet, pdf, text

pytestmark = QUIET

WAYS: dict[str, tuple[str, ...]] = {
    "two_workers": ("--workers", "2"),
    "ray": ("--engine", "ray", "--workers", "2"),
    "beam": ("--engine", "beam", "--workers", "2"),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of made pages, of PDFs in two shards, half of them read back, and of HTML with style and picture."""
    for library in ("pypdfium2", "playwright", "rapidocr", "cv2"):
        needs.package(library)
    needs.chromium()
    folder = tmp_path_factory.mktemp("input")
    _write_papers(folder / "papers")
    _write_site(folder / "site")
    common = {"kind": "rendered", "max_quarantine": 0.5}
    sources = [
        {
            **common,
            "id": "pages",
            "format": "ocr",
            "render": {"count": 2, "setting": "mild"},
        },
        {
            **common,
            "id": "papers",
            "format": "pdf",
            "path": str(folder / "papers"),
            "render": {"readback": 0.5},
        },
        {**common, "id": "site", "format": "html", "path": str(folder / "site")},
    ]
    record = {"seed": 3, "languages": ["en", "zh"], "sources": sources, "splits": {"val": 0.2}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**record, "shards": {"samples": 8}}))
    return path


def _write_papers(folder: Path) -> None:
    folder.mkdir()
    for number in range(10):
        sheets = [Sheet(text(f"paper {number} page {page} can be read", 20, 120)) for page in range(2)]
        body = pdf(sheets, SHIFTED if number == 4 else "")
        (folder / f"{number:02}.pdf").write_bytes(body if number != 7 else body[:40])


def _write_site(folder: Path) -> None:
    folder.mkdir()
    Image.new("RGB", (60, 40), "teal").save(folder / "picture.png")
    (folder / "style.css").write_text("body { font: 20px sans-serif } p { margin: 30px }")
    for number in range(3):
        paragraphs = "".join(f"<p>Paragraph {at} of page {number}, 第{at}段</p>" for at in range(30))
        head = '<link rel="stylesheet" href="style.css"><img src="picture.png">'
        (folder / f"page{number}.html").write_text(f"<!doctype html><meta charset=utf-8>{head}{paragraphs}")


@pytest.fixture(scope="module")
def inline(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that all others are held against."""
    corpus = tmp_path_factory.mktemp("corpus") / "inline"
    vlcorpus.build(recipe, corpus, "inline", progress=False)
    found = decisions(corpus)
    kept = {row["source"] for row in found if row["decision"] == "kept"}
    assert kept == {"pages", "papers", "site"}
    assert any(row["decision"] == "quarantined" for row in found)
    assert len({(row["source"], row["shard"]) for row in found}) == 5
    return corpus


def check(corpus: Path, wanted: Path) -> None:
    """Equal manifests and decisions; the files are what the manifest says, and nothing is left over."""
    assert manifest(corpus) == manifest(wanted)
    assert decisions(corpus) == decisions(wanted)
    assert vlcorpus.Corpus.open(corpus).verify() == []
    assert litter(corpus) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "way", ["two_workers", *(pytest.param(way, marks=pytest.mark.long) for way in ("ray", "beam"))]
)
def test_every_engine(recipe: Path, inline: Path, tmp_path: Path, way: str) -> None:
    """Two local workers, Ray and Beam write what inline wrote; a second run, on another engine, renders nothing."""
    if way in ("ray", "beam"):
        pytest.importorskip({"ray": "ray", "beam": "apache_beam"}[way], reason=f"needs the extra {way}")
    build(recipe, "--out", tmp_path / way, *WAYS[way])
    check(tmp_path / way, inline)
    vlcorpus.build(recipe, tmp_path / way, "inline", progress=False)
    assert ran(tmp_path / way)["render"] == 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_while_it_renders(recipe: Path, inline: Path, tmp_path: Path) -> None:
    """After kills of the driver, its group and a worker within phase render the corpus is the same."""
    hand = random.Random(5)
    corpus = tmp_path / "killed"
    before = _browsers()
    hits = 0
    for deed in ("group", "driver", "worker", "group"):
        hits += _disturbed(recipe, corpus, deed, hand)
    assert hits >= 3
    build(recipe, "--out", corpus, "--workers", "2")
    check(corpus, inline)
    until = time.monotonic() + 30
    while time.monotonic() < until and _browsers() - before:
        time.sleep(0.2)
    assert not _browsers() - before, "a browser outlived the worker that used it"


def _disturbed(recipe: Path, corpus: Path, deed: str, hand: random.Random) -> bool:
    """Start a build and do the deed some seconds into its rendering; whether it came in time."""
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "build",
        str(recipe),
        "--out",
        str(corpus),
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stderr is not None
    hit = False
    for line in process.stderr:
        if line.startswith("render: "):
            time.sleep(1 + 3 * hand.random())
            hit = process.poll() is None and not list((corpus / "work" / "signals").rglob("*.parquet"))
            kill(process, deed, hand)
            break
    process.communicate(timeout=600)
    if deed == "worker":
        assert process.returncode == 0
    return hit


def _browsers() -> set[str]:
    """The profiles of browsers that run now."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            found |= {word.decode() for word in words if b"/vlcorpus-chromium-" in word}
    return found
