"""Training runs: resumed, stopped, refused."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

from model import checkpoint, journal
from model.settings import Place, TrainConfig, stages_for
from model.train import LossError, run
from schemas.errors import InputError, RecipeError
from tests.model.corpora import corpus, preset_file

COUNTS = {"caption": 40, "vqa": 45, "referring": 30, "text": 30, "chat": 20}


def config(folder: Path, out: str = "out", **given: object) -> TrainConfig:
    """A run of stage 2 on a small corpus that lies in `folder`."""
    if not (folder / "shards").is_dir():
        corpus(folder, COUNTS)
    made = TrainConfig(
        str(folder), folder / out, ("2",), preset_file(folder), device="cpu", threads=1, checkpoint_every=3
    )
    return replace(made, **given)  # type: ignore[arg-type]


def losses(made: TrainConfig, stage: str = "stage2") -> list[tuple[int, float]]:
    return [(one["step"], one["loss"]) for one in journal.read(made.folder / stage / journal.LOG)]


def test_all_stages(tmp_path: Path) -> None:
    """All stages run one after the other, each from the one before, and leave models, logs and curves."""
    made = config(tmp_path, stages=("primer", "language", "sight", "1", "2", "3"))
    found = run(made)
    assert list(found) == ["primer", "language", "sight", "stage1", "stage2", "stage3"]
    metrics = json.loads((made.folder / "metrics.json").read_text())
    for title in found:
        folder = made.folder / title
        model, tokenizer = checkpoint.from_pretrained(folder)
        assert tokenizer.size <= model.config.language.vocab
        records = journal.read(folder / journal.LOG)
        assert [one["step"] for one in records] == list(range(1, 9))
        # the curves are drawn where matplotlib is installed
        if find_spec("matplotlib"):
            assert (folder / journal.CURVES).read_bytes().startswith(b"\x89PNG")
        assert metrics[title]["steps"] == 8
        assert {"tokens_per_s", "mfu", "wait"} <= records[0].keys()
    first, second = (checkpoint.from_pretrained(made.folder / title)[0] for title in ("language", "stage1"))
    assert torch.equal(first.language.lm_head.weight, second.language.lm_head.weight)
    assert not torch.equal(first.adapter.query, second.adapter.query)
    assert checkpoint.side_of(made.folder / "stage1", first.config) == 16
    assert checkpoint.side_of(made.folder / "stage2", first.config) == 32
    third = journal.read(made.folder / "stage3" / journal.LOG)
    assert set(third[0]["tasks"]) == {"chat"}
    assert "vision" not in third[0]["gradient"]


def test_stages_for(tmp_path: Path) -> None:
    """`all` stands for the stages that the corpus can feed, after `language` where that part starts at random;
    `sight` needs grounded samples, `primer` what its mixture names."""
    made = config(tmp_path)
    assert stages_for(made) == ("language", "sight", "1", "2", "3")
    assert stages_for(replace(made, init={"language": "x"})) == ("1", "2", "3")
    other = corpus(tmp_path / "text", {"text": 4})
    assert stages_for(replace(made, corpus=str(other))) == ("language", "2")
    document = yaml.safe_load(Path(made.preset).read_text())
    document["stages"]["primer"]["mixture"] = {"vqa/s": 1, "referring/s": 1}
    primed = tmp_path / "primed.yaml"
    primed.write_text(yaml.safe_dump(document))
    assert stages_for(replace(made, preset=str(primed)))[0] == "primer"
    document["stages"]["primer"]["mixture"] = {"vqa/elsewhere": 1}
    primed.write_text(yaml.safe_dump(document))
    assert stages_for(replace(made, preset=str(primed)))[0] == "language"


def test_a_presets_mixture_leaves_out_what_the_corpus_lacks(tmp_path: Path) -> None:
    """A preset may name sources that only some corpora hold; a mixture of one's own must fit."""
    made = config(tmp_path, stages=("2",), steps=2)
    document = yaml.safe_load(Path(made.preset).read_text())
    document["stages"]["2"]["mixture"] = {"vqa/*": 1, "caption/elsewhere": 5}
    mixed = tmp_path / "mixed.yaml"
    mixed.write_text(yaml.safe_dump(document))
    run(replace(made, preset=str(mixed)))
    assert {task for one in journal.read(made.folder / "stage2" / journal.LOG) for task in one["tasks"]} == {
        "vqa"
    }
    with pytest.raises(InputError, match="elsewhere"):
        run(replace(made, out=tmp_path / "own", overrides={"2": {"mixture": {"caption/elsewhere": 1}}}))


