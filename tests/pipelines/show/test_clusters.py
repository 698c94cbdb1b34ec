"""The page of clusters: what is largest, what is in doubt, and each image that there is."""

import io
import tarfile
from pathlib import Path

import pytest
from PIL import ImageDraw, ImageEnhance

from pipelines.recipe.model import Recipe
from pipelines.show.clusters import Common, boilerplate, find, images, page
from schemas.errors import InputError
from tests.filters.pictures import encoded, noise
from tests.pipelines.building import build
from tests.pipelines.crawls import run_inline


def crawl(folder: Path) -> Path:
    """An image three times, another twice with other contrast, and one alone."""
    first, second, third = (noise(320, 300, seed, smooth=40) for seed in range(3))
    dimmed = ImageEnhance.Contrast(second).enhance(0.9)
    ImageDraw.Draw(dimmed).rectangle((0, 0, 40, 40), "red")
    found = [
        (first, "a field of soft colours in the evening", "PNG"),
        (first, "soft colours & light on a wall, 3 < 4", "JPEG"),
        (first.resize((260, 240)), "a small print of soft colours", "PNG"),
        (second, "another print of colours in a room", "PNG"),
        (dimmed, "another print with a red corner", "PNG"),
        (third, "a third print that is like no other", "PNG"),
    ]
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, (image, caption, form) in enumerate(found):
            for suffix, data in ((form.lower(), encoded(image, form)), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return folder


def recipe(shards: Path) -> dict[str, object]:
    return {
        "languages": [],
        "sources": [{"id": "web", "kind": "webdataset", "path": str(shards)}],
        "rules": {"pattern": False, "phash": {"distance": 8}},
        "captions": "longest",
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    folder = tmp_path_factory.mktemp("clusters")
    given = recipe(crawl(folder / "raw"))
    build(given, folder / "out")
    return folder / "out", Recipe.model_validate(given)


def test_the_largest_come_first_and_doubts_by_how_near_the_limit_they_are(
    corpus: tuple[Path, Recipe],
) -> None:
    """The centre of each cluster stands first; an image alone is in none."""
    found = find(str(corpus[0]), 5)
    assert [cluster.rows for cluster in found.largest] == [3, 2]
    assert (found.count, found.rows) == (2, 5)
    for cluster in found.largest:
        assert cluster.members[0].key == cluster.key
        assert cluster.members[0].apart == 0
        assert all(one.apart <= 1 for one in cluster.members)
    doubts = [(cluster.doubt, cluster.distance) for cluster in found.doubtful]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts


def test_no_more_are_shown_than_asked_for(corpus: tuple[Path, Recipe]) -> None:
    """Of each kind."""
    found = find(str(corpus[0]), 1)
    assert (len(found.largest), len(found.doubtful)) == (1, 1)


def test_kept_images_come_from_the_shards_and_all_from_the_inputs(corpus: tuple[Path, Recipe]) -> None:
    """What a page has no image for it draws from the sketch."""
    out, given = corpus
    found = find(str(out), 5)
    members = {one.place: one for cluster in found.largest for one in cluster.members}
    kept = images(str(out), found, None)
    assert {members[place].fate for place in kept} == {"kept"}
    assert len(kept) == sum(one.kept for one in members.values())
    every = images(str(out), found, given)
    assert every.keys() == members.keys()
    assert all(every[place] == data for place, data in kept.items())
    text = page(str(out), found, kept)
    shown = len(
        [one for part in (found.largest, found.doubtful) for cluster in part for one in cluster.members]
    )
    assert "held out" not in text
    assert " kept, " in text
    drawn = text.count('class="sketch"')
    assert text.count("<img ") == shown
    assert 0 < drawn < shown
    assert 'class="sketch"' not in page(str(out), found, every)


def test_inputs_of_another_corpus(corpus: tuple[Path, Recipe], tmp_path: Path) -> None:
    """Where the inputs are none of the corpus's, images of rows kept come from the shards, and the command says so."""
    out, given = corpus
    found = find(str(out), 5)
    other = given.model_copy(update={"sources": (given.sources[0].model_copy(update={"id": "input"}),)})
    assert images(str(out), found, other) == images(str(out), found, None)
    done = run_inline("clusters", out, given.sources[0].path, "--out", tmp_path / "page.html")
    assert done.stdout.startswith(f"input: no source of {out}; give the recipe that it was built with")


def test_captions_are_text_on_the_page(corpus: tuple[Path, Recipe]) -> None:
    """Whatever they hold is escaped."""
    text = page("<script>", find(str(corpus[0]), 5), {})
    assert "&amp; light on a wall, 3 &lt; 4" in text
    assert "<script" not in text


def test_the_command_writes_the_page(corpus: tuple[Path, Recipe], tmp_path: Path) -> None:
    """It says what is on it, and where no page can be written."""
    done = run_inline("clusters", corpus[0], "--out", tmp_path / "page.html", "-n", "3")
    assert done.stdout == f"wrote {tmp_path / 'page.html'}: 2 of 2 clusters, 2 in doubt\n"
    assert "Most in doubt" in (tmp_path / "page.html").read_text()
    refused = run_inline("clusters", corpus[0], "--out", tmp_path / "no" / "page.html")
    assert refused.returncode != 0
    assert "cannot write" in refused.stderr


def test_a_corpus_without_clusters_is_told_so(tmp_path: Path) -> None:
    """As is a folder that holds no corpus."""
    shards = crawl(tmp_path / "raw")
    build({**recipe(shards), "rules": {"pattern": False, "phash": False}}, tmp_path / "out")
    with pytest.raises(InputError, match="no clusters of like images"):
        find(str(tmp_path / "out"), 5)
    with pytest.raises(InputError, match="holds no corpus"):
        find(str(shards), 5)


def test_the_commonest_captions(tmp_path: Path) -> None:
    """With a cap on captions each has its rows and those kept; without one there are none."""
    given = recipe(captioned(tmp_path / "raw"))
    given["rules"] = {"pattern": False, "phash": False, "max_per_caption": {"max": 1}}
    build(given, tmp_path / "out")
    assert boilerplate(str(tmp_path / "out"), 5) == [Common("a print of soft colours", 4, 1, 0)]
    given["rules"] = {"pattern": False, "phash": False}
    build(given, tmp_path / "plain")
    assert boilerplate(str(tmp_path / "plain"), 5) == []


def test_rows_held_out_for_evaluation_are_named(tmp_path: Path) -> None:
    """They are no rows that training keeps, on the page and among the commonest captions."""
    given = recipe(captioned(tmp_path / "raw"))
    given["sources"] = [
        {"id": "web", "kind": "webdataset", "path": str(captioned(tmp_path / "web"))},
        {"id": "held", "kind": "webdataset", "path": str(tmp_path / "raw"), "role": "eval"},
    ]
    given["rules"] = {"pattern": False, "max_per_caption": True}
    build(given, tmp_path / "out")
    found = find(str(tmp_path / "out"), 9)
    fates = sorted(one.fate for cluster in found.largest for one in cluster.members)
    assert fates == ["dropped: eval:held"] * 5 + ["held out for evaluation"] * 5
    assert page("out", found, {}).count(": 0 kept, 1 held out for evaluation, 1 dropped<") == 2 * 5
    done = run_inline("clusters", tmp_path / "out", "--out", tmp_path / "page.html")
    assert "8 rows, of which 0 kept and 4 held out for evaluation: a print of soft colours" in done.stdout


def captioned(folder: Path) -> Path:
    """Five images, four of them with one caption."""
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number in range(5):
            text = "a print of soft colours" if number else "another print in a room"
            for suffix, data in (("png", encoded(noise(300, 300, number), "PNG")), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return folder
