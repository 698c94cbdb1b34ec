"""What the command line says of scorers and thresholds that cannot be: one sentence, at once where it can."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from pipelines.cli import main
from tests.filters.clips import write_model
from tests.pipelines.crawls import demo, environment, vlcorpus
from tests.pipelines.raw import shard

HOUSE = Path(__file__).parent.parent.parent.parent
WEIGHTS = "open_clip_model.safetensors"

FORBIDDEN = """
import sys
for name in ("torch", "torchvision", "open_clip", "transformers", "timm"):
    sys.modules[name] = None
"""
"""A sitecustomize.py with which an import of these fails in every process."""

Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of three pairs, one of them in Chinese."""
    folder = tmp_path_factory.mktemp("clip-cli") / "in"
    shard(folder / "a.tar", range(3), {2: "花园里有一朵红色的花和一棵树"})
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small CLIP in a folder, to be spoilt."""
    return write_model(tmp_path / "model")


def command(path: Path, scorer: dict[str, Any] | None, **more: Any) -> list[str]:
    """`build` of the images with that scorer into path/out, as its recipe says."""
    record: dict[str, Any] = {"languages": ["en", "zh"], "sources": [{"id": "web", "path": str(path / "in")}]}
    record["rules"] = {"clip": {"min": 0.1}}
    record["clip"] = {"allow_embedded": True, "scorers": {"default": scorer or {"model": "embedded"}}}
    (path / "recipe.yaml").write_text(yaml.safe_dump(record | more))
    return ["build", str(path / "recipe.yaml"), "--out", str(path / "out")]


def sentence(stderr: str) -> str:
    """The one error on stderr, which ends with it."""
    assert "Traceback" not in stderr, stderr
    said = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, stderr
    assert stderr.rstrip().endswith(said[0]), stderr
    return said[0]


@pytest.fixture
def refused(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refuse:
    """The sentence with which a build in this process ends, exit code 1."""
    (tmp_path / "in").symlink_to(pictures)

    def refuse(scorer: dict[str, Any] | None = None, **more: Any) -> str:
        arguments = command(tmp_path, scorer, **more)
        monkeypatch.setattr(sys, "argv", ["vlcorpus", *arguments, "--engine", "inline"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        return sentence(capsys.readouterr().err)

    return refuse


def measured(tmp_path: Path) -> bool:
    """Whether any work was done before the refusal."""
    return (tmp_path / "out" / "work" / "signals").exists()


@pytest.mark.parametrize(
    ("scorer", "says"),
    [
        ({"model": "ViT-B-32", "pretrained": "nowhere/model.pt"}, "no weights at nowhere/model.pt"),
        ({"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79"}, "laion2b_s34b_b79k"),
        ({"model": "VitB32", "pretrained": "openai"}, "ViT-B-32"),
        ({"model": "local-dir:nowhere"}, "nowhere holds no open_clip_config.json"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_measured(
    scorer: dict[str, Any], says: str, tmp_path: Path, refused: Refuse
) -> None:
    """Missing weights and unknown names, with near ones, end the run before its first phase."""
    assert says in refused(scorer)
    assert not measured(tmp_path)


def test_truncated_weights(tmp_path: Path, pictures: Path, model: Path) -> None:
    """Weights that break off cannot be read: what a worker process finds ends the whole command."""
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in").symlink_to(pictures)
    arguments = command(tmp_path, {"model": f"local-dir:{model}"})
    done = vlcorpus(*arguments, "--workers", "1", limit=300)
    assert done.returncode == 1
    assert "cannot be read (truncated" in sentence(done.stderr)


def test_weights_of_another_architecture(refused: Refuse, model: Path) -> None:
    """Sound weights of another model are told apart from damaged ones."""
    path = str(model / WEIGHTS)
    assert "another architecture" in refused({"model": "ViT-S-32", "pretrained": path})


@pytest.mark.parametrize(
    "scorer",
    [{"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}, {"model": "hf-hub:nobody/no-such-clip"}],
)
def test_no_network(
    scorer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refuse
) -> None:
    """Weights that would have to be fetched are refused where no host answers."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert "cannot be fetched" in refused(scorer)