def test_workers(tmp_path: Path) -> None:
    """Loader processes are as many as asked for; else a number for the device, whatever the host."""
    made = config(tmp_path)
    cpu, gpu = (torch.device(name) for name in ("cpu", "cuda:0"))
    assert [Place(made, 0, 1, device).workers for device in (cpu, gpu)] == [0, 4]
    assert [Place(replace(made, workers=2), 0, 1, device).workers for device in (cpu, gpu)] == [2, 2]


def test_learns(tmp_path: Path) -> None:
    """The loss falls."""
    made = config(tmp_path, steps=40)
    run(made)
    found = [loss for _, loss in losses(made)]
    assert sum(found[-4:]) < 0.6 * sum(found[:4])


def test_stopped_and_resumed(tmp_path: Path) -> None:
    """A run stopped after any step and started again has the losses of one that was never stopped."""
    whole = config(tmp_path, "whole")
    run(whole)
    for stop in (1, 4, 6):
        parts = config(tmp_path, f"parts{stop}")
        run(replace(parts, stop_after=stop))
        assert not (parts.folder / "stage2" / "config.json").exists()
        run(parts)
        assert losses(parts) == losses(whole)
    weights = [checkpoint.read_weights(one.folder / "stage2" / checkpoint.WEIGHTS) for one in (whole, parts)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


KILLED = """
import os, signal
from pathlib import Path
from model.journal import Journal
from model.settings import TrainConfig
from model.train import run
noted = Journal.step
def step(self, record):
    noted(self, record)
    if record["step"] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.step = step
run(TrainConfig({corpus!r}, Path({out!r}), ('2',), {preset!r}, device='cpu', threads=1, checkpoint_every=3))
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    """A process killed outright goes on from its checkpoint with the same losses."""
    whole, cut = config(tmp_path, "whole"), config(tmp_path, "cut")
    run(whole)
    code = KILLED.format(corpus=cut.corpus, out=str(cut.out), preset=cut.preset)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [step for step, _ in losses(cut)] == list(range(1, 8))
    run(cut)
    assert losses(cut) == losses(whole)


def test_accumulation(tmp_path: Path) -> None:
    """Smaller micro-batches give the same step: the loss is the mean over all supervised tokens."""
    one = config(tmp_path, "one", overrides={"2": {"batch": 4, "micro": 4, "pool": 128}})
    two = config(tmp_path, "two", overrides={"2": {"batch": 4, "micro": 1, "pool": 128}})
    run(one)
    run(two)
    assert [loss for _, loss in losses(one)] == pytest.approx([loss for _, loss in losses(two)], rel=1e-4)


def test_done_stage_is_kept(tmp_path: Path) -> None:
    """A stage that is done is not trained again."""
    made = config(tmp_path)
    first = run(made)
    before = (made.folder / "stage2" / checkpoint.WEIGHTS).stat().st_mtime_ns
    assert run(made) == first
    assert (made.folder / "stage2" / checkpoint.WEIGHTS).stat().st_mtime_ns == before


def test_corrupt_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the newest checkpoint is damaged the one before it is used, and said so."""
    whole = config(tmp_path, "whole")
    run(whole)
    made = config(tmp_path)
    run(replace(made, stop_after=7))
    newest = made.folder / "stage2" / "checkpoints" / "00000006" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9] + b"\0" * 9)
    run(made)
    said = capsys.readouterr().out
    assert "00000006 is damaged" in said
    assert "goes on after step 3" in said
    assert losses(made) == losses(whole)


def test_checkpoint_of_another_preset(tmp_path: Path) -> None:
    """A checkpoint of other settings is refused by what differs."""
    made = config(tmp_path)
    run(replace(made, stop_after=4))
    with pytest.raises(RecipeError, match=r"other settings \(stage differ"):
        run(replace(made, steps=9))
    text = Path(made.preset).read_text()
    Path(made.preset).write_text(text.replace("mlp: 32", "mlp: 40"))
    with pytest.raises(RecipeError, match="model differ"):
        run(made)


def test_stage_of_another_preset(tmp_path: Path) -> None:
    """A stage does not start from another preset's model."""
    made = config(tmp_path, stages=("1",))
    run(made)
    text = Path(made.preset).read_text()
    Path(made.preset).write_text(text.replace("mlp: 32", "mlp: 40"))
    with pytest.raises(RecipeError, match="another preset"):
        run(replace(made, stages=("2",)))


