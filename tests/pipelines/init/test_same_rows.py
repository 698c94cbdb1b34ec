"""A build of the recipe that `init` writes is a build of the path: the same rows, or the same refusal."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import init
from pipelines.recipe import load as recipes
from schemas.errors import VlcorpusError
from tests.pipelines import building
from tests.pipelines.crawls import decisions
from tests.pipelines.raw import add, caption, picture

Make = Callable[[Path], Any]


def members(path: Path, **suffixes: Callable[[int], bytes]) -> None:
    """A tar with four records of such members, in this order; `__` in a name stands for a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(4):
            for place, (suffix, content) in enumerate(suffixes.items()):
                add(tar, f"i{number}.{suffix.strip('_').replace('__', '.')}", content(10 * number + place))


def text(number: int) -> bytes:
    """A caption as a member."""
    return caption(number).encode()


def parquet(path: Path, **columns: Callable[[int], object]) -> None:
    """A Parquet file with four rows of such columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{name: content(number) for name, content in columns.items()} for number in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), path)


def images(folder: Path, *, captioned: bool) -> None:
    """Four images in a folder, with or without a text beside each."""
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(picture(number))
        if captioned:
            (folder / f"{number}.txt").write_text(caption(number))


def lines(path: Path, *records: object) -> None:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def numbered(data: Path) -> None:
    members(data / "a.tar", __0__jpg=picture, __1__jpg=picture, txt=text)


def masks(data: Path) -> None:
    members(data / "a.tar", mask__jpg=picture, jpg=picture, txt=text)


def dotted(data: Path) -> None:
    members(data / "a.tar", red__jpg=picture, red__txt=text, blue__jpg=picture, blue__txt=text)


def joined(data: Path) -> None:
    members(data / "a.tar", v__png=picture, w__png=picture)


def stray(data: Path) -> None:
    images(data / "0", captioned=True)
    lines(data / "0" / "reviewed.jsonl", {"file_name": "1.jpg", "caption": "A reviewed caption of one image"})


def drift(data: Path) -> None:
    parquet(data / "a.parquet", image=picture, caption=caption)
    parquet(data / "b.parquet", image=lambda number: picture(number + 9), alt_text=lambda _: "short text")


def drift_of_extra(data: Path) -> None:
    parquet(data / "a.parquet", image=picture, caption=caption, similarity=lambda _: 0.5)
    parquet(data / "b.parquet", image=lambda number: picture(number + 9), text=lambda n: caption(n + 9))


def lists(data: Path) -> None:
    parquet(data / "a.parquet", image=picture, caption=lambda number: [caption(number), caption(number + 9)])


def lists_in_lines(data: Path) -> None:
    images(data, captioned=False)
    lines(data / "m.jsonl", *({"file_name": f"{n}.jpg", "caption": [caption(n)]} for n in range(4)))


def paths_in_structs(data: Path) -> None:
    parquet(data / "a.parquet", image=lambda n: {"bytes": None, "path": f"img/{n}.jpg"}, text=caption)


def paths_as_text(data: Path) -> None:
    parquet(data / "a.parquet", image=lambda n: f"img/{n}.jpg", text=caption)


def bare(data: Path) -> None:
    images(data / "images", captioned=False)
    (data / "train.json").write_text(json.dumps([{"image": "images/0.jpg", "conversations": []}]))


def dialogues(data: Path) -> None:
    images(data, captioned=False)
    talk = [{"from": "human", "value": "What is this?"}, {"from": "gpt", "value": "A garden."}]
    for number in range(2):
        record = {"id": f"record number {number}", "image": f"{number}.jpg", "conversations": talk}
        lines(data / f"{number}.jsonl", record, record)


def some_without_images(data: Path) -> None:
    parquet(data / "a.parquet", image=picture, caption=caption, other=lambda n: "x" * 50)
    parquet(data / "b.parquet", url=lambda n: f"https://x.org/{n}", caption=caption)
    lines(data / "words.jsonl", {"text": caption(0)})


def what_became(recipe: str, out: Path) -> list[dict[str, Any]] | str:
    """The decisions of a build, or the sentence that it stops with, without the source's name."""
    loaded = (
        recipes.from_file(recipe).to_json() if recipe.endswith(".yaml") else recipes.load([recipe]).to_json()
    )
    for source in loaded["sources"]:
        source["id"] = "input"
    try:
        building.build(loaded | {"max_quarantine": 1}, out)
    except VlcorpusError as error:
        return str(error)
    return decisions(out)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (numbered, "# records hold several images (0.jpg, 1.jpg)"),
        (masks, "# To choose, for instance: columns: {image: [jpg]}"),
        (dotted, "#   image: [jpg]"),
        (joined, "#   image: [png]"),
        (stray, "# files that are not read: 1 (0/reviewed.jsonl)"),
        (drift, "# files differ: "),
        (drift_of_extra, "#   caption: "),
        (lists, "lists, of which each caption is a row"),
        (lists_in_lines, "lists, which are no captions here"),
        (paths_in_structs, "column image has the paths of images; their bytes are not embedded"),
        (paths_as_text, "column image has the paths of images; their bytes are not embedded"),
        (bare, "train.json seems to hold annotations"),
        (dialogues, "0.jsonl seems to hold annotations"),
        (some_without_images, "b.parquet has no image column image"),
    ],
)
def test_init_and_build_look_alike(tmp_path: Path, make: Make, said: str) -> None:
    """What init writes changes neither rows nor refusals, and it says what is odd."""
    data, recipe = tmp_path / "data", tmp_path / "recipe.yaml"
    make(data)
    init.write([str(data)], str(recipe))
    assert said in recipe.read_text()
    with_init, without = what_became(str(recipe), tmp_path / "a"), what_became(str(data), tmp_path / "b")
    assert with_init == without


