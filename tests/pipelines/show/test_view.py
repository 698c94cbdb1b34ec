"""`vlcorpus view`: a shard or a key becomes a page that draws what the samples say."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.show import inspect
from pipelines.show.view import found, write
from schemas.errors import InputError
from schemas.sample import Sample
from tests import needs
from tests.pipelines.building import build
from tests.pipelines.crawls import run_inline
from tests.pipelines.sources.test_annotations import folder, line, lines, recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of grounded pictures, with dialogues of two."""
    top = tmp_path_factory.mktemp("look")
    path = lines(top / "a.jsonl", [line(n) for n in range(4)])
    told = recipe(path, folder(top / "images", 4), chat={"localise": 1, "join": 2})
    build(told, top / "out")
    return top / "out"


def shard(corpus: Path, group: str, suffix: str = "parquet") -> Path:
    """The only shard of a group, or the index of it."""
    (path,) = (corpus / "shards" / "train" / group / "boxes").glob(f"*.{suffix}")
    return path


def first(corpus: Path, group: str) -> Sample:
    """The first sample of a group."""
    sample = next(iter(inspect.samples(str(shard(corpus, group)), 1))).sample
    assert sample is not None
    return sample


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
def test_a_shard_is_shown_from_its_start(corpus: Path, suffix: str) -> None:
    """The tar and its index show the same samples, as many as asked for, with their pictures."""
    shown = found(str(shard(corpus, "views", suffix)), "nowhere", 3)
    assert len(shown) == 3
    assert shown[0].sample == first(corpus, "views")
    assert [len(one.images) for one in shown] == [1, 1, 1]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    """Where a key is looked for, an index that cannot be read is one sentence, and none is passed over."""
    path = tmp_path / "shards" / "train" / "caption" / "web" / "0.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"0\.parquet is damaged"):
        found("abc", str(tmp_path), 1)


def test_a_key_is_found_by_how_it_begins(corpus: Path) -> None:
    """A sample's key shows it whole, several images included; a row's or a view's key shows those views alone."""
    sample = first(corpus, "views")
    (whole,) = found(sample.key[:20], str(corpus), 20)
    assert whole.sample == sample
    assert len(sample.views) >= 5
    view = next(one for one in sample.views if one.task == "referring")
    (shown,) = found(view.key, str(corpus), 20)
    assert shown.sample == replace(sample, views=(view,))
    rows = found(view.key.partition("-")[0], str(corpus), 20)
    shown, *dialogues = sorted(rows, key=lambda one: len(one.images))
    assert {one.task for one in shown.sample.views} >= {"grounding", "referring", "grounded_caption"}
    assert all(one.sample.tasks == ("chat",) for one in dialogues)
    dialogue = first(corpus, "chat")
    (shown,) = found(dialogue.key, str(corpus), 20)
    assert shown.sample == dialogue
    assert len(shown.images) == 2


@pytest.mark.parametrize("what", ["ffffffff", "no.tar", "../../etc/passwd"])
def test_what_is_not_there_is_one_sentence(corpus: Path, what: str) -> None:
    """Neither a shard nor a key: said in one sentence."""
    with pytest.raises(InputError) as caught:
        found(what, str(corpus), 5)
    assert "\n" not in str(caught.value)


def test_a_page_that_cannot_be_written_is_one_sentence(corpus: Path, tmp_path: Path) -> None:
    """The path is named, not a traceback."""
    shown = found(str(shard(corpus, "views")), "nowhere", 1)
    with pytest.raises(InputError, match="cannot write"):
        write(shown, tmp_path / "no" / "such" / "folder.html", None)


def test_the_command_writes_page_and_picture(corpus: Path, tmp_path: Path) -> None:
    """`vlcorpus view KEY --corpus DIR --out --png`: both files, and how many samples they show."""
    sample = first(corpus, "views")
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    done = run_inline("view", sample.key, "--corpus", corpus, "--out", page, "--png", picture)
    assert done.returncode == 0, done.stderr
    assert "1 sample in" in done.stdout
    text = page.read_text(encoding="utf-8")
    assert "<rect" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    with Image.open(picture) as drawn:
        drawn.verify()


def test_the_command_says_what_is_missing(corpus: Path, tmp_path: Path) -> None:
    """A key that no sample has ends with exit code 1 and one line."""
    done = run_inline("view", "0000aaaa", "--corpus", corpus, "--out", tmp_path / "x.html")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") <= 1
    assert not (tmp_path / "x.html").exists()


def test_chromium_draws_boxes_over_the_picture(corpus: Path, tmp_path: Path) -> None:
    """The page in headless Chromium has picture and strokes in more than one vivid colour."""
    browser = needs.chromium()
    write(found(str(shard(corpus, "views")), "nowhere", 1), tmp_path / "page.html", None)
    shot = tmp_path / "shot.png"
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1000,900",
    ]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={shot}",
        f"file://{tmp_path / 'page.html'}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(shot) as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    assert pixels.shape == (900, 1000, 3)
    # the picture and the strokes are anything but grey
    vivid = pixels.max(axis=2) - pixels.min(axis=2) > 60
    assert vivid.sum() > 5000
