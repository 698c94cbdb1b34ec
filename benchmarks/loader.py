"""How fast the loader is: against the webdataset library on the same tars, and against bare decoding.

    python -m benchmarks.loader CORPUS [--samples 4000] [--workers 2] [--side 224]

Without decoding, both give a record and its images' bytes, in one process: webdataset each sample's in the order of the
tars, ours each view's, shuffled. With
decoding, the loader's packed batches from `workers` processes stand against as many processes that do
nothing but decode and resize the same bytes: with plain Pillow, as one would write it by hand, and with the
loader's own function. Each stretch of the loader lies between stretches of those; the medians of the ratios
are given. webdataset is asked only where it is installed. Last, how full sequences are, once through the corpus.
"""

import argparse
import io
import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from model import shards
from model import tokenizer as tokenizers
from model.batch import PADDING, Batch
from model.encode import encode
from model.images import square
from model.loader import Feed, Loader
from model.packing import Member, pack
from model.sampler import ConsumerSampler, MixtureSampler, StratumSampler
from model.shards import Reader, Stratum
from model.store import Store

_STRETCHES: Final = 3


def raw_rows(store: Store, strata: tuple[Stratum, ...], count: int) -> Iterator[int]:
    """Reads `count` shuffled views; gives the size of each one's record and images."""
    reader = Reader(store)
    orders = [StratumSampler(one, one.rows, 0, reader.places) for one in strata]
    draws = MixtureSampler([Fraction(one.rows) for one in strata], 0)
    for _, (stratum, ordinal) in zip(range(count), ConsumerSampler(draws, 0, 1), strict=False):
        row = reader.view(*orders[stratum].locate(ordinal))
        yield len(row.json) + sum(map(len, row.images))


def rate_of(rows: Iterator[object], count: int) -> float:
    """Items a second of CPU time, after a first one that opens what must be open."""
    next(rows)
    start = time.process_time()
    done = sum(1 for _ in rows)
    return min(done, count) / (time.process_time() - start)


def webdataset_rate(tars: list[str], count: int) -> float | None:
    """The webdataset library's samples a second, one tar after the other; None where it is not installed."""
    try:
        import webdataset  # type: ignore[import-not-found]
    except ImportError:
        return None
    data = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).repeat()
    return rate_of((row for _, row in zip(range(count), data, strict=False)), count)