def test_loss_is_no_number(tmp_path: Path) -> None:
    """A loss that is no number stops the run and names the batch; no checkpoint of it is left."""
    made = config(tmp_path, overrides={"2": {"rate": 100.0, "floor": 100.0, "warmup": 0, "weight_decay": 0}})
    with pytest.raises(
        LossError, match=r"the loss of step \d of stage2 is (nan|inf); the batch was [0-9a-f]{8}-"
    ):
        run(made)
    noted = json.loads((made.folder / "stage2" / "not_a_number-rank0.json").read_text())
    assert noted["keys"]
    assert not (made.folder / "stage2" / "config.json").exists()


def test_no_gpu(tmp_path: Path) -> None:
    """Where a GPU is asked for and none is there, that is said before anything is read."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RecipeError, match="a GPU is asked for"):
        run(config(tmp_path, device="cuda"))


def test_wrong_settings(tmp_path: Path) -> None:
    """Settings that cannot be are refused by name."""
    for given, words in (
        ({"overrides": {"2": {"batch": 3}}}, "no multiple"),
        ({"init": {"eyes": "x"}}, "unknown eyes"),
        ({"init": {"vision": "nowhere"}}, "not there"),
        ({"precision": "int4"}, "int4"),
        ({"overrides": {"2": {"length": 257}}}, "context 256"),
        ({"overrides": {"2": {"side": 20}}}, "patch 8"),
        ({"overrides": {"2": {"muon": -1.0}}}, "muon must be a number from 0 to 100"),
        (
            {"overrides": {"2": {"style": {"coarse": 0}}}},
            "coarse must be a whole number from 1 to 500, not 0",
        ),
        ({"overrides": {"2": {"style": {"course": 10}}}}, "style has no course; there is"),
        ({"stages": ("4",)}, "no stage '4'"),
    ):
        with pytest.raises(RecipeError, match=words):
            run(config(tmp_path, **given))


def test_bf16(tmp_path: Path) -> None:
    """bf16 autocast trains to nearly the same losses."""
    whole, half = config(tmp_path, "whole"), config(tmp_path, "half", precision="bf16")
    run(whole)
    run(half)
    assert [loss for _, loss in losses(half)] == pytest.approx([loss for _, loss in losses(whole)], rel=0.1)


RANKS = """
import os, sys
from pathlib import Path
from model.settings import TrainConfig
from model.train import run
rank, folder, *ports = sys.argv[1:]
for (out, stop), port in zip((("whole", None), ("cut", 4), ("cut", None)), ports, strict=True):
    os.environ["MASTER_PORT"] = port
    run(TrainConfig({corpus!r}, Path(folder) / out, {stages!r}, {preset!r}, device='cpu', threads=1,
        checkpoint_every=3, stop_after=stop, steps=5, overrides={overrides!r}), int(rank), 2)
"""


def _two_ranks(made: TrainConfig, folder: Path) -> None:
    """Trains in two processes below `folder`: `whole`, and `cut` after step 4 of a stage, then to the end."""
    with ExitStack() as probes:
        # a port for each run: where the first to come meets the store of the run before, both wait for ever
        sockets = [probes.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [str(one.getsockname()[1]) for one in sockets]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    code = RANKS.format(
        corpus=made.corpus, preset=made.preset, stages=made.stages, overrides=dict(made.overrides)
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), str(folder), *ports],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [one.communicate()[0] for one in ranks]
    finally:
        for one in ranks:
            one.kill()
    assert [one.returncode for one in ranks] == [0, 0], "\n".join(told)


def test_two_ranks(tmp_path: Path) -> None:
    """Two sharded ranks learn from oracle features, learn to show them, with Muon; resumed, with the same losses."""
    moved = {"muon": 1e-2}
    made = config(tmp_path, stages=("language", "sight", "2"), overrides={"language": moved, "sight": moved})
    _two_ranks(made, tmp_path)
    for stage in ("language", "sight", "stage2"):
        whole, cut = (losses(config(tmp_path, name), stage) for name in ("whole", "cut"))
        assert [step for step, _ in whole] == list(range(1, 6))
        assert cut == whole
        assert whole[-1][1] < whole[0][1]
    model, _ = checkpoint.from_pretrained(tmp_path / "whole" / "train" / "stage2")
    assert all(torch.isfinite(one).all() for one in model.parameters())
