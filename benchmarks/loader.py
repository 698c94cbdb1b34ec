"""How fast the loader is: against the webdataset library on the same tars, and against bare decoding.

    python -m benchmarks.loader CORPUS [--samples 4000] [--workers 2] [--side 224]

Without decoding, both give each sample's record and its pictures' bytes, in one process; ours shuffled. With
decoding, the loader's packed batches from `workers` processes stand against as many processes that do
nothing but decode and resize the same bytes. webdataset is asked only where it is installed.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model import shards
from model import tokenizer as tokenizers
from model.loader import Feed, Loader
from model.order import Deal, Draws, StratumOrder
from model.pictures import square
from model.shards import Reader, Stratum
from model.store import Store


def raw_rows(store: Store, strata: tuple[Stratum, ...], count: int) -> Iterator[int]:
    """Reads `count` shuffled samples; gives the size of each one's pictures."""
    reader = Reader(store)
    orders = [StratumOrder(one, 0, reader.keys) for one in strata]
    draws = Draws(np.array([one.rows for one in strata], np.int64), None, 0)
    for _, (stratum, ordinal) in zip(range(count), Deal(draws, 0, 1), strict=False):
        row = reader.row(*orders[stratum].locate(ordinal))
        yield sum(map(len, row.pictures))


def rate_of(rows: Iterator[object], count: int) -> float:
    """Items a second, after a first one that opens what must be opened."""
    next(rows)
    start = time.perf_counter()
    done = sum(1 for _ in rows)
    return min(done, count) / (time.perf_counter() - start)


def webdataset_rate(tars: list[str], count: int) -> float | None:
    """The webdataset library's samples a second, one tar after the other; None where it is not installed."""
    try:
        import webdataset  # type: ignore[import-not-found]
    except ImportError:
        return None
    data = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).repeat()
    return rate_of((row for _, row in zip(range(count), data, strict=False)), count)


def _decode(pictures: list[bytes], side: int, start: object, done: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    for data in pictures:
        square(data, side)
    done.put(len(pictures))  # type: ignore[attr-defined]


def bare_rate(pictures: list[bytes], side: int, workers: int) -> float:
    """Pictures a second that `workers` processes decode and resize when that is all they do."""
    context = multiprocessing.get_context("forkserver")
    start, done = context.Barrier(workers + 1), context.Queue()
    shares = [pictures[at::workers] for at in range(workers)]
    processes = [context.Process(target=_decode, args=(one, side, start, done)) for one in shares]
    for process in processes:
        process.start()
    start.wait()
    begun = time.perf_counter()
    total: int = sum(done.get() for _ in processes)
    seconds = time.perf_counter() - begun
    for process in processes:
        process.join()
    return float(total / seconds)


def loader_rate(feed: Feed, tokenizer: tokenizers.TagTokenizer, workers: int, count: int) -> float:
    """Pictures a second in packed batches, once every worker has given its first."""
    batches = iter(Loader(feed, tokenizer, workers=workers))
    for _ in range(4 * workers):
        next(batches)
    start, shown = time.perf_counter(), 0
    while shown < count:
        shown += len(next(batches).pixels)
    return shown / (time.perf_counter() - start)


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
    print(f"without decoding: {own:,.0f} samples/s")
    tars = [shard.tar for one in strata for shard in one.shards if shard.tar]
    other = webdataset_rate(tars, given.samples) if tars else None
    if other is not None:
        print(f"  the webdataset library: {other:,.0f} samples/s; ours is {own / other:.1f} times that")
    texts = (sample.text for sample in shards.samples(store, strata, 500))
    tokenizer = tokenizers.train(texts, 1000, 0)
    feed = Feed(store, strata, length=2048, micro=2, side=given.side, queries=256, pool=256)
    reader = Reader(store)
    places = [(shard, row) for one in strata for shard in one.shards for row in range(shard.rows)][
        : given.decoded
    ]
    pictures = [data for place in places for data in reader.row(*place).pictures]
    pictures = (pictures * (given.decoded // max(len(pictures), 1) + 1))[: given.decoded]
    bare = bare_rate(pictures, given.side, given.workers)
    loaded = loader_rate(feed, tokenizer, given.workers, given.decoded)
    print(
        f"with decoding to {given.side} px, {given.workers} processes: {loaded:,.0f} pictures/s, "
        f"bare {bare:,.0f}: {loaded / bare:.2f} of it"
    )


if __name__ == "__main__":
    main()
