"""From shards to packed batches: exact, shuffled, weighted, shared by ranks and workers, resumable.

A worker keeps a pool of encoded samples. Each round it packs the pool and hands out all but each task's emptiest
sequences, whose samples wait for the next round; with each batch it draws a part of what the next round needs, so
that no batch waits for a whole pool. Its state is where the round began, and how many batches it has handed out since.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import BaseContext
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from model.batch import Batch, Collator, SharedBatch, from_shared, to_shared
from model.encode import encode
from model.images import ImageError, square
from model.packing import Bin, Group, Member, pack, parted
from model.sampler import ConsumerSampler, MixtureSampler, StratumSampler, generator
from model.shards import Reader, Stratum
from model.store import Store
from model.tokenizer import TagTokenizer
from schemas.errors import InputError, VlcorpusError
from schemas.markup import STAGE2, TEMPLATES, MarkupError, Style
from schemas.mixture import Portion, Share, shares
from schemas.strict import FieldError

KNOWN_TASKS: Final = (*TEMPLATES, "chat", "interleaved")
"""Tasks of the samples that the model learns: those with a template, and those that are written plainly."""

WAITS: Final = 4
"""Rounds that a sample may be kept back for a fuller sequence."""

_DROPS_AFTER: Final = 500


def require_known(store: Store, strata: Sequence[Stratum]) -> None:
    """Raises InputError where shards are of a task that the model has no template for."""
    unknown = sorted({one.task for one in strata} - set(KNOWN_TASKS))
    if unknown:
        raise InputError(
            f"{store.root} holds shards of task {', '.join(unknown)}, which the model has no template for "
            f"(it has {', '.join(KNOWN_TASKS)}): move them out of the corpus"
        )


@dataclass(frozen=True, slots=True)
class Feed:
    """What the loader reads, and how it makes batches of it.

    `micro`: sequences of a batch; `unit`: sequences of a step, so that no batch is short where the pool holds
    as many; `pool`: samples that a worker packs at once.
    """

    store: Store
    strata: tuple[Stratum, ...]
    length: int
    micro: int
    side: int
    queries: int
    seed: int = 0
    mixture: Mapping[str, Portion] = field(default_factory=dict)
    style: Style = STAGE2
    isolate: bool = True
    pack: bool = True
    share: bool = True
    blind: bool = False
    fixed: bool = True
    endless: bool = True
    pool: int = 1024
    unit: int = 1
    too_long: Literal["drop", "refuse"] = "drop"
    max_drop: float = 0.5

    def __post_init__(self) -> None:
        require_known(self.store, self.strata)

    def shares(self) -> dict[str, Share]:
        """Returns what an epoch takes of each stratum that the mixture names, or every view once where there is none.

        Raises InputError where the mixture names what is not there.
        """
        try:
            return shares(self.mixture, {one.name: one.rows for one in self.strata})
        except FieldError as error:
            raise InputError(f"{self.store.root}: mixture: {error}") from error


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A sample in the pool: which it is, what it encodes to, its images' bytes, rounds it waited."""

    stratum: int
    ordinal: int
    member: Member
    images: tuple[bytes, ...]
    age: int = 0