def test_own_shards(tmp_path: Path) -> None:
    """Shards that vlcorpus wrote are read as such, also by the recipe that init writes for them."""
    members(tmp_path / "data" / "a.tar", jpg=picture, txt=text)
    assert len(what_became(str(tmp_path / "data"), tmp_path / "own")) == 4
    init.write([str(tmp_path / "own")], str(tmp_path / "recipe.yaml"))
    again = what_became(str(tmp_path / "recipe.yaml"), tmp_path / "a")
    assert again == what_became(str(tmp_path / "own"), tmp_path / "b")
    assert len(again) == 4


def test_text_beside_other_files(tmp_path: Path) -> None:
    """A Parquet set without images is read as text alone, and files of other formats beside it stay unread."""
    parquet(tmp_path / "data" / "deep" / "a.parquet", TEXT=caption)
    parquet(tmp_path / "data" / "deep" / "b.parquet", TEXT=lambda number: caption(number + 9))
    (tmp_path / "data" / "LICENCE.txt").write_text("Not a caption of anything.\n")
    init.write([str(tmp_path / "data")], str(tmp_path / "recipe.yaml"))
    [source] = recipes.from_file(str(tmp_path / "recipe.yaml")).sources
    assert source.kind == "text"
    assert "# kind: urls, and a build downloads them" in (tmp_path / "recipe.yaml").read_text()
    assert len(what_became(str(tmp_path / "recipe.yaml"), tmp_path / "out")) == 8


CASES = ("multi", "dots", "stray2", "pdrift", "plist", "listcap", "pathonly", "qwen_json", "json_as_jsonl")


@pytest.mark.parametrize("case", [*(f"cases/{name}" for name in CASES), "formats/metadata"])
def test_cases(tmp_path: Path, test_data: Path, case: str) -> None:
    """What people have: init and build see the same in it."""
    data, recipe = str(test_data / case), str(tmp_path / "recipe.yaml")
    init.write([data], recipe)
    assert what_became(recipe, tmp_path / "a") == what_became(data, tmp_path / "b")
