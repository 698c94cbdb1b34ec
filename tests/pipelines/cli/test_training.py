"""Training from the command line: what goes wrong is one sentence and an exit code."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from schemas.sample import Example, Text, Turn
from tests.model.corpora import corpus, item, items, one_of, preset_file, write
from tests.pipelines.crawls import run_inline


def run(*words: object) -> tuple[int, str, str]:
    """Returns exit code, output and complaints of the command `vlcorpus` with these words."""
    done = run_inline(*map(str, words))
    return done.returncode, done.stdout, done.stderr


def _train(folder: Path, *more: object) -> tuple[object, ...]:
    given = ("--device", "cpu", "--stage", "2", "--preset", preset_file(folder), "--out", folder / "out")
    return ("train", folder / "corpus", *given, *more)


def _fails(found: tuple[int, str, str], *words: str) -> None:
    """The command failed, with one sentence that holds the words."""
    code, _, err = found
    complaint = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1
    assert len(complaint) == 1
    assert all(word in complaint[0] for word in words), complaint[0]
    assert "Traceback" not in err


def test_task_without_a_template(tmp_path: Path) -> None:
    """Shards of an unknown task are refused by its name, even beside others that could be read."""
    for split in ("train", "eval"):
        made = item("caption", 0, split=split)
        write(tmp_path / "corpus", [one_of([replace(made.sample.example(0), task="depth")], made.images)])
        write(tmp_path / "corpus", items("caption", 4, split=split))
    _fails(run(*_train(tmp_path)), "depth", "no template")


@pytest.mark.parametrize("workers", [0, 1])
def test_image_out_of_range(tmp_path: Path, workers: int) -> None:
    """A record that points at a picture it has not is refused with shard and row."""
    path = write(tmp_path / "corpus", items("caption", 3))
    table = pq.ParquetFile(path).read()
    lines = [line.as_py().replace('"image":0', '"image":7') for line in table["sample"]]
    at = table.schema.get_field_index("sample")
    pq.write_table(table.set_column(at, "sample", [lines]), path)
    _fails(run(*_train(tmp_path, "--workers", workers)), "00000.parquet, row 0", "image 7")


def test_too_long(tmp_path: Path) -> None:
    """Samples longer than the context are left out, counted in metrics.json and told of."""
    made = []
    for at, words in enumerate(["short words", "long " * 300, "short too"]):
        turn = Turn("document", (Text(words, True),))
        made.append(one_of([Example(f"{at:08x}-text-0", "text", "train", "en", "s", "", (), (turn,))]))
    write(tmp_path / "corpus", made)
    code, out, _ = run(*_train(tmp_path, "--steps", 2))
    assert code == 0
    metrics = json.loads((tmp_path / "out" / "train" / "metrics.json").read_text())
    assert metrics["stage2"]["dropped"]["too_long"] >= 1
    assert "left out samples" in out
    assert "too_long" in out


def test_checkpoint_of_another_preset(tmp_path: Path) -> None:
    """A run that finds another preset's checkpoint says so and leaves it."""
    corpus(tmp_path / "corpus", {"caption": 20})
    words = _train(tmp_path)
    assert run(*words)[0] == 0
    # as if it had been killed at its end
    (tmp_path / "out" / "train" / "stage2" / "config.json").unlink()
    preset = Path(str(words[words.index("--preset") + 1]))
    preset.write_text(preset.read_text().replace("mlp: 32", "mlp: 40"))
    _fails(run(*words), "checkpoint of other settings", "model")


def test_corrupt_checkpoint(tmp_path: Path) -> None:
    """A damaged checkpoint is named, and the run ends well from nothing where there is none before it."""
    corpus(tmp_path / "corpus", {"caption": 20})
    words = _train(tmp_path)
    assert run(*words)[0] == 0
    folder = tmp_path / "out" / "train" / "stage2"
    (folder / "config.json").unlink()
    (checkpoint,) = (folder / "checkpoints").iterdir()
    (checkpoint / "model.safetensors").write_bytes(b"\0" * 100)
    code, out, _ = run(*words)
    assert code == 0
    assert f"{checkpoint.name} is damaged" in out
    assert (folder / "config.json").is_file()


def test_loss_is_no_number(tmp_path: Path) -> None:
    """A loss that is no number stops the run; the batch's keys are told and kept in a file."""
    corpus(tmp_path / "corpus", {"caption": 20})
    words = _train(tmp_path)
    preset = Path(str(words[words.index("--preset") + 1]))
    preset.write_text(preset.read_text().replace("rate: 0.01", "rate: 100.0"))
    _fails(run(*words), "the loss of step", "-caption-0")
    kept = json.loads((tmp_path / "out/train/stage2/not_a_number-rank0.json").read_text())
    assert kept["keys"]


def test_no_gpu(tmp_path: Path) -> None:
    """A GPU that is asked for and is not there is a sentence, in every command that takes a device."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    corpus(tmp_path / "corpus", {"caption": 20})
    corpus(tmp_path / "corpus", {"caption": 5}, split="eval")
    preset = preset_file(tmp_path)
    assert run(*_train(tmp_path, "--steps", 1))[0] == 0
    model = tmp_path / "out" / "train" / "stage2"
    two = (
        "judge",
        tmp_path / "corpus",
        tmp_path / "corpus",
        "--out",
        tmp_path / "judged",
        "--preset",
        preset,
    )
    for words in (
        _train(tmp_path, "--steps", 1),
        ("eval", model, tmp_path / "corpus", "--out", tmp_path / "eval"),
        ("chat", model),
        two,
    ):
        _fails(run(*words, "--device", "cuda"), "GPU")


def test_unknown_names(tmp_path: Path) -> None:
    """Presets, stages and folders that are not there are named."""
    corpus(tmp_path / "corpus", {"caption": 4})
    _fails(run("train", tmp_path / "corpus", "--preset", "huge", "--out", tmp_path), "huge", "tiny")
    _fails(run("train", tmp_path / "corpus", "--stage", "4", "--out", tmp_path), "'4'")
    _fails(run("train", tmp_path / "nowhere", "--out", tmp_path), "nowhere")
    _fails(run("eval", tmp_path / "nowhere", tmp_path / "corpus", "--out", tmp_path), "no saved model")
    _fails(run("chat", tmp_path / "nowhere"), "no saved model")
    _fails(run("judge", tmp_path / "corpus", tmp_path / "corpus", "--out", tmp_path / "j"), "--held-out")