class PackedStream:
    """One consumer's endless stream of packed batches; `state` before a batch brings that batch back."""

    def __init__(self, feed: Feed, tokenizer: TagTokenizer, consumer: int, consumers: int) -> None:
        self.feed, self._tokenizer = feed, tokenizer
        self._reader = Reader(feed.store)
        taken = feed.shares()
        self._orders = [
            StratumSampler(one, taken[one.name].views, feed.seed, self._reader.places, feed.endless)
            for one in feed.strata
            if one.name in taken
        ]
        quotas = [taken[one.stratum.name].drawn for one in self._orders]
        draws = MixtureSampler(quotas, feed.seed, feed.endless)
        self._sampler = ConsumerSampler(draws, consumer, consumers)
        self._collator = Collator(feed.length, feed.side, tokenizer.end, feed.isolate, feed.blind)
        self._pool: list[_Waiting] = []
        self._round = 0
        self._emitted = 0
        self.drops: Counter[str] = Counter()
        self._dropped: Mapping[str, int] = {}
        self._seen = 0
        self.start = self._snapshot(0)

    def __iter__(self) -> Iterator[Batch]:
        draws = iter(self._sampler)
        while True:
            ended = self._fill(draws, self.feed.pool)
            waiting = {id(one.member): one for one in self._pool}
            queue = self._round_of_bins(ended)
            # where the next round begins: before the first of its draws
            following = self._snapshot(self._round + 1)
            kept, batches = len(self._pool), -(-len(queue) // self.feed.micro)
            skip = self._emitted
            for number in range(1, batches + 1):
                bins = queue[(number - 1) * self.feed.micro : number * self.feed.micro]
                self._fill(draws, kept + (self.feed.pool - kept) * number // batches)
                if number > skip:
                    batch, self._emitted = self._collated(bins, waiting), number
                    yield batch
                elif number == skip:
                    # with the images that could not be decoded in the batches skipped
                    self.drops = Counter(self._dropped)
                for member in _members(bins):
                    del waiting[id(member)]
            if ended:
                return
            self.start, self._emitted, self._round = following, 0, self._round + 1

    def state(self) -> dict[str, Any]:
        """Returns what brings back the batch after the last one handed out, as JSON values."""
        return {**self.start, **self.since()}

    def since(self) -> dict[str, Any]:
        """Returns the part of the state that changes with each batch; `start`, the rest, changes with each round."""
        return {"emitted": self._emitted, "dropped": dict(self.drops)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on as the stream whose `state` this is would have."""
        self._sampler.restore(state["deal"])
        self._round, self._emitted, self._seen = state["round"], state["emitted"], state["seen"]
        self.drops, self._dropped = Counter(state["drops"]), state["dropped"]
        self._pool = []
        for stratum, ordinal, age in state["pool"]:
            self._pool += [replace(one, age=age) for one in self._waiting(stratum, ordinal)]
        self.start = self._snapshot(self._round)

    def _snapshot(self, round_: int) -> dict[str, Any]:
        return {
            "deal": self._sampler.state(),
            "pool": [[one.stratum, one.ordinal, one.age] for one in self._pool],
            "round": round_,
            "drops": dict(self.drops),
            "seen": self._seen,
        }

    def _fill(self, draws: Iterator[tuple[int, int]], size: int) -> bool:
        """Fills the pool up to `size` samples; true where a finite order has ended."""
        while len(self._pool) < size:
            drawn = next(draws, None)
            if drawn is None:
                return True
            self._pool += self._waiting(*drawn)
            self._seen += 1
        return False

    def _waiting(self, stratum: int, ordinal: int) -> list[_Waiting]:
        """Returns the sample as a list of one, or of none where it is dropped and counted."""
        shard, place = self._orders[stratum].locate(ordinal)
        row = self._reader.view(shard, place)
        sample = row.example
        if len(row.images) != len(sample.images):
            raise InputError(
                f"{shard.path}, {sample.key}: {len(row.images)} images, not {len(sample.images)}"
            )
        try:
            encoded = encode(sample, self._tokenizer, self.feed.queries, self.feed.style)
        except MarkupError as error:
            return self._drop("markup", f"{shard.path}, {sample.key}: {error}")
        if len(encoded) > self.feed.length:
            message = f"{sample.key} has {len(encoded)} tokens, more than the context of {self.feed.length}"
            if self.feed.too_long == "refuse":
                raise InputError(f"{shard.path}: {message}")
            return self._drop("too_long", message)
        if not any(encoded.loss[1:]):
            return self._drop("nothing_taught", f"{sample.key} teaches nothing")
        shown = tuple(sample.images[at].sha256 for at in encoded.images)
        return [_Waiting(stratum, ordinal, Member(encoded, shown), () if self.feed.blind else row.images)]

    def _drop(self, reason: str, message: str) -> list[_Waiting]:
        self.drops[reason] += 1
        lost = self.drops.total()
        if lost >= _DROPS_AFTER and lost > self.feed.max_drop * self._seen:
            raise InputError(f"{lost} of {self._seen} samples cannot be used; the last: {message}")
        return []

    def _round_of_bins(self, ended: bool) -> list[Bin[Group]]:
        """Returns the sequences of this round, in an order of their own; the pool keeps the rest."""
        packed = pack([one.member for one in self._pool], self.feed.length, self.feed.share, self.feed.pack)
        ages = {id(one.member): one.age for one in self._pool}
        ready: list[Bin[Group]] = []
        kept: list[Bin[Group]] = []
        for bins in packed.values():
            now, later = (
                (bins, [])
                if ended or not self.feed.pack
                else parted(bins, lambda member: ages[id(member)] < WAITS)
            )
            ready += now
            kept += later
        if not ready:
            ready, kept = kept, []
        if not ended:
            whole = next(
                (size for size in (self.feed.unit, self.feed.micro) if size <= len(ready)), len(ready)
            )
            rest = len(ready) % whole
            ready, kept = ready[: len(ready) - rest], kept + ready[len(ready) - rest :]
        stay = {id(member) for member in _members(kept)}
        self._pool = [replace(one, age=one.age + 1) for one in self._pool if id(one.member) in stay]
        if self.feed.endless:
            order = generator(self.feed.seed, "bins", self._sampler.consumer, self._round).permutation(
                len(ready)
            )
            ready = [ready[at] for at in order]
        return ready

    def _collated(self, bins: Sequence[Bin[Group]], waiting: Mapping[int, _Waiting]) -> Batch:
        decoded: dict[str, NDArray[np.uint8] | None] = {}

        def show(member: Member, place: int) -> NDArray[np.uint8] | None:
            name = member.images[place]
            if name not in decoded:
                data = waiting[id(member)].images[member.encoded.images[place]]
                try:
                    decoded[name] = square(data, self.feed.side)
                except ImageError:
                    decoded[name] = None
                    self.drops["picture"] += 1
            return decoded[name]

        return self._collator.batch(bins, show, self.feed.fixed)


def _members(bins: Iterable[Bin[Group]]) -> Iterator[Member]:
    return (member for one in bins for group in one.contents for member in group.members)


_Sent = tuple[int, Batch | SharedBatch | VlcorpusError, dict[str, Any] | None, dict[str, Any]]
"""Whose batch it is, the batch, the state at the start of its round where that is new, and what came since.

A mistake in the data comes in the batch's place: as an exception it would bring a worker's traceback along.
"""


class _Share(IterableDataset[_Sent]):
    """What a worker of the loader runs: its stream, each batch with the state after it."""

    def __init__(
        self, feed: Feed, tokenizer: TagTokenizer, rank: int, world: int, state: Mapping[str, Any]
    ) -> None:
        self._feed, self._tokenizer, self._rank, self._world = feed, tokenizer, rank, world
        self._state = state

    def __iter__(self) -> Iterator[_Sent]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if info:
            torch.set_num_threads(1)
        # the worker that comes first now is the one whose turn it was
        own = (worker + int(self._state["turn"])) % workers
        consumers = self._world * workers
        stream = PackedStream(self._feed, self._tokenizer, self._rank * workers + own, consumers)
        before = self._state["workers"].get(str(own))
        if before:
            stream.restore(before)
        known = None
        try:
            for batch in stream:
                start = None if stream.start is known else stream.start
                known = stream.start
                yield own, to_shared(batch) if info else batch, start, stream.since()
        except VlcorpusError as error:
            yield own, error, stream.start, stream.since()


def _as_it_is(sent: Any) -> Any:
    return sent


def _processes() -> BaseContext:
    """Returns a context whose workers are forks of a process that has imported torch, once for all of them.

    A fork of this process, in which torch and pyarrow have threads, may hang.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    return context


class Loader:
    """Batches of one rank, made by `workers` processes (0: in this one).

    `state_dict` and `load_state_dict` keep the contract of torchdata's StatefulDataLoader: a loader that
    loads a state gives exactly the batches that the one which saved it had still to give.
    """

    def __init__(
        self, feed: Feed, tokenizer: TagTokenizer, rank: int = 0, world: int = 1, workers: int = 0
    ) -> None:
        self._feed, self._tokenizer = feed, tokenizer
        self._rank, self._world, self._workers = rank, world, workers
        self._turn = 0
        self._states: dict[str, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[Batch]:
        share = _Share(self._feed, self._tokenizer, self._rank, self._world, self.state_dict())
        many = self._workers > 0
        loader = DataLoader(
            share,
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=4 if many else None,
            collate_fn=_as_it_is,
            multiprocessing_context=_processes() if many else None,
        )
        for own, sent, start, since in loader:
            if isinstance(sent, VlcorpusError):
                raise sent
            self._states[str(own)] = {**(start or self._states[str(own)]), **since}
            self._turn = (own + 1) % max(self._workers, 1)
            yield from_shared(sent) if isinstance(sent, SharedBatch) else sent

    @property
    def drops(self) -> Counter[str]:
        """Returns how many samples were left out so far, by reason: markup, too_long, nothing_taught, picture."""
        total: Counter[str] = Counter()
        for state in self._states.values():
            total.update(state["dropped"])
        return total

    def state_dict(self) -> dict[str, Any]:
        """Returns where the loader stands after the last batch it gave, as JSON values."""
        return {
            "workers": dict(self._states),
            "turn": self._turn,
            "shape": [self._rank, self._world, self._workers],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after the batch of `state`; raises InputError where the work is split in another way."""
        shape = [self._rank, self._world, self._workers]
        if state["shape"] != shape:
            raise InputError(
                f"the loader's state is of rank, world, workers {state['shape']}, but these are {shape} now"
            )
        self._states, self._turn = dict(state["workers"]), state["turn"]
