"""The face for Python."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest
from PIL import Image

import vlcorpus
from filters.caption import Captions
from pipelines.phases import measure
from schemas.errors import InputError, OutputError, RecipeError, RowError, VerifyError
from tests.pipelines.crawls import decisions, demo
from tests.pipelines.raw import picture, shard

OFF = {"phash": False, "language": False}


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of a small demo crawl."""
    return demo(tmp_path_factory.mktemp("crawl"), 60, 30)


@pytest.fixture(scope="module")
def corpus(crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> vlcorpus.Corpus:
    """A corpus of the crawl."""
    return build(crawl, tmp_path_factory.mktemp("corpus") / "c", splits={"val": 0.2})


def build(recipe: Any, out: Path, **settings: Any) -> vlcorpus.Corpus:
    """A corpus, made inline without a word."""
    return vlcorpus.build(recipe, out, "inline", progress=False, **{"max_quarantine": 0.5, **settings})


def test_it_is_light() -> None:
    """`import vlcorpus` loads neither Arrow nor pydantic nor an engine: a notebook's first cell is quick."""
    heavy = ("pyarrow", "pydantic", "numpy", "rich", "torch", "ray")
    code = f"import vlcorpus, sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_recipe_in_every_form(crawl: Path, tmp_path: Path) -> None:
    """A path, a mapping, a Recipe and bare inputs give the same corpus; settings stand above the recipe's own."""
    record = {"sources": [{"id": "input", "path": str(crawl)}], "languages": ["en"], "seed": 5}
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(record))
    recipe = vlcorpus.Recipe.model_validate({**record, "max_quarantine": 0.5})
    manifests = {
        build(given, tmp_path / name, **more).manifest.dump()
        for name, given, more in (
            ("file", file, {}),
            ("text", str(file), {}),
            ("mapping", record, {}),
            ("paths", {**record, "sources": [{"id": "input", "path": [crawl]}]}, {}),
            ("recipe", recipe, {}),
            ("above", {**record, "languages": ["zh"]}, {"languages": ["en"]}),
        )
    }
    assert len(manifests) == 1
    assert build([crawl], tmp_path / "inputs").funnel()["input"].rows == 60


def test_what_is_in_it(corpus: vlcorpus.Corpus) -> None:
    """Funnel, decisions, signals and samples tell the same numbers."""
    funnel = corpus.funnel()["input"]
    table = corpus.decisions().to_table()
    assert table.to_pylist() == decisions(Path(corpus.folder))
    assert table["decision"].to_pylist().count("kept") == funnel.kept > 0
    assert isinstance(corpus.signals(), pads.Dataset)
    assert corpus.signals().count_rows() == funnel.rows == 60
    examples = list(corpus.samples())
    assert len(examples) == funnel.kept
    assert {example.sample.split for example in examples} == {"train", "val"}
    for example in examples:
        stored = example.sample.images[0]
        assert example.image().size == (stored.width, stored.height)
    assert f"{funnel.kept} samples from 60 rows" in repr(corpus)


def test_samples_of_one_kind(corpus: vlcorpus.Corpus) -> None:
    """Samples are asked for by split, task and source."""
    train, val = (list(corpus.samples(split=split)) for split in ("train", "val"))
    assert {one.sample.split for one in train} == {"train"}
    assert len(train) + len(val) == len(list(corpus.samples(task="caption", source="input")))
    assert list(corpus.samples(task="ocr")) == []


def test_parquet_shards(crawl: Path, tmp_path: Path, corpus: vlcorpus.Corpus) -> None:
    """Shards in Parquet give the samples and images that tars give."""
    other = build(crawl, tmp_path / "c", splits={"val": 0.2}, shards={"format": "parquet"})
    wanted = {one.sample.key: one.images for one in corpus.samples()}
    assert {one.sample.key: one.images for one in other.samples()} == wanted


def test_sql(corpus: vlcorpus.Corpus) -> None:
    """DuckDB answers over decisions and signals; a table that no phase wrote is empty."""
    answer = corpus.sql(
        "SELECT decision, count(*) AS n, min(width) AS w FROM decisions JOIN signals USING (source, shard, member) "
        "GROUP BY 1 ORDER BY 1"
    ).to_pylist()
    assert sum(row["n"] for row in answer) == 60
    assert corpus.sql("SELECT count(*) AS n FROM scores").to_pylist() == [{"n": 0}]
    assert corpus.sql("SELECT count(*) AS n FROM clusters").to_pylist()[0]["n"] > 0


