"""The trainer: Qwen-VL's stages one after the other, each from the shards to a saved model.

OUT/train/<stage>/   config.json model.safetensors tokenizer.json   the stage's model, once it is done
                     log.jsonl curves.png checkpoints/ tensorboard/
OUT/train/metrics.json                                              losses by stage, later the evaluation
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from model import checkpoint, convert, flops, journal, optim, parallel, saved, shards, start
from model import tokenizer as tokenizers
from model.batch import Batch
from model.config import ModelConfig, preset, preset_document
from model.loader import Feed, Loader, require_known
from model.metrics_file import merge_metrics
from model.qwen_vl import QwenVL, build
from model.stages import ORDER, STAGES, StageConfig, set_trained, stage_config, title
from model.store import Store
from model.tokenizer import TagTokenizer
from model.told import SAMPLES, Teller, regions
from schemas.errors import InputError, RecipeError, VlcorpusError

_VOCABULARY_SAMPLES = 20_000

# the tasks that say what lies where in a picture
_TELLING = ("grounding", "referring", "grounded_caption")

Say = Callable[[str], None]


class LossError(VlcorpusError):
    """The loss is no number any more; the text names the samples of the batch."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training run. `stages`: any of primer, language, sight, 1, 2, 3, in this order.

    `init`: where to start instead of at random: `vision` (an open_clip checkpoint), `language` (a Hugging
    Face folder), `model` (a folder of ours, or Qwen-VL's published one), `tokenizer` (a folder of ours, or
    Qwen's tiktoken file). `overrides`: fields of a stage by the stage's name. `steps`: for every stage.
    """

    corpus: str
    out: Path
    stages: tuple[str, ...] = STAGES
    preset: str = "tiny"
    seed: int = 0
    init: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    steps: int | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    workers: int = 0
    threads: int | None = None
    checkpoint_every: int = 200
    log_every: int = 1
    compile: bool = False
    recompute: bool = False
    split: str = "train"
    stop_after: int | None = None

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.out / "train"


def run(config: TrainConfig, rank: int = 0, world: int = 1, local_rank: int | None = None) -> dict[str, Any]:
    """Trains every stage that is not done yet and gives each stage's metrics; every rank calls it alike."""
    device = parallel.device_of(config.device, rank if local_rank is None else local_rank)
    _check(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    store = Store(config.corpus, config.storage_options)
    require_known(store, shards.find(store, config.split))
    with parallel.process_group(rank, world, device):
        place = _Place(config, rank, world, device)
        tokenizer = _tokenizer(place)
        found: dict[str, Any] = {}
        for stage in [_stage_config(config, name) for name in config.stages]:
            found[stage.title] = _stage(place, stage, tokenizer)
            if not found[stage.title]["finished"]:
                break
        return found


def stages_for(config: TrainConfig) -> tuple[str, ...]:
    """The stages that `all` stands for: the paper's that the corpus has samples for, and before them, where the
    language model would start at random, `language`, and what else the preset has of `FIRST`: `primer` where the
    corpus holds what it reads, `sight` where pictures can be told.
    """
    store = Store(config.corpus, config.storage_options)
    strata = shards.find(store, config.split)
    there = {one.task for one in strata}
    fitting = [name for name in STAGES if there & set(_stage_config(config, name).tasks)]
    first: list[str] = []
    if not {"language", "model"} & config.init.keys():
        numbers = preset_document(config.preset).get("stages", {})
        plain = numbers.get("primer", {}).get("mixture", {})
        names = {one.name for one in strata} | there
        first = [
            name
            for name, wanted in (
                ("primer", bool(plain) and plain.keys() <= names),
                ("language", True),
                ("sight", "sight" in numbers and bool(there & set(_TELLING))),
            )
            if wanted
        ]
    return (*first, *fitting)


def mixture_of(
    config: TrainConfig, stage: StageConfig, strata: Sequence[shards.Stratum]
) -> Mapping[str, float]:
    """The weights asked for; of a preset's own, those of what this corpus holds."""
    if "mixture" in config.overrides.get(stage.name, {}):
        return stage.mixture
    names = {one.name for one in strata} | {one.task for one in strata}
    return {name: weight for name, weight in stage.mixture.items() if name in names}


@dataclass(frozen=True, slots=True)
class _Place:
    """The run as one rank sees it."""

    config: TrainConfig
    rank: int
    world: int
    device: torch.device

    @property
    def store(self) -> Store:
        return Store(self.config.corpus, self.config.storage_options)

    @property
    def model(self) -> ModelConfig:
        return preset(self.config.preset)


def _check(config: TrainConfig) -> None:
    unknown = sorted(set(config.init) - {"vision", "language", "model", "tokenizer"})
    if unknown:
        raise RecipeError(f"init: unknown {', '.join(unknown)}; there is vision, language, model, tokenizer")
    if not config.stages:
        raise RecipeError("no stage is asked for")
    if config.precision not in ("auto", "bf16", "fp32"):
        raise RecipeError(f"there is no precision {config.precision!r}: choose auto, bf16 or fp32")


def _stage_config(config: TrainConfig, name: str) -> StageConfig:
    given = dict(config.overrides.get(name, {}))
    if config.steps is not None:
        given["steps"] = config.steps
    return stage_config(config.preset, name, given)


def _tokenizer(place: _Place) -> TagTokenizer:
    """The tokenizer of this run: given, left by an earlier stage, or learned from the corpus's words."""
    given = place.config.init.get("tokenizer")
    if (
        given is None
        and "model" in place.config.init
        and (Path(place.config.init["model"]) / "tokenizer.json").is_file()
    ):
        given = place.config.init["model"]
    if given is not None:
        found = tokenizers.load(Path(given))
    else:
        folder = place.config.folder / "tokenizer"
        if place.rank == 0 and not folder.is_dir():
            _train_tokenizer(place, folder)
        parallel.barrier(place.world)
        found = tokenizers.load(folder)
    if found.size > place.model.language.vocab:
        raise RecipeError(
            f"the tokenizer has {found.size} tokens, but preset {place.config.preset} has room for "
            f"{place.model.language.vocab}"
        )
    return found


def _train_tokenizer(place: _Place, folder: Path) -> None:
    numbers = preset_document(place.config.preset).get("tokenizer", {})
    strata = shards.find(place.store, place.config.split)
    each = max(_VOCABULARY_SAMPLES // len(strata), 1)
    texts = (sample.text for sample in shards.samples(place.store, strata, each))
    trained = tokenizers.train(texts, int(numbers["base"]), int(numbers["extras"]))
    scratch = folder.with_name(".tokenizer.tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    trained.save(scratch)
    saved.replace_folder(scratch, folder)


def _stage(place: _Place, stage: StageConfig, tokenizer: TagTokenizer) -> dict[str, Any]:
    folder = place.config.folder / stage.title
    metrics_path = place.config.folder / "metrics.json"
    if (folder / "config.json").is_file() and metrics_path.is_file():
        done = json.loads(metrics_path.read_text("utf-8")).get(stage.title)
        if isinstance(done, dict):
            return done
    trainer = _Trainer(place, stage, tokenizer)
    metrics = trainer.train()
    if place.rank == 0 and metrics.get("finished"):
        merge_metrics(metrics_path, {stage.title: metrics})
    parallel.barrier(place.world)
    return metrics


def _start(
    place: _Place, stage: StageConfig, feed: Feed, tokenizer: TagTokenizer, teller: Teller | None, say: Say
) -> QwenVL:
    """The model that a stage starts from: the stage before it, else what `init` names, else at random."""
    model = build(place.model, place.config.seed)
    earlier = [one for one in ORDER[: ORDER.index(stage.name)] if _is_done(place, one)]
    if earlier:
        folder = place.config.folder / title(earlier[-1])
        saved.load_weights(model, saved.read_weights(folder / saved.WEIGHTS), str(folder))
        say(f"{stage.title} starts from {folder}")
    else:
        if not {"language", "model"} & place.config.init.keys():
            start.copying(model, place.config.seed)
        for part, path in sorted(place.config.init.items()):
            if part != "tokenizer":
                convert.load_part(model, part, Path(path))
                say(f"{stage.title} starts with {part} from {path}")
    sees_first = stage.pictures != "told" and not set(earlier) - {"primer", "language"}
    if sees_first and "vision" in place.config.init and "model" not in place.config.init:
        _adapt(model, Path(place.config.init["vision"]), feed, tokenizer, teller)
    return model


def _is_done(place: _Place, name: str) -> bool:
    return (place.config.folder / title(name) / "config.json").is_file()


def _teller(place: _Place, stage: StageConfig, tokenizer: TagTokenizer) -> Teller | None:
    """What tells the corpus's pictures, where the stage needs it."""
    if stage.pictures == "shown":
        return None
    strata = shards.find(place.store, place.config.split)
    telling = tuple(one for one in strata if one.task in _TELLING)
    each = max(SAMPLES // max(len(telling), 1), 1)
    known = regions(shards.samples(place.store, telling, each)) if telling else {}
    shape = place.model
    return Teller(known, tokenizer, shape.adapter.queries, shape.language.hidden)


def _adapt(model: QwenVL, clip: Path, feed: Feed, tokenizer: TagTokenizer, teller: Teller | None) -> None:
    """The adapter's first weights beside the encoder of a CLIP, the same on every rank."""
    projection = start.shared_space(clip)
    if projection is None:
        return
    start.align(model.adapter, projection)
    wanted = start.MATCHED if teller else start.PICTURES
    taken: list[torch.Tensor] = []
    names: list[str] = []
    for batch in Loader(replace(feed, endless=False), tokenizer):
        taken.append(batch.pixels)
        names += batch.names
        if len(names) >= wanted:
            break
    if not names:
        return
    pixels = torch.cat(taken)[:wanted]
    words: Any = model.language.get_input_embeddings().weight
    known = [at for at, name in enumerate(names[:wanted]) if teller and name in teller]
    told = None
    if teller and known:
        told = pixels[known], teller.tell([names[at] for at in known], words.detach())
    start.centre(model, pixels[: start.PICTURES], words[tokenizer.pad].detach(), told)


class _Trainer:
    """One stage on one rank."""

    def __init__(self, place: _Place, stage: StageConfig, tokenizer: TagTokenizer) -> None:
        self.place, self.stage, self.tokenizer = place, stage, tokenizer
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
        self.loader = Loader(feed, tokenizer, place.rank, place.world, place.config.workers)
        self.teller = _teller(place, stage, tokenizer)
        self.model = _start(place, stage, feed, tokenizer, self.teller, self._say).to(place.device).train()
        set_trained(self.model, stage.trains)
        if place.config.recompute:
            self.model.checkpoint_activations()
        parallel.shard(self.model, place.world, place.device)
        if place.config.compile:
            for layer in (*self.model.vision.blocks, *self.model.language.model.layers):
                layer.compile()
        self.optimiser = optim.optimizer(self.model, stage, fused=place.device.type == "cuda")
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
        """Trains to the stage's last step, from the newest checkpoint on; gives the stage's metrics."""
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
        checkpoint.restore(found, self.model, self.optimiser, self.place.world)
        self.loader.load_state_dict(found.state["loaders"][self.place.rank])
        self.lost = list(found.state["losses"])
        self._say(f"{self.stage.title} goes on after step {found.state['step']}")
        return int(found.state["step"])

    def _step(self, step: int, batches: Iterator[Batch], meter: "_Meter") -> dict[str, Any]:
        """One step of the optimiser, and what there is to tell of it."""
        meter.start()
        micros = [meter.waited(batches) for _ in range(self.accumulate)]
        world, device = self.place.world, self.place.device
        own = sum(map(self._counted, micros))
        taught = max(parallel.total([float(own)], world, device)[0], 1.0)
        tasks: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for micro in micros:
            self._backward(micro, world / taught, tasks)
        value = optim.rate(self.stage, step)
        optim.set_rate(self.optimiser, value)
        loss = parallel.total([sum(sums for sums, _ in tasks.values())], world, device)[0] / taught
        self._require_number(loss, step, micros)
        norms = optim.clip_gradients(self.model, self.stage.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
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
            **meter.stop(
                work, sum(one.tokens for one in micros), sum(len(k) for one in micros for k in one.keys)
            ),
        }

    def _counted(self, micro: Batch) -> int:
        """What the loss is the mean over: supervised tokens, or pictures."""
        if self.stage.pictures == "matched":
            return sum(name in self.teller for name in micro.names) if self.teller else 0
        return micro.supervised

    def _backward(self, micro: Batch, scale: float, tasks: dict[str, list[float]]) -> None:
        device = self.place.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            losses = self.model(micro.to(device), self.teller, self.stage.pictures == "matched")
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
        checkpoint.write(folder, self.model, self.optimiser, state, rank=self.place.rank, world=world)
        parallel.barrier(world)

    def _save(self) -> None:
        weights = checkpoint.model_state(self.model, self.place.world)
        if self.place.rank == 0:
            scratch = self.folder / "final"
            saved.save(scratch, self.place.model, weights, self.tokenizer, self.stage.side)
            # config.json last: where it lies, the model is whole
            for name in sorted(scratch.iterdir(), key=lambda one: one.name == "config.json"):
                name.replace(self.folder / name.name)
            scratch.rmdir()

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
            print(text, flush=True)


class _Meter:
    """Time of steps, and how much of it the loader was waited for."""

    def __init__(self, peak: float) -> None:
        self._peak = peak
        self._start = self._wait = 0.0
        self._seconds = self._waits = self._work = self._tokens = 0.0

    def start(self) -> None:
        self._start, self._wait = time.perf_counter(), 0.0

    def waited(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the time it took to come counts as waiting."""
        before = time.perf_counter()
        batch = next(batches, None)
        self._wait += time.perf_counter() - before
        if batch is None:
            raise InputError("the shards hold no sample that this stage can learn from")
        return batch

    def stop(self, work: float, tokens: int, samples: int) -> dict[str, float]:
        """The step's rates."""
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
        """The same over all steps of this process."""
        seconds = max(self._seconds, 1e-9)
        return {
            "seconds": self._seconds,
            "tokens_per_s": self._tokens / seconds,
            "mfu": self._work / seconds / self._peak,
            "wait": self._waits / seconds,
        }
