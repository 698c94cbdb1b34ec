"""Where output shards begin and end."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from pipelines.phases.cutting import (
    Outline,
    Planned,
    Repeats,
    Run,
    Stratum,
    bound,
    from_json,
    outline,
    plan,
    repeats,
    sizes,
    to_json,
)
from pipelines.writers.columns import key_hash

ONE = Stratum("train", "caption", "web")
counts_lists = st.lists(st.integers(0, 60), max_size=12)
NO_REPEATS: Repeats = MappingProxyType({})


def run(shard: int, numbers: Sequence[int], stratum: Stratum = ONE) -> Run:
    """The samples of these numbers in an input shard."""
    return Run(stratum, f"{shard:05d}", [f"key-{n}" for n in numbers], [f"digest-{n}" for n in numbers])


def runs(counts: Sequence[int]) -> list[Run]:
    """Input shards of so many samples, numbered through."""
    starts = [sum(counts[:at]) for at in range(len(counts))]
    return [
        run(at, range(start, start + count))
        for at, (start, count) in enumerate(zip(starts, counts, strict=True))
    ]


def planned_of(given_: Sequence[Run], size: int, again: Repeats = NO_REPEATS) -> list[Planned]:
    """The output shards of runs, planned from their outlines."""
    whole = {(one.stratum, one.shard): one for one in given_}
    outlines = [outline(one, bound(size), again) for one in given_]
    return plan(outlines, size, lambda stratum, shard: whole[stratum, shard], again)


def one_by_one(given_: Sequence[Run], size: int) -> dict[Stratum, list[list[str]]]:
    """The keys of each output shard, decided sample by sample."""
    least, most = sizes(size)
    found: dict[Stratum, list[list[str]]] = defaultdict(lambda: [[]])
    for stratum, _, keys, _ in given_:
        for key in keys:
            shards = found[stratum]
            shards[-1].append(key)
            if len(shards[-1]) == most or (len(shards[-1]) >= least and key_hash(key) < bound(size)):
                shards.append([])
    return {stratum: [one for one in shards if one] for stratum, shards in found.items()}


def count(one: Planned) -> int:
    return sum(part.stop - part.start for part in one.parts)


@given(counts_lists, st.integers(1, 30))
def test_every_sample_is_in_one_shard(counts: list[int], size: int) -> None:
    """The shards, laid end to end, are the input shards laid end to end: nothing twice, nothing lost."""
    found = [
        (part.shard, number)
        for one in planned_of(runs(counts), size)
        for part in one.parts
        for number in range(part.start, part.stop)
    ]
    assert found == [(one.shard, number) for one in runs(counts) for number in range(len(one.keys))]


@given(counts_lists, st.integers(1, 30))
def test_sizes_are_bounded(counts: list[int], size: int) -> None:
    """No shard but the last has fewer than a quarter of the samples asked for, none more than four times."""
    found = [count(one) for one in planned_of(runs(counts), size)]
    assert all(size <= 4 * samples for samples in found[:-1])
    assert all(0 < samples <= 4 * size for samples in found)


def test_sizes_are_met_on_average() -> None:
    """Over many shards the average is what is asked for, to a few percent."""
    for size in (1, 2, 10, 100):
        planned = planned_of(runs([1000] * 100), size)
        assert abs(100_000 / len(planned) / size - 1) < 0.08, size


def test_a_shard_is_named_by_its_first_sample() -> None:
    """The name is the first 16 hex digits of the BLAKE2b of the first sample's key."""
    first, *_ = planned_of(runs([40]), 10)
    assert first.name == "shards/train/caption/web/510c41f53ff9ac1f"
    assert first.first == key_hash("key-0")


def test_a_removed_sample_changes_its_own_shard() -> None:
    """Of 100,000 samples 100 are gone: some hundred shards of a thousand change, all others keep name and digest."""
    gone = set(random.Random(1).sample(range(100_000), 100))
    whole = [run(at, range(at * 1000, at * 1000 + 1000)) for at in range(100)]
    less = [run(at, [n for n in range(at * 1000, at * 1000 + 1000) if n not in gone]) for at in range(100)]
    before, after = ({(one.name, one.digest) for one in planned_of(given, 100)} for given in (whole, less))
    assert 900 < len(before) < 1100
    # 95 on average if each sample lay in a shard of its own, and a few more where a shard ended with one
    assert len(after - before) <= 115
    assert len(before - after) <= 115


