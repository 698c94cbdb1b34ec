"""The plan of output shards, and what is written by it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.phases.shard import Planned, Stratum, plan, strata

ONE = Stratum("train", "caption", "web")
counts_lists = st.lists(st.integers(0, 40), max_size=12)


def named(counts: list[int]) -> list[tuple[str, int]]:
    return [(f"{number:05d}", count) for number, count in enumerate(counts)]


def planned(counts: list[int], group: int, size: int) -> list[Planned]:
    return plan({ONE: named(counts)}, group, size)


def samples(one: Planned) -> list[tuple[str, int]]:
    return [(part.shard, number) for part in one.parts for number in range(part.start, part.stop)]


@settings(deadline=None)
@given(counts_lists, st.integers(1, 5), st.integers(1, 30))
def test_every_sample_is_in_one_shard(counts: list[int], group: int, size: int) -> None:
    """The shards, laid end to end, are the input shards laid end to end: nothing twice, nothing lost."""
    found = [place for one in planned(counts, group, size) for place in samples(one)]
    assert found == [(name, number) for name, count in named(counts) for number in range(count)]


@settings(deadline=None)
@given(counts_lists, st.integers(1, 5), st.integers(1, 30))
def test_shards_are_full(counts: list[int], group: int, size: int) -> None:
    """Every shard has exactly the size asked for, but the last of each group."""
    sizes: dict[int, list[int]] = {}
    for number, one in enumerate(planned(counts, group, size)):
        assert one.number == number
        groups = {int(part.shard) // group for part in one.parts}
        assert len(groups) == 1
        sizes.setdefault(groups.pop(), []).append(len(samples(one)))
    for number, found in sizes.items():
        assert all(count == size for count in found[:-1])
        assert 0 < found[-1] <= size
        assert sum(found) == sum(counts[number * group : (number + 1) * group])


@settings(deadline=None)
@given(counts_lists, st.lists(st.integers(0, 40), max_size=6), st.integers(1, 5), st.integers(1, 30))
def test_new_input_leaves_old_groups(counts: list[int], more: list[int], group: int, size: int) -> None:
    """Input shards that come after leave the shards of full groups as they are, to the number."""
    whole = len(counts) // group * group
    before = [one for one in planned(counts, group, size) if int(one.parts[0].shard) < whole]
    after = planned(counts + more, group, size)
    assert after[: len(before)] == before


@settings(deadline=None)
@given(counts_lists.filter(bool), st.data(), st.integers(1, 5), st.integers(1, 30))
def test_a_change_stays_in_its_group(counts: list[int], data: st.DataObject, group: int, size: int) -> None:
    """Another count in one input shard leaves the parts of all other groups alone (numbers may move)."""
    where = data.draw(st.integers(0, len(counts) - 1))
    changed = [*counts]
    changed[where] = data.draw(st.integers(0, 40))

    def others(counts: list[int]) -> list[tuple[object, ...]]:
        return [
            one.parts
            for one in planned(counts, group, size)
            if int(one.parts[0].shard) // group != where // group
        ]

    assert others(counts) == others(changed)


def test_strata() -> None:
    """Counts go by split, task and source; a shard that gives a stratum nothing keeps its place."""
    receipts = {
        ("web", "b"): {"counts": [["caption", "train", "en", 2], ["caption", "train", "zh", 3]]},
        ("web", "a"): {"counts": [["caption", "val", "en", 1]]},
        ("text", "a"): {"counts": [["text", "train", "en", 4]]},
    }
    assert strata(receipts) == {
        Stratum("train", "caption", "web"): [("a", 0), ("b", 5)],
        Stratum("val", "caption", "web"): [("a", 1), ("b", 0)],
        Stratum("train", "text", "text"): [("a", 4)],
    }


def test_strata_are_planned_apart() -> None:
    """Each (split, task, source) has its own folder and its own numbers."""
    found = plan({Stratum("val", "caption", "b"): [("x", 3)], ONE: [("x", 3)]}, 64, 2)
    assert [one.name for one in found] == [
        "shards/train/caption/web/00000",
        "shards/train/caption/web/00001",
        "shards/val/caption/b/00000",
        "shards/val/caption/b/00001",
    ]
