"""What the command line says of scorers and thresholds that cannot be: one sentence, at once where it can."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.filters.clips import write_model
from tests.pipelines.crawls import environment
from tests.pipelines.raw import shard

WEIGHTS = "open_clip_model.safetensors"

UNREACHABLE = """
import socket
def _no(*arguments, **more):
    raise OSError("Network is unreachable")
socket.create_connection = socket.getaddrinfo = _no
"""


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


def refused(
    tmp_path: Path,
    pictures: Path,
    scorer: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    **more: Any,
) -> str:
    """The sentence with which a build over the pictures ends, exit code 1."""
    source = {"id": "web", "path": str(pictures)}
    record: dict[str, Any] = {"languages": ["en", "zh"], "sources": [source]}
    record["rules"] = {"clip": {"min": 0.1}}
    record["clip"] = {"allow_embedded": True, "scorers": {"default": scorer or {"model": "embedded"}}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(record | more))
    command = [sys.executable, "-m", "pipelines", "build", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--workers", "1"],
        capture_output=True,
        text=True,
        env=environment() | (env or {}),
        timeout=300,
    )
    assert done.returncode == 1, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, done.stderr
    assert done.stderr.rstrip().endswith(said[0]), done.stderr
    return said[0]


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
    scorer: dict[str, Any], says: str, tmp_path: Path, pictures: Path
) -> None:
    """Missing weights and unknown names, with near ones, end the run before its first phase."""
    assert says in refused(tmp_path, pictures, scorer)
    assert not measured(tmp_path)


def test_truncated_weights(tmp_path: Path, pictures: Path, model: Path) -> None:
    """Weights that break off cannot be read."""
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    assert "cannot be read (truncated" in refused(tmp_path, pictures, {"model": f"local-dir:{model}"})


def test_weights_of_another_architecture(tmp_path: Path, pictures: Path, model: Path) -> None:
    """Sound weights of another model are told apart from damaged ones."""
    path = str(model / WEIGHTS)
    assert "another architecture" in refused(tmp_path, pictures, {"model": "ViT-S-32", "pretrained": path})


@pytest.mark.parametrize(
    "scorer",
    [{"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}, {"model": "hf-hub:nobody/no-such-clip"}],
)
def test_no_network(scorer: dict[str, Any], tmp_path: Path, pictures: Path) -> None:
    """Weights that would have to be fetched are refused within seconds where no host answers."""
    (tmp_path / "sitecustomize.py").write_text(UNREACHABLE)
    env = environment()
    env = {"PYTHONPATH": f"{tmp_path}:{env['PYTHONPATH']}", "HOME": str(tmp_path)}
    env |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "")
    assert "cannot be fetched" in refused(tmp_path, pictures, scorer, env)


def test_scores_that_are_no_numbers_stop_the_run(tmp_path: Path, pictures: Path, model: Path) -> None:
    """NaN is never a low score: the run ends, and names rows."""
    state = load_file(model / WEIGHTS)
    state["visual.proj"] = torch.full_like(state["visual.proj"], torch.nan)
    save_file(state, model / WEIGHTS)
    said = refused(tmp_path, pictures, {"model": f"local-dir:{model}"})
    assert "scores that are not numbers for web/a/000000000" in said
    assert not list((tmp_path / "out" / "work").rglob("scores/**/*.parquet"))


def test_a_language_without_a_scorer(tmp_path: Path, pictures: Path) -> None:
    """Captions that no scorer is for end the run, which names their language."""
    said = refused(
        tmp_path, pictures, clip={"allow_embedded": True, "scorers": {"en": {"model": "embedded"}}}
    )
    assert "no scorer for captions in zh; add clip.scorers.default" in said


def test_a_scorer_for_a_language_that_nobody_has(tmp_path: Path, pictures: Path) -> None:
    """A scorer for a language that every source drops is a mistake, told with the languages that are kept."""
    scorers = {"default": {"model": "embedded"}, "fr": {"model": "embedded"}}
    assert "a scorer for 'fr', but no source keeps that language (en, zh are kept)" in refused(
        tmp_path, pictures, clip={"scorers": scorers}
    )
    scorers = {"default": {"model": "embedded"}, "english": {"model": "embedded"}}
    assert "'english' is no language that is known" in refused(tmp_path, pictures, clip={"scorers": scorers})


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
def test_thresholds_that_cannot_be(clip: dict[str, Any], says: str, tmp_path: Path, pictures: Path) -> None:
    """A share outside of 0 to 1, none at all, or two thresholds at once are refused with the line."""
    said = refused(tmp_path, pictures, rules={"clip": clip})
    assert says in said
    assert "recipe.yaml" in said


def test_a_folder_without_scores_cannot_be_calibrated(tmp_path: Path, pictures: Path) -> None:
    """`calibrate` says what is missing."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "calibrate", str(pictures)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1
    assert "has no CLIP scores: add a `clip` block" in done.stderr