def test_input_that_comes_after_leaves_shards_alone() -> None:
    """Input shards added behind change the last shard of the stratum alone."""
    before, after = planned_of(runs([500] * 4), 50), planned_of(runs([500] * 6), 50)
    assert after[: len(before) - 1] == before[:-1]


def test_input_shards_that_are_cut_anew_rename_nothing() -> None:
    """The same samples in other input shards give shards of the same names; those within one input shard stay."""
    shapes = ([100, 100], [1, 199], [200])
    found = [[(one.name, count(one), one.digest) for one in planned_of(runs(shape), 20)] for shape in shapes]
    assert [one[:2] for one in found[0]] == [one[:2] for one in found[1]] == [one[:2] for one in found[2]]
    assert len({*found[0]} - {*found[2]}) == len({*found[1]} - {*found[2]}) == 1


def test_strata_are_planned_apart() -> None:
    """Each (split, task, source) has shards of its own, in the order of strata, however their runs alternate."""
    other = Stratum("eval", "caption", "web")
    mixed = [run(0, range(20)), run(0, range(20, 25), other), run(1, range(30, 50))]
    found = planned_of(mixed, 10)
    assert found == planned_of([mixed[1]], 10) + planned_of([mixed[0], mixed[2]], 10)
    assert {one.stratum for one in found} == {ONE, other}


@given(st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), max_size=6), st.integers(1, 12))
def test_a_key_of_several_input_shards_is_one_sample(numbers: list[list[int]], size: int) -> None:
    """Of samples with one key the first stays in its place; the others join it in the same output shard."""
    given_ = [run(at, own) for at, own in enumerate(numbers)]
    planned = planned_of(given_, size, repeats(lambda: given_))
    keys = {one.shard: one.keys for one in given_}
    own, joining = [], []
    for one in planned:
        mine = {
            key for part in one.parts if not part.joins for key in keys[part.shard][part.start : part.stop]
        }
        for part in one.parts:
            (joining if part.joins else own).extend(keys[part.shard][part.start : part.stop])
            assert set(keys[part.shard][part.start : part.stop]) <= mine
    every = [key for one in given_ for key in one.keys]
    assert own == list(dict.fromkeys(every))
    assert Counter(own) + Counter(joining) == Counter(every)


@given(counts_lists, st.integers(1, 30))
def test_outlines_give_the_shards_that_single_samples_would(counts: list[int], size: int) -> None:
    """A plan from stretches cuts where one that looks at every sample does, though a receipt lies between."""
    given_ = runs(counts)
    keys = {one.shard: one.keys for one in given_}
    found = [
        [key for part in one.parts for key in keys[part.shard][part.start : part.stop]]
        for one in plan(_through_receipts(given_, size), size, lambda _, shard: given_[int(shard)])
    ]
    assert found == one_by_one(given_, size).get(ONE, [])
    firsts = [one.first for one in planned_of(given_, size)]
    assert firsts == [key_hash(own[0]) for own in found]


def _through_receipts(given_: Sequence[Run], size: int) -> Iterator[Outline]:
    for one in given_:
        yield from from_json(("web", one.shard), to_json([outline(one, bound(size))]))


def test_keys_are_read_only_where_a_shard_comes_to_its_greatest_size() -> None:
    """Of 100,000 samples in 100 input shards, few of whose shards become that large, few are opened again."""
    given_, read = runs([1000] * 100), list[str]()

    def opened(_: Stratum, shard: str) -> Run:
        read.append(shard)
        return given_[int(shard)]

    found = plan(_through_receipts(given_, 1000), 1000, opened)
    assert 60 < len(found) < 150
    assert len(read) <= 10
    assert len(read) == sum(count(one) == 4000 for one in found)
