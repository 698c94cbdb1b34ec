"""The trainer: Qwen-VL's stages one after the other, each from the shards to a saved model.

OUT/train/<stage>/   config.json model.safetensors tokenizer.json   the stage's model, once it is done
                     log.jsonl curves.png checkpoints/ tensorboard/
OUT/train/metrics.json                                              losses by stage, later the evaluation
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

import torch

from model import checkpoint, flops, journal, optim, parallel, shards, warm_start
from model.batch import Batch
from model.config import read_json
from model.journal import merge_metrics
from model.loader import Feed, Loader, require_known
from model.oracle import Oracle
from model.settings import Place, TrainConfig, check, mixture_of, stage_settings
from model.stages import StageConfig, set_trained
from model.store import Store
from model.tokenizer import TagTokenizer
from schemas.errors import InputError, RecipeError, VlcorpusError
from schemas.plain import say


class LossError(VlcorpusError):
    """The loss is no number any more; the text names the samples of the batch."""


def run(config: TrainConfig, rank: int = 0, world: int = 1, local_rank: int | None = None) -> dict[str, Any]:
    """Trains every stage that is not done yet; returns each stage's metrics. Every rank calls it alike."""
    device = parallel.device_of(config.device, rank if local_rank is None else local_rank)
    check(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    store = Store(config.corpus, config.storage_options)
    require_known(store, shards.find(store, config.split))
    with parallel.process_group(rank, world, device):
        place = Place(config, rank, world, device)
        tokenizer = warm_start.tokenizer_of(place)
        # the same for all stages, and read only where one that is not done yet needs it
        oracle = cache(lambda: warm_start.oracle_of(place, tokenizer))
        found: dict[str, Any] = {}
        for stage in [stage_settings(config, name) for name in config.stages]:
            found[stage.title] = _stage(place, stage, tokenizer, oracle)
            if not found[stage.title]["finished"]:
                break
        return found


def _stage(
    place: Place, stage: StageConfig, tokenizer: TagTokenizer, oracle: Callable[[], Oracle]
) -> dict[str, Any]:
    folder = place.config.folder / stage.title
    metrics_path = place.config.folder / "metrics.json"
    done: dict[str, Any] = read_json(metrics_path).get(stage.title, {})
    if done and (folder / "config.json").is_file():
        return done
    trainer = _Trainer(place, stage, tokenizer, None if stage.pictures == "shown" else oracle())
    metrics = trainer.train()
    if place.rank == 0 and metrics.get("finished"):
        merge_metrics(metrics_path, {stage.title: metrics})
    parallel.barrier(place.world)
    return metrics


class _Trainer:
    """One stage on one rank."""

    def __init__(
        self, place: Place, stage: StageConfig, tokenizer: TagTokenizer, oracle: Oracle | None
    ) -> None:
        self.place, self.stage, self.tokenizer, self.oracle = place, stage, tokenizer, oracle
        self.folder = place.config.folder / stage.title
        per_step = stage.micro * place.world
        if stage.batch % per_step:
            raise RecipeError(
                f"stage {stage.name}: batch {stage.batch} is no multiple of micro x ranks = {per_step}"
            )
        shape = place.model
        if stage.length > shape.language.context or stage.side % shape.vision.patch:
            raise RecipeError(
                f"stage {stage.name}: length {stage.length} and side {stage.side} do not fit preset {shape.name} with "
                f"context {shape.language.context} and patch {shape.vision.patch}"
            )
        self.accumulate = stage.batch // per_step
        feed = self._feed()
        self.loader = Loader(feed, tokenizer, place.rank, place.world, place.workers)
        self.model = (
            warm_start.model_of(place, stage, feed, tokenizer, self.oracle, self._say)
            .to(place.device)
            .train()
        )
        set_trained(self.model, stage.trains)
        if place.config.recompute:
            self.model.checkpoint_activations()
        parallel.shard(self.model, place.world, place.device)
        if place.config.compile:
            for layer in (*self.model.vision.blocks, *self.model.language.model.layers):
                layer.compile()
        self.optimisers = optim.optimisers(self.model, stage, fused=place.device.type == "cuda")
        self.identity = {"model": asdict(place.model), "stage": asdict(stage), "seed": place.config.seed}
        self.half = parallel.halves(place.config.precision, place.device)
        self.lost: list[float] = []

    def _feed(self) -> Feed:
        stage, place = self.stage, self.place
        strata = shards.find(place.store, place.config.split, stage.tasks)
        return Feed(
            store=place.store,
            strata=strata,
            length=stage.length,
            micro=stage.micro,
            unit=stage.batch // place.world,
            side=stage.side,
            queries=place.model.adapter.queries,
            seed=place.config.seed,
            mixture=mixture_of(place.config, stage, strata),
            style=stage.style,
            isolate=stage.isolate,
            pack=stage.pack,
            share=stage.share,
            blind=stage.pictures == "told",
            fixed=place.config.compile,
            pool=stage.pool,
            too_long=stage.too_long,
        )

    def train(self) -> dict[str, Any]:
        """Trains to the stage's last step, from the newest checkpoint on; returns the stage's metrics."""
        first = self._resume()
        stage, config = self.stage, self.place.config
        log = journal.Journal(self.folder, first, stage.steps, stage.title, silent=self.place.rank != 0)
        peak = flops.matmul_rate(self.place.device, torch.bfloat16 if self.half else torch.float32)
        meter = _Meter(peak)
        batches = iter(self.loader)
        finished = first >= stage.steps
        try:
            for step in range(first, stage.steps):
                record = self._step(step, batches, meter)
                if (step + 1) % config.log_every == 0 or step + 1 == stage.steps:
                    log.step(record)
                finished = step + 1 == stage.steps
                stopping = config.stop_after is not None and step + 1 - first >= config.stop_after
                if (step + 1) % config.checkpoint_every == 0 or finished:
                    self._checkpoint(step + 1)
                if stopping and not finished:
                    break
        finally:
            log.close()
        if finished:
            self._save()
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(self.loader.drops.items()))
        if left_out:
            self._say(f"{self.stage.title} left out samples: {left_out}")
        return self._metrics(finished, meter)

    def _resume(self) -> int:
        found = checkpoint.latest(self.folder / "checkpoints", self._say)
        if found is None:
            return 0
        checkpoint.require_same(found, self.identity)
        checkpoint.restore(found, self.model, self.optimisers, self.place.world)
        self.loader.load_state_dict(found.state["loaders"][self.place.rank])
        self.lost = list(found.state["losses"])
        self._say(f"{self.stage.title} goes on after step {found.state['step']}")
        return int(found.state["step"])

    def _step(self, step: int, batches: Iterator[Batch], meter: "_Meter") -> dict[str, Any]:
        """Takes one step of the optimiser; returns its record."""
        meter.start()
        micros = [meter.waited(batches) for _ in range(self.accumulate)]
        world, device = self.place.world, self.place.device
        own = sum(map(self._counted, micros))
        taught = max(parallel.total([float(own)], world, device)[0], 1.0)
        tasks: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for micro in micros:
            self._backward(micro, world / taught, tasks)
        value = optim.rate(self.stage, step)
        self.optimisers.set_rate(value)
        loss = parallel.total([sum(sums for sums, _ in tasks.values())], world, device)[0] / taught
        self._require_number(loss, step, micros)
        norms = optim.clip_gradients(self.model, self.stage.clip)
        self.optimisers.step()
        self.optimisers.zero_grad()
        self.lost.append(loss)
        flops.synchronise(device)
        work = sum(flops.batch_flops(self.place.model, self.stage, micro) for micro in micros)
        return {
            "step": step + 1,
            "loss": loss,
            "tasks": {task: sums / count for task, (sums, count) in sorted(tasks.items()) if count},
            "rate": value,
            "gradient": norms,
            "dropped": dict(self.loader.drops),
            "decoded": sum(one.decoded for one in micros),
            **meter.stop(
                work, sum(one.tokens for one in micros), sum(len(k) for one in micros for k in one.keys)
            ),
        }

    def _counted(self, micro: Batch) -> int:
        """Returns the count that the loss is the mean over: supervised tokens, or images."""
        if self.stage.pictures == "matched":
            return sum(name in self.oracle for name in micro.names) if self.oracle else 0
        return micro.supervised

    def _backward(self, micro: Batch, scale: float, tasks: dict[str, list[float]]) -> None:
        device = self.place.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            losses = self.model(micro.to(device), self.oracle, self.stage.pictures == "matched")
        # FSDP takes the mean over ranks, so the sum over ranks must be asked for
        (losses.sums.sum() * scale).backward()
        rows = zip(micro.tasks, losses.sums.tolist(), losses.counts.tolist(), strict=True)
        for task, sums, count in rows:
            tasks[task][0] += sums
            tasks[task][1] += count

    def _require_number(self, loss: float, step: int, micros: list[Batch]) -> None:
        if not math.isfinite(loss):
            keys = [key for micro in micros for row in micro.keys for key in row]
            path = self.folder / f"not_a_number-rank{self.place.rank}.json"
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"step": step + 1, "keys": keys}) + "\n", "utf-8")
            shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
            raise LossError(
                f"the loss of step {step + 1} of {self.stage.title} is {loss}; the batch was {shown} (all keys: {path})"
            )

    def _checkpoint(self, step: int) -> None:
        world = self.place.world
        loaders = parallel.gathered(self.loader.state_dict(), world)
        state = {"step": step, "loaders": loaders, "losses": self.lost, "identity": self.identity}
        folder = self.folder / "checkpoints"
        checkpoint.write(folder, self.model, self.optimisers, state, rank=self.place.rank, world=world)
        parallel.barrier(world)

    def _save(self) -> None:
        weights = checkpoint.model_state(self.model, self.place.world)
        if self.place.rank == 0:
            checkpoint.save(self.folder, self.place.model, weights, self.tokenizer, self.stage.side)

    def _metrics(self, finished: bool, meter: "_Meter") -> dict[str, Any]:
        tail = self.lost[-max(len(self.lost) // 20, 1) :]
        return {
            "steps": len(self.lost),
            "finished": finished,
            "loss_first": self.lost[0] if self.lost else None,
            "loss_last": sum(tail) / len(tail) if tail else None,
            "dropped": dict(self.loader.drops),
            **meter.summary(),
        }

    def _say(self, text: str) -> None:
        if self.place.rank == 0:
            say(text)


class _Meter:
    """Time of steps, and how much of it the loader was waited for."""

    def __init__(self, peak: float) -> None:
        self._peak = peak
        self._start = self._wait = 0.0
        self._seconds = self._waits = self._work = self._tokens = 0.0

    def start(self) -> None:
        self._start, self._wait = time.perf_counter(), 0.0

    def waited(self, batches: Iterator[Batch]) -> Batch:
        """Returns the next batch; the time it took to come counts as waiting."""
        before = time.perf_counter()
        batch = next(batches, None)
        self._wait += time.perf_counter() - before
        if batch is None:
            raise InputError("the shards hold no sample that this stage can learn from")
        return batch

    def stop(self, work: float, tokens: int, samples: int) -> dict[str, float]:
        """Returns the step's rates."""
        seconds = time.perf_counter() - self._start
        self._seconds += seconds
        self._waits += self._wait
        self._work += work
        self._tokens += tokens
        return {
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "samples_per_s": samples / seconds,
            "mfu": work / seconds / self._peak,
            "wait": self._wait / seconds,
        }

    def summary(self) -> dict[str, float]:
        seconds = max(self._seconds, 1e-9)
        return {
            "seconds": self._seconds,
            "tokens_per_s": self._tokens / seconds,
            "mfu": self._work / seconds / self._peak,
            "wait": self._waits / seconds,
        }
