"""How fast training is: MFU against this machine's own matrix product, and against ready tensors.

    python -m benchmarks.train CORPUS [--preset tiny] [--stage 2] [--steps 20] [--workers 1] [--device auto] [--compile]

The same model is trained twice on the same batches: by the trainer, from shards, and by a bare loop of
forward, backward, clipping and AdamW over batches that lie in memory.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from model import flops, optim, parallel, shards
from model import tokenizer as tokenizers
from model.config import preset
from model.loader import Feed, Loader
from model.qwen_vl import build
from model.settings import TrainConfig, mixture_of
from model.stages import STAGES, set_trained, stage_config, title
from model.store import Store
from model.train import run


def bare(config: TrainConfig, name: str, device: torch.device, tokenizer: tokenizers.TagTokenizer) -> float:
    """Seconds a step of the bare loop, the first two steps apart."""
    stage = stage_config(config.preset, name, dict(config.overrides[name]))
    shape = preset(config.preset)
    store = Store(config.corpus)
    strata = shards.find(store, "train", stage.tasks)
    feed = Feed(
        store, strata, length=stage.length, micro=stage.micro, side=stage.side, queries=shape.adapter.queries,
        fixed=config.compile, style=stage.style,
        mixture=mixture_of(config, stage, strata), unit=stage.batch,
    )  # fmt: skip
    per_step = stage.batch // stage.micro
    batches = iter(Loader(feed, tokenizer))
    ready = [[next(batches).to(device) for _ in range(per_step)] for _ in range(stage.steps)]
    model = build(shape).to(device).train()
    set_trained(model, stage.trains)
    if config.compile:
        for layer in (*model.vision.blocks, *model.language.model.layers):
            layer.compile()
    optimiser = optim.optimisers(model, stage, fused=device.type == "cuda")
    seconds = []
    for step in ready:
        start = time.perf_counter()
        for batch in step:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = model(batch).mean
            (loss / per_step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), stage.clip)
        optimiser.step()
        optimiser.zero_grad()
        flops.synchronise(device)
        seconds.append(time.perf_counter() - start)
    return sum(seconds[2:]) / len(seconds[2:])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--stage", default="2", choices=STAGES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, help="sequences a step")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    device = parallel.device_of(given.device)
    overrides = {"steps": given.steps, "warmup": 1, **({"batch": given.batch} if given.batch else {})}
    with tempfile.TemporaryDirectory() as scratch:
        config = TrainConfig(
            given.corpus, Path(scratch), (given.stage,), given.preset, device=given.device,
            workers=given.workers, threads=given.threads, overrides={given.stage: overrides},
            compile=given.compile, checkpoint_every=10**9,
        )  # fmt: skip
        (metrics,) = run(config).values()
        folder = config.folder / title(given.stage)
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][2:]
        seconds = bare(config, given.stage, device, tokenizers.load(folder))
    mean = {
        name: sum(line[name] for line in lines) / len(lines)
        for name in ("seconds", "mfu", "wait", "tokens_per_s")
    }
    print(
        f"{given.preset}, stage {given.stage}, {device}: loss {metrics['loss_first']:.2f} to {metrics['loss_last']:.2f}"
    )
    print(f"  {mean['tokens_per_s']:,.0f} tokens/s, MFU {mean['mfu']:.1%}, loader wait {mean['wait']:.1%}")
    ratio = mean["seconds"] / seconds
    print(f"  a step takes {mean['seconds']:.3f} s, of ready tensors {seconds:.3f} s: {ratio:.2f} times")


if __name__ == "__main__":
    main()