def plain(data: bytes, side: int) -> object:
    """The image as a square by Pillow alone."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def _decode(how: Callable[[bytes, int], object], pictures: list[bytes], side: int, ends: Any) -> None:
    start, done = ends
    torch.set_num_threads(1)
    how(pictures[0], side)
    start.wait()
    for data in pictures:
        how(data, side)
    done.put(len(pictures))


def bare_rate(how: Callable[[bytes, int], object], pictures: list[bytes], side: int, workers: int) -> float:
    """Images a second that `workers` processes decode and resize when that is all they do."""
    context = multiprocessing.get_context("forkserver")
    start, done = context.Barrier(workers + 1), context.Queue()
    shares = [pictures[at::workers] for at in range(workers)]
    processes = [context.Process(target=_decode, args=(how, one, side, (start, done))) for one in shares]
    for process in processes:
        process.start()
    start.wait()
    begun = time.perf_counter()
    total: int = sum(done.get() for _ in processes)
    seconds = time.perf_counter() - begun
    for process in processes:
        process.join()
    return float(total / seconds)


class Loaded(NamedTuple):
    """What a stretch of the loader gave, a second: images decoded, images shown, views; and how many batches."""

    decoded: float
    shown: float
    views: float
    batches: float


def loaded(batches: Iterator[Batch], workers: int, count: int) -> Loaded:
    """Returns the rates of packed batches until `count` images were decoded, those apart that were made in advance."""
    for _ in range(5 * workers):
        next(batches)
    start, found = time.perf_counter(), np.zeros(4)
    while found[0] < count:
        batch = next(batches)
        found += (batch.decoded, len(batch.pixels), sum(map(len, batch.keys)), 1)
    return Loaded(*(found / (time.perf_counter() - start)).tolist())


def decoding(feed: Feed, tokenizer: tokenizers.TagTokenizer, workers: int, count: int) -> None:
    """Prints the loader's speed with decoding against that of bare loops, stretch by stretch."""
    reader = Reader(feed.store)
    places = [(shard, row) for one in feed.strata for shard in one.shards for row in range(shard.rows)]
    pictures = [data for place in places[:count] for data in reader.row(*place).images]
    pictures = (pictures * (count // max(len(pictures), 1) + 1))[:count]
    batches = iter(Loader(feed, tokenizer, workers=workers))
    found: list[tuple[float, Loaded, float]] = []
    for _ in range(_STRETCHES):
        bare = bare_rate(plain, pictures, feed.side, workers)
        own = loaded(batches, workers, count)
        found.append((bare, own, bare_rate(square, pictures, feed.side, workers)))
    _, median, _ = sorted(found, key=lambda one: one[1].decoded)[len(found) // 2]
    print(
        f"with decoding to {feed.side} px, {workers} processes: {median.decoded:,.0f} images/s decoded, each once a "
        f"batch ({median.decoded / median.batches:.1f} a batch of {feed.micro} sequences, which shows "
        f"{median.shown / median.batches:.1f} images to {median.views / median.batches:.1f} views)"
    )
    alone = {
        "Pillow alone": [one[0] for one in found],
        "the loader's own decoding alone": [one[2] for one in found],
    }
    for name, rates in alone.items():
        ratio = statistics.median(one[1].decoded / rate for one, rate in zip(found, rates, strict=True))
        print(f"  {name}: {statistics.median(rates):,.0f}; the loader reaches {ratio:.2f} of it")


def packing(feed: Feed, tokenizer: tokenizers.TagTokenizer) -> None:
    """Prints, task by task, how full the loader's sequences are, and how full when all is packed at once."""
    own: dict[str, list[int]] = defaultdict(list)
    for batch in Loader(replace(feed, endless=False, side=32), tokenizer):
        for task, groups in zip(batch.tasks, batch.groups, strict=True):
            own[task].append(int((groups != PADDING).sum()))
    members = []
    for sample in shards.examples(feed.store, feed.strata):
        encoded = encode(sample, tokenizer, feed.queries, feed.style)
        if len(encoded) <= feed.length and any(encoded.loss[1:]):
            members.append(Member(encoded, tuple(sample.images[at].sha256 for at in encoded.images)))
    for task, bins in pack(members, feed.length).items():
        streamed = sum(own[task]) / (feed.length * len(own[task]))
        whole = sum(one.used for one in bins) / (feed.length * len(bins))
        print(
            f"packing {task} to {feed.length} tokens: {streamed:.2%} are no padding, {whole:.2%} when all is "
            f"packed at once: {streamed / whole:.3f} of it ({len(own[task])} and {len(bins)} sequences)"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--decoded", type=int, default=1000, help="pictures of the second part")
    given = parser.parse_args()
    store = Store(str(given.corpus))
    strata = shards.find(store, "train")
    own = rate_of(raw_rows(store, strata, given.samples), given.samples)
    print(f"without decoding: {own:,.0f} views a second of CPU time")
    tars = [shard.tar for one in strata for shard in one.shards if shard.tar]
    other = webdataset_rate(tars, given.samples) if tars else None
    if other is not None:
        print(f"  the webdataset library: {other:,.0f} samples; ours is {own / other:.1f} times that")
    texts = (sample.text for sample in shards.examples(store, strata, 500))
    tokenizer = tokenizers.train(texts, 1000, 0)
    feed = Feed(store, strata, length=2048, micro=2, side=given.side, queries=256, pool=256)
    decoding(feed, tokenizer, given.workers, given.decoded)
    packing(feed, tokenizer)


if __name__ == "__main__":
    main()