def test_in_a_notebook(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """The HTML shows the funnel and images, and what captions and folders hold cannot break out of it."""
    html = corpus._repr_html_()
    assert "<td>60</td>" in html
    assert html.count("<img") == 4
    said = "A flower that is < 5 cm and > 2 cm high, of the class 'rose', & a hedge"
    shard(tmp_path / "in/0.tar", range(2), {0: said})
    hostile = build(tmp_path / "in", tmp_path / "<b>out", rules=OFF, languages=["en"])
    page = hostile._repr_html_()
    assert said in [example.sample.caption for example in hostile.samples()]
    assert "&lt; 5 cm" in page
    assert "< 5 cm" not in page
    assert "<b>out" not in page


def test_verify(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """`verify` gives a sentence for each difference."""
    assert corpus.verify() == []
    copy = tmp_path / "c"
    shutil.copytree(corpus.folder, copy)
    (copy / "README.md").write_text("other")
    assert "README.md" in vlcorpus.Corpus.open(copy).verify()[0]


def test_folders_that_hold_no_corpus(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """A missing, an empty, a foreign, a half-built folder and a damaged manifest: one sentence each."""
    with pytest.raises(InputError, match="there is no folder"):
        vlcorpus.Corpus.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no corpus: it has no manifest\.json"):
        vlcorpus.Corpus.open(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no corpus"):
        vlcorpus.Corpus.open(tmp_path)
    half = tmp_path / "half"
    shutil.copytree(corpus.folder, half)
    (half / "manifest.json").unlink()
    with pytest.raises(InputError, match="not finished: run the command that builds it again"):
        vlcorpus.Corpus.open(half)
    (half / "manifest.json").write_text("{}")
    with pytest.raises(
        VerifyError, match=r"half holds no corpus that can be read: manifest\.json is not a manifest"
    ):
        vlcorpus.Corpus.open(half)
    with pytest.raises(InputError, match="is a file: give the folder of a corpus"):
        vlcorpus.Corpus.open(half / "manifest.json")


def test_a_corpus_without_work(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """A corpus whose work/ was removed still gives samples; decisions are gone, with a sentence."""
    copy = tmp_path / "c"
    shutil.copytree(corpus.folder, copy)
    shutil.rmtree(copy / "work")
    opened = vlcorpus.Corpus.open(copy)
    assert len(list(opened.samples())) == opened.funnel()["input"].kept
    with pytest.raises(InputError, match="was removed"):
        opened.decisions()


def test_a_shard_that_lost_its_index(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """A shard that is not what the manifest says is an error, and a notebook still shows the funnel."""
    copy = tmp_path / "c"
    shutil.copytree(corpus.folder, copy)
    for index in copy.glob("shards/*/*/*/*.parquet"):
        index.unlink()
    opened = vlcorpus.Corpus.open(copy)
    with pytest.raises(InputError, match="its index is missing"):
        list(opened.samples())
    assert "its index is missing" in opened._repr_html_()


def test_a_shard_that_was_cut(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """A tar that is shorter than its index says is an error, never a shorter image."""
    copy = tmp_path / "c"
    shutil.copytree(corpus.folder, copy)
    for tar in copy.glob("shards/train/*/*/*.tar"):
        tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    opened = vlcorpus.Corpus.open(copy)
    with pytest.raises(InputError, match=r"\.tar ends inside \w+\.jpg: copy it again"):
        list(opened.samples(split="train"))
    assert "copy it again" in opened._repr_html_() or opened._repr_html_().count("<img") == 4


def test_a_shard_whose_images_changed(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """An image whose bytes are not those that its sample describes is an error."""
    copy = tmp_path / "c"
    shutil.copytree(corpus.folder, copy)
    for tar in copy.glob("shards/train/*/*/*.tar"):
        whole = tar.read_bytes()
        tar.write_bytes(whole.replace(b"\xff\xd8\xff", b"\xff\xd8\xfe"))
    with pytest.raises(InputError, match=r"image 0 of the sample \w+ is cut or damaged"):
        list(vlcorpus.Corpus.open(copy).samples(split="train"))


def test_a_corpus_of_another_version(corpus: vlcorpus.Corpus, tmp_path: Path) -> None:
    """A manifest of an earlier version is named as that, with what to do."""
    copy = tmp_path / "c"
    shutil.copytree(corpus.folder, copy)
    record = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(record | {"schema_version": 1}))
    with pytest.raises(VerifyError, match=r"of another version of vlcorpus: build the corpus again"):
        vlcorpus.Corpus.open(copy)


def test_two_builds_at_once(crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second build into a folder in use is refused with a sentence; the first ends well."""
    entered, go_on = threading.Event(), threading.Event()
    sound = measure.Measure.run

    def waiting(self: measure.Measure, task: Any, at: Any) -> Any:
        entered.set()
        go_on.wait(60)
        return sound(self, task, at)

    monkeypatch.setattr(measure.Measure, "run", waiting)
    first: list[vlcorpus.Corpus] = []
    thread = threading.Thread(target=lambda: first.append(build(crawl, tmp_path / "c")))
    thread.start()
    assert entered.wait(60)
    with pytest.raises(OutputError, match=r"another run|in use"):
        build(crawl, tmp_path / "c")
    go_on.set()
    thread.join()
    assert first[0].verify() == []


def test_a_mistake_in_a_worker(crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under inline a programmer's error propagates as itself, and its notes name the row."""

    def broken(self: Any, data: Any, *, pair: bool) -> None:
        raise ZeroDivisionError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr(measure.Measurer, "image", broken)
        with pytest.raises(ZeroDivisionError) as raised:
            build(crawl, tmp_path / "c")
    assert any("row input/00000/" in note for note in raised.value.__notes__)
    assert any("phase measure" in note for note in raised.value.__notes__)
    monkeypatch.setattr(Captions, "measure", broken)
    with pytest.raises(TypeError) as raised_later:
        build(crawl, tmp_path / "c")
    assert any("rows input/00000/" in note for note in raised_later.value.__notes__)


def test_mistakes_of_the_caller(crawl: Path, tmp_path: Path) -> None:
    """An unknown engine, setting or file, and a value that no recipe can hold, are sentences."""
    with pytest.raises(InputError, match=r"no engine 'spark': give inline, local, ray, beam"):
        vlcorpus.build(crawl, tmp_path / "c", "spark")
    with pytest.raises(RecipeError, match="unknown key langages; did you mean languages"):
        build(crawl, tmp_path / "c", langages=["en"])
    with pytest.raises(RecipeError, match=r"^the recipe: unknown key rules\.min_sid"):
        build({"sources": [{"id": "a", "path": "x"}], "rules": {"min_sid": 3}}, tmp_path / "c")
    with pytest.raises(InputError, match="workers is -1: give a number from 1 up"):
        vlcorpus.build(crawl, tmp_path / "c", workers=-1)
    with pytest.raises(InputError, match="the engine inline has none"):
        vlcorpus.build(crawl, tmp_path / "c", "inline", workers=2)
    with pytest.raises(InputError, match="workers stands beside an Engine"):
        vlcorpus.build(crawl, tmp_path / "c", vlcorpus.Engine("local"), workers=2)
    with pytest.raises(RecipeError, match=r"a recipe is the path of a YAML file, .* not a NoneType"):
        build(None, tmp_path / "c")
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        build(tmp_path / "none.yaml", tmp_path / "c")
    with pytest.raises(RecipeError, match="a value that JSON does not know"):
        build({"sources": [{"id": "a", "path": "x"}], "seed": object()}, tmp_path / "c")


def test_images_that_are_none() -> None:
    """An example whose bytes are no image says so."""
    example = vlcorpus.Example(sample=None, images=(b"text", picture(1)))  # type: ignore[arg-type]
    assert isinstance(example.image(1), Image.Image)
    with pytest.raises(RowError, match="not_image: the bytes are not a picture"):
        example.image()


def test_progress(crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default progress and funnel are printed; with progress=False nothing is."""
    vlcorpus.build(crawl, tmp_path / "c", "inline", max_quarantine=0.5)
    printed = capsys.readouterr()
    assert "measure: 2/2" in printed.err
    assert "what became of the rows" in printed.out
    build(crawl, tmp_path / "c")
    assert capsys.readouterr() == ("", "")


def test_schema() -> None:
    """The schema names the keys of a recipe."""
    assert {"sources", "rules", "languages"} <= vlcorpus.schema()["properties"].keys()
