"""From paths to a recipe that builds, as a person does it."""

import csv
import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from pipelines.files import Store
from pipelines.recipe import load as recipes
from pipelines.recipe.model import Recipe
from tests.pipelines import building
from tests.pipelines.crawls import decisions
from tests.pipelines.raw import caption, picture, shard

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`vlcorpus init` with these words, in a folder of its own: exit code, what it wrote, what it complained of."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vlcorpus", "init", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return command


def parquet(path: Path, **names: str) -> Path:
    """Six pairs as Parquet, their columns under names of one's own."""
    columns = {"image": "image", "caption": "caption", "url": "url"} | names
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            columns["image"]: picture(number),
            columns["caption"]: caption(number),
            columns["url"]: f"https://example.org/{number}.jpg?token=s3cr3t",
            "similarity": 0.3,
        }
        for number in range(6)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def images(folder: Path) -> list[dict[str, str]]:
    """Six images in a folder, and for each a record that names it."""
    (folder / "images").mkdir(parents=True)
    for number in range(6):
        (folder / "images" / f"{number}.jpg").write_bytes(picture(number))
    return [{"file_name": f"images/{number}.jpg", "caption": caption(number)} for number in range(6)]


def jsonl(folder: Path) -> Path:
    """A folder of images with a JSONL file."""
    records = images(folder)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def with_csv(folder: Path) -> Path:
    """A folder of images with a CSV file whose caption column has a name that is not usual."""
    records = images(folder)
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture path", "alt, in English"])
        writer.writerows([record["file_name"], record["caption"]] for record in records)
    return folder


def sidecars(folder: Path) -> Path:
    """A folder of images, each with a text beside it."""
    for record in images(folder):
        (folder / record["file_name"]).with_suffix(".txt").write_text(record["caption"])
    return folder


def lines(folder: Path) -> Path:
    """A folder with a plain text file."""
    folder.mkdir()
    (folder / "words.txt").write_text("".join(f"{caption(number)}\n" for number in range(6)))
    return folder


def tars(folder: Path) -> Path:
    """A folder with two WebDataset tars."""
    shard(folder / "0.tar", range(4))
    shard(folder / "1.tar", range(4, 6))
    return folder


def texts(folder: Path) -> Path:
    """Metadata without images, as LAION publishes it."""
    folder.mkdir()
    rows = [{"URL": f"https://example.org/{number}", "TEXT": caption(number)} for number in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "part.parquet")
    return folder


def built(recipe: Path, out: Path) -> tuple[Recipe, list[str]]:
    """The recipe as `build` loads it, and what was decided of its rows."""
    loaded = recipes.from_file(str(recipe))
    building.build(loaded.to_json(), out)
    return loaded, [row["decision"] for row in decisions(out)]


@pytest.mark.parametrize(
    ("make", "kind", "columns"),
    [
        (tars, "webdataset", {}),
        (
            lambda folder: parquet(folder / "a.parquet").parent,
            "parquet",
            {"extra": ("similarity",)},
        ),
        (
            lambda folder: (
                parquet(folder / "a.parquet", image="thumb: 1", caption="#alt", url="Page URL").parent
            ),
            "parquet",
            {"image": ("thumb: 1",), "caption": ("#alt",), "url": ("Page URL",), "extra": ("similarity",)},
        ),
        (jsonl, "folder", {}),
        (with_csv, "folder", {"image": ("picture path",), "caption": ("alt, in English",)}),
        (sidecars, "folder", {}),
        (lines, "text", {}),
        (texts, "text", {}),
    ],
)
def test_builds(
    run: Run, tmp_path: Path, make: Callable[[Path], Path], kind: str, columns: dict[str, tuple[str, ...]]
) -> None:
    """A recipe names the columns that a build does not find by itself, and keeps every row when it is built."""
    code, told, _ = run(make(tmp_path / "my data"), "--out", "made.yaml")
    assert code == 0
    assert f"my-data: {kind}" in told
    recipe, decided = built(tmp_path / "made.yaml", tmp_path / "out")
    [source] = recipe.sources
    assert (source.id, source.kind) == ("my-data", kind)
    assert source.columns.model_dump(exclude_unset=True) == columns
    assert decided == ["kept"] * 6


def test_several_sources(run: Run, tmp_path: Path) -> None:
    """Files of a folder that are alike are one source, those that differ are several; ids differ."""
    one = [parquet(tmp_path / "web" / f"{name}.parquet") for name in "ab"]
    other = parquet(tmp_path / "web" / "c.parquet", caption="alt_text")
    again = parquet(tmp_path / "b" / "web" / "d.parquet").parent
    assert run(*one, other, again, tmp_path / "web" / "*.parquet")[0] == 0
    sources = recipes.from_file("recipe.yaml").sources
    assert [len(source.path) for source in sources] == [2, 1, 1, 1]
    assert [source.id for source in sources] == ["web", "c", "web-2", "web-3"]


