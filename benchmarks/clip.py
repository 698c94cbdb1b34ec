"""Images a second of phase score, of the device alone, and of a plain open_clip loop.

    python -m benchmarks.clip [--models tiny,embedded,ViT-B-32] [--images 512] [--side 512] [--workers 2]
                              [--threads 2] [--device auto] [--batch 64] [--precision auto] [--compile]

(a) the device alone: pixels and tokens lie ready, both towers run; (b) the whole phase as a build runs it:
a worker process reads signals and tars on disk, decodes, encodes, writes scores and receipts; (c) what a
user of open_clip writes: a DataLoader over JPEGs in memory with open_clip's transform and tokenizer, and
encode_image and encode_text. One run, the same images and captions, rounds of all three in turn, the
best of each. Named architectures have random weights: weights change no time; `tiny` is a CLIP that costs
next to nothing, so that all the rest is the limit, as it is beside a GPU. `a ms` to `c ms` are CPU
milliseconds a pair, of all processes and of the device where that is a CPU; `feed` are those of decoding,
resizing and splitting into tokens alone, and `cores` is how many CPU cores it takes to keep the device at
the rate (a).
"""

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.clip_phase import Phase, write_model
from benchmarks.usage import cpu_seconds
from filters.clip import Scorer
from filters.clip.load import Loaded, load
from schemas.clip import ScorerSettings
from synth import photos
from synth.seeds import generator

Pair = tuple[bytes, str]


@dataclass(frozen=True)
class Run:
    """Pairs a second, and CPU milliseconds a pair."""

    rate: float
    ms: float


@dataclass(frozen=True)
class Rates:
    """The best run of each way, and the CPU milliseconds that one pair takes before it is on the device."""

    alone: Run
    phase: Run
    plain: Run
    feed: float

    def line(self, name: str) -> str:
        a, b, c = self.alone, self.phase, self.plain
        return (
            f"{name:<18}{a.rate:>9.1f}{b.rate:>10.1f}{c.rate:>10.1f}{b.rate / a.rate:>7.2f}{b.rate / c.rate:>7.2f}"
            f"{a.ms:>9.2f}{b.ms:>9.2f}{c.ms:>9.2f}{self.feed:>8.2f}{a.rate * self.feed / 1000:>8.1f}"
        )


class _Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """open_clip's usual input: a pair decoded, transformed and split into tokens for every index."""

    def __init__(self, data: Sequence[Pair], transform: Callable[..., torch.Tensor], tokenizer: Any) -> None:
        self.data = data
        self.transform = transform
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture, caption = self.data[index]
        return self.transform(Image.open(io.BytesIO(picture))), self.tokenizer([caption])[0]


