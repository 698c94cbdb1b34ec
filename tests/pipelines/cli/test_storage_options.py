"""Commands that look at a corpus on an object store, with `--storage-options FILE`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import vlcorpus
from pipelines.recipe.load import storage_options
from tests.pipelines.crawls import demo, run_inline

CORPUS = "s3://bucket/options/corpus"


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, s3_options: dict[str, Any]) -> str:
    """The first shard of a corpus with CLIP scores on S3, whose credentials no environment has."""
    source = {"id": "web", "path": str(demo(tmp_path_factory.mktemp("options"), 60, 30))}
    recipe = {
        "sources": [source],
        "clip": {"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}},
        "rules": {"clip": {"keep": 0.9}},
        "storage_options": s3_options,
        "max_quarantine": 1,
    }
    made = vlcorpus.build(recipe, CORPUS, "inline", progress=False)
    names = [name for name in made.manifest.outputs if name.startswith("shards/") and name.endswith(".tar")]
    return f"{CORPUS}/{names[0]}"


@pytest.fixture(params=["yaml", "json"])
def options(request: pytest.FixtureRequest, tmp_path: Path, s3_options: dict[str, Any]) -> Path:
    """A file of storage options; the JSON has a tab before each key, which YAML does not take."""
    path = tmp_path / f"options.{request.param}"
    dumped = yaml.safe_dump(s3_options) if request.param == "yaml" else json.dumps(s3_options, indent="\t")
    path.write_text(dumped)
    return path


def test_every_command_reads_a_corpus_on_s3(shard: str, options: Path, tmp_path: Path) -> None:
    """verify, status, inspect, view, diff and calibrate read it with the options of the file."""
    commands: dict[str, Sequence[str | Path]] = {
        "every file is what its manifest says": ("verify", CORPUS),
        "state: finished": ("status", CORPUS),
        "caption": ("inspect", shard, "-n", "1"),
        "1 sample in": ("view", shard, "-n", "1", "--out", tmp_path / "view.html"),
        "no difference in thresholds": ("diff", CORPUS, CORPUS),
        "the CLIP score threshold that keeps": ("calibrate", CORPUS),
    }
    for expected, command in commands.items():
        done = run_inline(*command, "--storage-options", options)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert expected in done.stdout
    key = vlcorpus.Corpus.open(CORPUS, yaml.safe_load(options.read_text().replace("\t", " "))).samples()
    by_key = ("view", next(key).sample.key, "--corpus", CORPUS, "--out", tmp_path / "key.html")
    assert run_inline(*by_key, "--storage-options", options).stdout.startswith("1 sample in")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.yaml", "key: tester\nsecret: *s3cr3t\n", r"a\.yaml:2: not valid YAML or JSON; write one mapping"),
        ("a.yaml", "s3cr3t", "holds no storage options"),
        ("a.yaml", "", "holds no storage options"),
        ("a.yaml", "1: s3cr3t", "holds no storage options"),
        ("a.yaml", "since: 2026-13-45\nsecret: s3cr3t", "not valid YAML or JSON"),
        ("a.yaml", "storage_options: {secret: s3cr3t}", "give the mapping below storage_options alone"),
        ("a.json", '{"key": "tester",\n"secret": s3cr3t}', r"a\.json:2: not valid YAML or JSON"),
        ("a.json", '["s3cr3t"]', "holds no storage options"),
        ("a.yaml", "secret: s3cr3t\xff", "is UTF-8 text, this is not"),
        ("a.yaml", "a" * (1 << 20) + "s3cr3t", "more than 1,048,576 bytes"),
    ],
)
def test_a_bad_file_is_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    """The sentence names the file and what belongs there, and never repeats what the file holds."""
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    done = run_inline("status", CORPUS, "--storage-options", path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "s3cr3t" not in done.stdout + done.stderr
    with pytest.raises(vlcorpus.Error, match=sentence) as caught:
        storage_options(str(path))
    assert str(caught.value) in done.stderr


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    done = run_inline("verify", CORPUS, "--storage-options", tmp_path / "none.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot read the file of storage options {tmp_path}/none.yaml: no such file" in done.stderr


def test_the_end_of_a_build_on_s3_names_the_option(
    tmp_path: Path, s3_options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command printed at the end has the option on an object store, and not for a local folder."""
    crawl = demo(tmp_path, 20, 20)
    for out, options, expected in (
        (
            "s3://bucket/options/end",
            s3_options,
            "vlcorpus verify s3://bucket/options/end --storage-options FILE",
        ),
        (str(tmp_path / "end"), {}, f"vlcorpus verify {tmp_path / 'end'}\n"),
    ):
        vlcorpus.build(crawl, out, "inline", max_quarantine=1, storage_options=options)
        assert f"check:  {expected}" in capsys.readouterr().out