def test_scores_that_are_no_numbers_stop_the_run(tmp_path: Path, refused: Refuse, model: Path) -> None:
    """NaN is never a low score: the run ends, and names rows."""
    state = load_file(model / WEIGHTS)
    state["visual.proj"] = torch.full_like(state["visual.proj"], torch.nan)
    save_file(state, model / WEIGHTS)
    said = refused({"model": f"local-dir:{model}"})
    assert "scores that are not numbers for web/a/000000000" in said
    assert not list((tmp_path / "out" / "work").rglob("scores/**/*.parquet"))


def test_a_language_without_a_scorer(refused: Refuse) -> None:
    """Captions that no scorer is for end the run, which names their language."""
    said = refused(clip={"allow_embedded": True, "scorers": {"en": {"model": "embedded"}}})
    assert "no scorer for captions in zh; add clip.scorers.default" in said


def test_a_scorer_for_a_language_that_nobody_has(refused: Refuse) -> None:
    """A scorer for a language that every source drops is a mistake, told with the languages that are kept."""
    scorers = {"default": {"model": "embedded"}, "fr": {"model": "embedded"}}
    assert "a scorer for 'fr', but no source keeps that language (en, zh are kept)" in refused(
        clip={"scorers": scorers}
    )
    scorers = {"default": {"model": "embedded"}, "english": {"model": "embedded"}}
    assert "'english' is no language that is known" in refused(clip={"scorers": scorers})


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        ({"keep": 1.5}, "less than or equal to 1"),
        ({"keep": 0}, "greater than 0"),
        ({"keep": 0.5, "min": 0.28}, "either min or keep, not both"),
        ({"min": 28}, "less than or equal to 1"),
        ({"languages": {"zh": {}}}, "min or keep"),
    ],
)
def test_thresholds_that_cannot_be(clip: dict[str, Any], says: str, refused: Refuse) -> None:
    """A share outside of 0 to 1, none at all, or two thresholds at once are refused with the line."""
    said = refused(rules={"clip": clip})
    assert says in said
    assert "recipe.yaml" in said


def test_a_folder_without_scores_cannot_be_calibrated(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`calibrate` says what is missing."""
    monkeypatch.setattr(sys, "argv", ["vlcorpus", "calibrate", str(pictures)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "has no CLIP scores: add a `clip` block" in sentence(capsys.readouterr().err)


def test_another_scorer_without_its_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path, refused: Refuse
) -> None:
    """Where open_clip is not installed, every scorer but the embedded one ends the run before its first phase."""
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for scorer in ({"model": "ViT-B-32", "pretrained": "openai"}, {"model": f"local-dir:{model}"}):
        assert "run `make install`" in refused(scorer)
    assert not measured(tmp_path)


def test_a_corpus_needs_no_torch(tmp_path: Path) -> None:
    """The demo's crawl, its build with the embedded scorer, its truth and its check import nothing of torch."""
    (tmp_path / "sitecustomize.py").write_text(FORBIDDEN)
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    shards, out = demo(tmp_path / "demo", 40, 20), tmp_path / "out"
    recipe = (HOUSE / "recipes" / "demo.yaml").read_text().replace("demo/shards", str(shards))
    (tmp_path / "recipe.yaml").write_text(recipe)
    for arguments in (
        ("synth", "crawl", "--out", str(tmp_path / "again"), "--n", "8"),
        ("build", str(tmp_path / "recipe.yaml"), "--out", str(out), "--max-quarantine", "1"),
        ("synth", "score", str(out), str(tmp_path / "demo")),
        ("verify", str(out)),
    ):
        command = [sys.executable, "-m", "pipelines", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
        assert done.returncode == 0, done.stderr
    scores = [pq.read_table(path) for path in (out / "work" / "scores").rglob("*.parquet")]
    assert sum(table.num_rows for table in scores) > 0
    versions = json.loads((out / "manifest.json").read_text())["versions"]
    assert "onnxruntime" in versions
    assert "torch" not in versions