def made_pairs(number: int, side: int) -> list[Pair]:
    """Crops of photographs as JPEGs, `side` pixels long and three quarters of that high, all different."""
    data = []
    for index in range(number):
        crop = photos.draw(generator(0, "benchmark clip", index))
        out = io.BytesIO()
        photos.render(crop, side, side * 3 // 4).convert("RGB").save(out, "JPEG", quality=88)
        said = f"Photograph number {index} of a {crop.name}, seen from nearby on a bright day in the summer"
        data.append((out.getvalue(), said))
    return data


def write_tars(data: Sequence[Pair], folder: Path, per_shard: int) -> None:
    """The pairs as WebDataset tars; the first holds one batch, for warming up."""
    for first in range(0, len(data), per_shard):
        with tarfile.open(folder / f"{first // per_shard:05d}.tar", "w") as tar:
            for number, (picture, caption) in enumerate(data[first : first + per_shard], first):
                for suffix, body in (("jpg", picture), ("txt", caption.encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(body)
                    tar.addfile(member, io.BytesIO(body))


def alone(scorer: Scorer, pixels: np.ndarray, tokens: np.ndarray) -> None:
    """Both towers over what lies ready."""
    size = scorer.batch_size
    list(scorer.encode_batches(pixels[at : at + size] for at in range(0, len(pixels), size)))
    scorer.encode_texts(tokens)


def plain(loaded: Loaded, transform: Any, data: Sequence[Pair], scorer: Scorer, workers: int) -> None:
    """What a user of open_clip writes."""
    model: Any = loaded.model
    device = next(model.parameters()).device
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(scorer.build["precision"])
    pairs = _Pairs(data, transform, loaded.tokenizer)
    loader = DataLoader(pairs, scorer.batch_size, num_workers=workers, pin_memory=device.type == "cuda")
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for pixels, tokens in loader:
            images = model.encode_image(pixels.to(device, non_blocking=True), normalize=True)
            texts = model.encode_text(tokens.to(device, non_blocking=True), normalize=True)
            (images * texts).sum(1).float().cpu()


def _cpu_so_far() -> float:
    """CPU time of this process, of its children that ended, and of those that live."""
    total = cpu_seconds()
    own = Path("/proc/self/task")
    living = {pid for task in own.iterdir() for pid in (task / "children").read_text().split()}
    for pid in living:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _timed(number: int, work: Callable[[], object]) -> Run:
    start, used = time.perf_counter(), _cpu_so_far()
    work()
    return Run(number / (time.perf_counter() - start), (_cpu_so_far() - used) / number * 1000)


def _best(runs: Sequence[Run]) -> Run:
    return Run(max(run.rate for run in runs), min(run.ms for run in runs))


def measure(data: Sequence[Pair], settings: ScorerSettings, given: Any, folder: Path) -> Rates:
    """All three, `given.rounds` times in turn, after a batch of each to warm up; the best of each."""
    scorer = Scorer(settings, given.device)
    # (c) has the same weights, but as open_clip runs them: by torch, its own order of memory, no compilation
    own = load(settings)
    model: Any = own.model.to("cpu" if scorer.build["device"] == "cpu" else "cuda")
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
    )
    pixels = np.stack([scorer.preprocess(picture) for picture, _ in data])
    tokens, _ = scorer.tokenize([caption for _, caption in data])
    few = list(data[: scorer.batch_size])
    runs: list[tuple[Run, Run, Run]] = []
    with Phase(folder, settings, given.workers) as phase:
        alone(scorer, pixels[: len(few)], tokens[: len(few)])
        plain(own, transform, few, scorer, 0)
        for _ in range(given.rounds):
            phase.forget()
            runs.append(
                (
                    _timed(len(data), lambda: alone(scorer, pixels, tokens)),
                    _timed(len(data), phase.run),
                    _timed(len(data), lambda: plain(own, transform, data, scorer, given.workers)),
                )
            )
        assert phase.scored == len(data)
    start = time.process_time()
    for picture, caption in few:
        scorer.preprocess(picture)
        scorer.tokenize([caption])
    feed = (time.process_time() - start) / len(few) * 1000
    a, b, c = (_best([run[way] for run in runs]) for way in range(3))
    return Rates(a, b, c, feed)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,embedded,ViT-B-32")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2, help="decode threads, and DataLoader processes")
    parser.add_argument("--threads", type=int, default=2, help="threads that encode on a CPU")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--per-shard", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    data = made_pairs(given.images, given.side)
    print(
        f"{given.images} JPEGs of {given.side} px, {given.workers} decode threads or DataLoader workers, "
        f"{given.threads} encoding threads, batch {given.batch}, best of {given.rounds}"
    )
    print(
        f"{'model':<18}{'(a) dev':>9}{'(b) phase':>10}{'(c) loop':>10}{'b/a':>7}{'b/c':>7}"
        f"{'a ms':>9}{'b ms':>9}{'c ms':>9}{'feed':>8}{'cores':>8}"
    )
    with tempfile.TemporaryDirectory(prefix="vlcorpus-clip-") as name:
        folder = Path(name)
        (folder / "in").mkdir()
        write_tars(data, folder / "in", given.per_shard)
        for model in given.models.split(","):
            settings = ScorerSettings(
                model="embedded" if model == "embedded" else write_model(model, folder / "models"),
                precision=given.precision,
                batch_size=given.batch,
                threads=given.threads,
                compile=given.compile,
            )
            print(measure(data, settings, given, folder).line(model), flush=True)


if __name__ == "__main__":
    main()
