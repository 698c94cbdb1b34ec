"""Images a second of CLIP scoring: the device alone, our pipeline, and a plain open_clip loop.

    python benchmarks/clip.py [--models embedded,ViT-B-32] [--images 256] [--side 512] [--workers 2]
                              [--device auto] [--batch 64] [--precision auto] [--compile]

(a) encode_images on pixels that are ready; (b) decode threads that feed it from JPEG bytes; (c) a
DataLoader whose workers run open_clip's own transform, and encode_image. All in one run, over the same
JPEGs, with random weights for named architectures: weights change no time. `cores` is how many CPU cores
must preprocess to keep the device at the rate (a).
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from filters.clip import Preprocess, Scorer
from filters.clip.load import Loaded, load
from schemas.clip import ScorerSettings
from synth import photos
from synth.seeds import generator


@dataclass(frozen=True)
class Rates:
    """Images a second, and CPU milliseconds an image of both ways to preprocess."""

    alone: float
    pipeline: float
    plain: float
    ours_ms: float
    theirs_ms: float

    def line(self, name: str) -> str:
        cores = self.alone * self.ours_ms / 1000
        return (
            f"{name:<18}{self.alone:>9.1f}{self.pipeline:>9.1f}{self.plain:>9.1f}"
            f"{self.pipeline / self.alone:>8.2f}{self.pipeline / self.plain:>8.2f}"
            f"{self.ours_ms:>10.2f}{self.theirs_ms:>10.2f}{cores:>8.1f}"
        )


class _Jpegs(Dataset[torch.Tensor]):
    """open_clip's usual input: a file decoded and transformed for every index."""

    def __init__(self, data: Sequence[bytes], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.data = data
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(io.BytesIO(self.data[index])))


def jpegs(number: int, side: int) -> list[bytes]:
    """Photographs as JPEGs, `side` pixels long and three quarters of that high."""
    data = []
    for index in range(number):
        crop = photos.draw(generator(0, "benchmark clip", index))
        out = io.BytesIO()
        photos.render(crop, side, side * 3 // 4).save(out, "JPEG", quality=88)
        data.append(out.getvalue())
    return data


def _batches(scorer: Scorer, data: Sequence[bytes], workers: int) -> Iterator[np.ndarray]:
    """Batches of pixels in order; threads are at most two batches ahead."""
    size = scorer.batch_size
    with ThreadPoolExecutor(workers) as pool:
        waiting = [[pool.submit(scorer.preprocess, one) for one in data[i : i + size]] for i in (0, size)]
        for start in range(2 * size, len(data) + 2 * size, size):
            waiting.append([pool.submit(scorer.preprocess, one) for one in data[start : start + size]])
            batch = waiting.pop(0)
            if batch:
                yield np.stack([one.result() for one in batch])


def pipeline(scorer: Scorer, data: Sequence[bytes], workers: int) -> None:
    """Decode threads feed the device."""
    for batch in _batches(scorer, data, workers):
        scorer.encode_images(batch)


def plain(
    model: Any, transform: Any, data: Sequence[bytes], batch: int, workers: int, precision: str
) -> None:
    """What a user of open_clip writes."""
    device = next(model.parameters()).device
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    loader = DataLoader(_Jpegs(data, transform), batch, num_workers=workers, pin_memory=device.type == "cuda")
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for pixels in loader:
            model.encode_image(pixels.to(device, non_blocking=True), normalize=True).float().cpu()


def _rate(number: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return number / (time.perf_counter() - start)


def _cpu_ms(data: Sequence[bytes], work: Callable[[bytes], object]) -> float:
    start = time.process_time()
    for one in data:
        work(one)
    return (time.process_time() - start) / len(data) * 1000


def measure(name: str, data: Sequence[bytes], settings: ScorerSettings, workers: int, device: str) -> Rates:
    """All three, after one batch of each to warm up."""
    if name == "embedded":
        loaded = load(settings)
    else:
        made: Any = open_clip.create_model(name)
        loaded = Loaded(made, open_clip.get_tokenizer(name), Preprocess.of(made.visual.preprocess_cfg), name)
    scorer = Scorer(settings, device, loaded)
    model: Any = loaded.model
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
    )
    ready = np.stack([scorer.preprocess(one) for one in data])
    few = data[: scorer.batch_size]
    scorer.encode_images(ready[: scorer.batch_size])
    plain(model, transform, few, scorer.batch_size, 0, scorer.precision)
    return Rates(
        alone=_rate(len(data), lambda: scorer.encode_images(ready)),
        pipeline=_rate(len(data), lambda: pipeline(scorer, data, workers)),
        plain=_rate(
            len(data),
            lambda: plain(model, transform, data, scorer.batch_size, workers, scorer.precision),
        ),
        ours_ms=_cpu_ms(few, scorer.preprocess),
        theirs_ms=_cpu_ms(few, lambda one: transform(Image.open(io.BytesIO(one)))),
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="embedded,ViT-B-32")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    data = jpegs(given.images, given.side)
    print(f"{given.images} JPEGs of {given.side} px, {given.workers} workers, batch {given.batch}")
    print(
        f"{'model':<18}{'(a) dev':>9}{'(b) ours':>9}{'(c) loop':>9}{'b/a':>8}{'b/c':>8}"
        f"{'ours ms':>10}{'theirs ms':>10}{'cores':>8}"
    )
    for name in given.models.split(","):
        settings = ScorerSettings(
            precision=given.precision, batch_size=given.batch, threads=given.threads, compile=given.compile
        )
        print(measure(name, data, settings, given.workers, given.device).line(name), flush=True)


if __name__ == "__main__":
    main()