def test_usual_names_are_alike(run: Run, tmp_path: Path) -> None:
    """Files whose columns a build finds by itself are one source, whatever they are called."""
    one = parquet(tmp_path / "web" / "a.parquet")
    other = parquet(tmp_path / "web" / "b.parquet", caption="text", image="jpg")
    assert run(one, other, "--out", f"file://{tmp_path}/made.yaml")[0] == 0
    [source] = recipes.from_file("made.yaml").sources
    assert source.path == (str(one), str(other))


def test_without_captions(run: Run, tmp_path: Path) -> None:
    """Images without any caption stop the build, until the person says that they need none."""
    images(tmp_path / "bare")
    assert run(tmp_path / "bare")[0] == 0
    assert recipes.from_file("recipe.yaml").sources[0].captions == "required"
    text = Path("recipe.yaml").read_text()
    Path("recipe.yaml").write_text(text.replace("# captions: none", "captions: none"))
    recipe, decided = built(tmp_path / "recipe.yaml", tmp_path / "out")
    assert recipe.sources[0].captions == "none"
    assert len(decided) == 6


@pytest.mark.parametrize(
    ("name", "document", "form"),
    [
        (
            "c.json",
            {"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "A cat."}]},
            "coco_captions",
        ),
        ("i.json", {"images": [], "annotations": [{"bbox": [0, 0, 1, 1]}]}, "coco_instances"),
        ("v.json", [{"id": 1, "image": "a.jpg", "conversations": []}], "conversations"),
    ],
)
def test_annotations(run: Run, tmp_path: Path, name: str, document: Any, form: str) -> None:
    """A JSON file of a published annotation format is a source of that format, with the folder of its images."""
    (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / "images").mkdir()
    assert run(tmp_path / name)[0] == 0
    [source] = recipes.from_file("recipe.yaml").sources
    assert (source.kind, source.format, source.images) == ("annotations", form, f"{tmp_path}/images")


def test_lines_of_annotations(run: Run, tmp_path: Path) -> None:
    """JSON lines with dialogues are annotations, not pairs."""
    (tmp_path / "talk.jsonl").write_text(
        '{"image": "a.jpg", "conversations": [{"from": "human", "value": "?"}]}\n'
    )
    assert run(tmp_path / "talk.jsonl")[0] == 0
    assert recipes.from_file("recipe.yaml").sources[0].format == "conversations_lines"


DOCUMENT = {"images": ["0.jpg", None], "texts": [None, "A dog in the park."]}


@pytest.mark.parametrize("names", [["one.jsonl"], ["a.jsonl", "b.jsonl"], ["list.json"]])
def test_lists_of_documents(run: Run, tmp_path: Path, names: list[str]) -> None:
    """OBELICS as lines in one file or several, or as one JSON list, is a recipe that a build reads."""
    for name in names:
        text = json.dumps([DOCUMENT] if name.endswith("json") else DOCUMENT)
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(text + "\n")
    (tmp_path / "0.jpg").write_bytes(picture(0))
    assert run(tmp_path / "data" / names[0] if len(names) == 1 else tmp_path / "data")[0] == 0
    recipe = recipes.load(["recipe.yaml"]).to_json()
    assert recipe["sources"][0]["format"] == "obelics"
    recipe["sources"][0]["images"] = str(tmp_path)
    building.build(recipe, tmp_path / "out", until="select")
    assert [row["decision"] for row in decisions(tmp_path / "out")] == ["kept"] * len(names)


def test_annotations_that_are_packed(run: Run, tmp_path: Path) -> None:
    """They are no recipe, since a build reads them unpacked alone: a sentence says so."""
    with gzip.open(tmp_path / "talk.jsonl.gz", "wt") as file:
        file.write('{"image": "a.jpg", "conversations": [{"from": "human", "value": "?"}]}\n')
    code, _, text = run(tmp_path / "talk.jsonl.gz")
    assert (code, "holds annotations (format conversations_lines), which a build reads unpacked" in text) == (
        1,
        True,
    )
    assert not Path("recipe.yaml").exists()


def test_what_the_comments_say(run: Run, tmp_path: Path) -> None:
    """The recipe says how much there is, shows each column with a value, and the languages of the captions."""
    parquet(tmp_path / "web" / "a.parquet")
    (tmp_path / "web" / "notes.md").touch()
    assert run(tmp_path / "web")[0] == 0
    text = Path("recipe.yaml").read_text()
    assert "# shards: 1 (parquet), " in text
    assert "# files that are not read: 1 (notes.md)" in text
    assert "#   image       (a JPEG image)\n" in text
    assert f'#   caption     "{caption(0)}"\n' in text
    assert "#   similarity  0.3\n" in text
    assert "# Of 6 captions: en 6. To keep these only: languages: [en]\n" in text
    assert "# clip_score: similarity" in text


def test_no_secrets(run: Run, tmp_path: Path) -> None:
    """An address is shown without its user and what its query says, where a key may stand."""
    parquet(tmp_path / "web" / "a.parquet")
    (tmp_path / "t.txt").write_text("see https://joe:s3cr3t@example.org/a?key=s3cr3t#s3cr3t for more\n")
    assert run(tmp_path / "web", tmp_path / "t.txt")[0] == 0
    text = Path("recipe.yaml").read_text()
    assert "https://example.org/0.jpg" in text
    assert "see https://example.org/a?… for more" in text
    assert "s3cr3t" not in text


def test_never_over_a_file(run: Run, tmp_path: Path) -> None:
    """A recipe that is there stays unless --force is given."""
    data = tars(tmp_path / "web")
    Path("recipe.yaml").write_text("mine")
    code, _, complaint = run(data)
    assert (code, complaint.count("error: ")) == (1, 1)
    assert "recipe.yaml exists: give --force" in complaint
    assert Path("recipe.yaml").read_text() == "mine"
    assert run(data, "--force")[0] == 0
    assert recipes.from_file("recipe.yaml").sources[0].id == "web"
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_bad_paths(run: Run, tmp_path: Path) -> None:
    """A path that is not there, holds nothing, or cannot be written to is one sentence, and nothing is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "x.json").write_text('{"a": 1}')
    for words, told in {
        ("nowhere",): "nowhere does not exist",
        ("empty",): "nothing to read",
        ("*.none",): "nothing matches",
        ("broken.parquet",): "no sound Parquet file",
        ("x.json",): "JSON of no format that is recognised",
        ("ftp://a/b",): "only local paths and file://",
        ("empty", "--out", "s3://bucket/r.yaml"): "a recipe is a file of this machine",
        (
            tars(tmp_path / "web"),
            "--out",
            "x.json/r.yaml",
        ): "cannot write x.json/r.yaml: there is no folder x.json",
        (tmp_path / "web", "--out", "new/r.yaml"): "cannot write new/r.yaml: there is no folder new",
    }.items():
        code, _, complaint = run(*words)
        assert code == 1
        assert complaint.startswith("error: ")
        assert told in complaint
        assert len(complaint.splitlines()) == 1
    assert not Path("recipe.yaml").exists()
    assert not Path("new").exists()


def test_options_of_an_object_store(run: Run, tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """With --storage-options s3:// paths need no credentials of the environment; the recipe says where they belong."""
    local = tars(tmp_path / "web")
    for name in ("0.tar", "1.tar"):
        Store(s3_options).write_bytes(f"s3://bucket/init-file/{name}", (local / name).read_bytes(), tmp_path)
    (tmp_path / "options.json").write_text(json.dumps(s3_options))
    paths = ("s3://bucket/init-file/0.tar", "s3://bucket/init-file/1.tar")
    assert run(*paths, "--storage-options", str(tmp_path / "options.json"))[0] == 0
    text = Path("recipe.yaml").read_text()
    assert "s3cr3t" not in text
    wanted = text.replace("# storage_options: {}", f"storage_options: {json.dumps(s3_options)}")
    assert wanted != text
    Path("recipe.yaml").write_text(wanted)
    assert built(Path("recipe.yaml"), tmp_path / "out")[1] == ["kept"] * 6


def test_an_object_store(
    run: Run, tmp_path: Path, s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """s3:// paths are looked at with the credentials of the environment, which the recipe does not repeat."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_options["secret"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_options["client_kwargs"]["endpoint_url"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3_options["client_kwargs"]["region_name"])
    local = tars(tmp_path / "web")
    for name in ("0.tar", "1.tar"):
        Store(s3_options).write_bytes(f"s3://bucket/init/{name}", (local / name).read_bytes(), tmp_path)
    assert run("s3://bucket/init")[0] == 0
    assert "s3cr3t" not in Path("recipe.yaml").read_text()
    recipe, decided = built(Path("recipe.yaml"), tmp_path / "out")
    assert (recipe.sources[0].id, recipe.sources[0].path) == ("init", ("s3://bucket/init",))
    assert decided == ["kept"] * 6
