"""The command line: every command's good and bad use, by exit code and by what it says."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.pipelines.crawls import build_inline, demo, run_inline, vlcorpus


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo crawl of forty rows: shards/ and the truth beside."""
    folder = tmp_path_factory.mktemp("cli") / "demo"
    demo(folder, 40, 20)
    return folder


@pytest.fixture(scope="module")
def corpus(crawl: Path) -> Path:
    """The corpus of that crawl."""
    out = crawl.parent / "corpus"
    build_inline(crawl / "shards", "--out", out, "--max-quarantine", "1")
    return out


@pytest.fixture
def recipe(crawl: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe with changes; gives its path."""

    def write(**changes: object) -> Path:
        source = {"id": "web", "path": str(crawl / "shards"), "columns": "img2dataset", "max_quarantine": 1}
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"sources": [source], "out": str(tmp_path / "made")} | changes))
        return path

    return write


def bad(*arguments: str | Path, code: int = 1) -> str:
    """Returns what a wrong command says on standard error: one error, without a traceback."""
    return refused(run_inline(*arguments), code)


def refused(done: "subprocess.CompletedProcess[str]", code: int = 1) -> str:
    """Returns the one error on standard error of a command that ended with the code."""
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    if code == 1:
        assert done.stderr.count("error: ") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("build",), ("build", "x", "--engine", "spark"), ("build", "x", "--workers", "0")],
)
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    """A command or option that does not exist is exit code 2 with the usage."""
    assert "Usage" in bad(*arguments, code=2)


def test_every_phase_is_a_command(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """Phases one by one lead to the corpus that `build` makes; each does what is not done yet."""
    path = recipe()
    for phase in ("measure", "dedup", "select", "compose", "shard", "card"):
        done = run_inline(phase, path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "made" / "manifest.json").exists() == (phase == "card")
    build_inline(path, "--out", tmp_path / "built")
    assert (tmp_path / "built/manifest.json").read_bytes() == (tmp_path / "made/manifest.json").read_bytes()


def test_dry_run(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """`select --dry-run` tells the funnel that a threshold would give, and leaves decisions and manifest alone."""
    assert run_inline("build", recipe()).returncode == 0
    made = tmp_path / "made"
    before = {
        path: path.read_bytes() for path in made.rglob("*") if path.is_file() and "log" not in path.parts
    }
    strict = recipe(rules={"aspect_ratio": {"max": 1.01}})
    done = run_inline("select", strict, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])["funnel"]["web"]
    now = json.loads((made / "manifest.json").read_text())["funnel"]["web"]
    assert told["rows"] == now["rows"]
    assert told["kept"] < now["kept"]
    after = {
        path: path.read_bytes() for path in made.rglob("*") if path.is_file() and "log" not in path.parts
    }
    assert after == before


def test_json_is_for_machines(recipe: Callable[..., Path]) -> None:
    """With --json every line of standard output is a JSON object, the funnel last."""
    done = run_inline("build", recipe(), "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events} >= {"begin", "end", "funnel"}
    assert events[-1]["event"] == "funnel"
    assert events[-1]["funnel"]["web"]["rows"] == 40
    ends = {event["phase"]: event["rows"] for event in events if event["event"] == "end"}
    assert ends["measure"] == 40


def test_a_person_sees_the_funnel(recipe: Callable[..., Path]) -> None:
    """Without a terminal there are plain lines on standard error, and the funnel on standard output."""
    done = vlcorpus("build", recipe(), "--workers", "1")
    assert "measure: 2/2" in done.stderr
    assert "source web" in done.stdout
    assert "kept" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"langs": ["en"]}, "recipe.yaml:1: unknown key langs; did you mean languages?"),
        ({"sources": []}, "sources"),
        (
            {"sources": [{"id": "x", "path": "/nowhere/at/all"}]},
            "source x: /nowhere/at/all does not exist",
        ),
        ({"sources": [{"id": "x", "path": "ftp://a/b"}]}, "only local paths and file://"),
        ({"signals": {"language": {"model": "/no/model"}}}, "/no/model"),
    ],
)
def test_a_wrong_recipe(recipe: Callable[..., Path], changes: dict[str, object], sentence: str) -> None:
    """What is wrong with a recipe is told in one sentence before or as soon as it is met."""
    assert sentence in bad("build", recipe(**changes))


def test_bad_inputs(tmp_path: Path, crawl: Path) -> None:
    """Inputs that are not there, or hold nothing to read, are one sentence."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "cannot read the recipe" in bad("build", tmp_path / "no.yaml")
    assert "does not exist" in bad("build", tmp_path / "no.tar", "--out", tmp_path / "out")
    assert "source input" in bad("build", empty, "--out", tmp_path / "out")
    assert "source input" in bad("build", tmp_path / "*.nothing", "--out", tmp_path / "out")
    done = run_inline("build", crawl / "shards", "--out", tmp_path / "out", "--sample", "2")
    assert (done.returncode, "--sample" in done.stderr) == (2, True)
    for languages, told in ((",", "names no language"), ("english", "'english' is no language")):
        assert told in bad("build", crawl / "shards", "--out", tmp_path / "out", "--language", languages)
    assert "kind" in bad("build", crawl / "shards", "--out", tmp_path / "out", "--kind", "zip")
    assert "no does not exist: give a folder with tokenizer.json" in bad(
        "build", crawl / "shards", "--out", tmp_path / "out", "--tokenizer", tmp_path / "no"
    )
    assert "verdicts" in bad(
        "build", crawl / "shards", "--out", tmp_path / "out", "--verdicts", tmp_path / "no"
    )
    (tmp_path / "v.json").write_text('{"a": 1}')
    assert "manifest.json" in bad(
        "build", crawl / "shards", "--out", tmp_path / "out", "--verdicts", tmp_path / "v.json"
    )


def test_options_of_other_engines(crawl: Path, tmp_path: Path) -> None:
    """An option of another engine is refused instead of ignored."""
    common = ("build", crawl / "shards", "--out", tmp_path / "out")
    assert "needs the engine ray" in bad(*common, "--address", "h:1")
    assert "needs the engine beam" in bad(*common, "--", "--runner=X")
    assert "need the engine local" in bad(*common, "--engine", "inline", "--workers", "2")


def test_no_cluster(crawl: Path, tmp_path: Path) -> None:
    """An address where no cluster answers is one sentence, at once."""
    pytest.importorskip("ray", reason="the Ray tests need the extra ray")
    wrong = ("--engine", "ray", "--address", "127.0.0.1:1")
    said = refused(vlcorpus("build", crawl / "shards", "--out", tmp_path / "out", *wrong))
    assert "no Ray cluster answers at 127.0.0.1:1" in said


def test_a_wrong_runner(crawl: Path, tmp_path: Path) -> None:
    """A Beam runner that does not exist is one sentence."""
    pytest.importorskip("apache_beam", reason="the Beam tests need the extra beam")
    wrong = ("--engine", "beam", "--", "--runner=Nobody")
    said = refused(vlcorpus("build", crawl / "shards", "--out", tmp_path / "out", *wrong))
    assert "Nobody" in said


@pytest.mark.parametrize("engine", ["ray", "beam"])
def test_an_engine_without_its_package(
    crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """An engine whose package is not installed says how to install it: in a checkout, and by the package's name."""
    package, named = {"ray": ("ray", "ray"), "beam": ("apache_beam", "apache-beam")}[engine]
    monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in sys.modules if name.startswith(f"pipelines.engines.{engine}")]:
        monkeypatch.delitem(sys.modules, module)
    said = bad("build", crawl / "shards", "--out", tmp_path / "out", "--engine", engine)
    assert f"run `make install` in the checkout, or pip install {named}" in said


def test_verify(corpus: Path, tmp_path: Path) -> None:
    """0 where all is well, 1 with what differs, and 1 with a sentence where there is no corpus."""
    assert run_inline("verify", corpus).returncode == 0
    stray = corpus / "stray.txt"
    stray.touch()
    done = run_inline("verify", corpus)
    stray.unlink()
    assert done.returncode == 1
    assert "stray.txt" in done.stdout
    assert "holds no corpus" in bad("verify", tmp_path)


def test_inspect(corpus: Path, tmp_path: Path) -> None:
    """Samples of a shard as text, or as a page; what is no shard is a sentence."""
    shard = next(corpus.glob("shards/train/caption/*/*.tar"))
    assert run_inline("inspect", shard, "--n", "2").returncode == 0
    page = tmp_path / "page.html"
    assert run_inline("inspect", shard, "--html", page).returncode == 0
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    bad("inspect", tmp_path / "no.tar")
    with tarfile.open(tmp_path / "other.tar", "w"):
        pass
    run_inline("inspect", tmp_path / "other.tar")


def test_diff(corpus: Path, tmp_path: Path) -> None:
    """Two corpora side by side; a folder that is none is a sentence."""
    assert run_inline("diff", corpus, corpus).returncode == 0
    bad("diff", corpus, tmp_path)


def test_status(corpus: Path, tmp_path: Path) -> None:
    """The state of a corpus for people and machines; a folder that is none is a sentence."""
    assert "state: finished" in run_inline("status", corpus).stdout
    assert json.loads(run_inline("status", corpus, "--json").stdout)["finished"]
    assert "holds no corpus" in bad("status", tmp_path)


def test_schema() -> None:
    """The recipe's JSON Schema."""
    assert "sources" in json.loads(run_inline("schema").stdout)["properties"]


def test_synth_crawl(tmp_path: Path) -> None:
    """Makes a crawl; an output that cannot be written is a sentence."""
    assert run_inline("synth", "crawl", "--out", tmp_path / "crawl", "--n", "3").returncode == 0
    assert (tmp_path / "crawl" / "truth.jsonl").exists()
    (tmp_path / "file").touch()
    bad("synth", "crawl", "--out", tmp_path / "file" / "x", "--n", "3")


def test_synth_score(crawl: Path, corpus: Path, tmp_path: Path) -> None:
    """Precision and recall against the truth; another folder is a sentence."""
    done = run_inline("synth", "score", corpus, crawl)
    assert done.returncode == 0, done.stderr
    bad("synth", "score", corpus, tmp_path)
    bad("synth", "score", tmp_path, crawl)
