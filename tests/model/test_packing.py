"""Samples in sequences."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from model.encode import Encoded, encode
from model.loader import WAITS
from model.packing import Member, first_fit, grouped, pack, parted
from schemas.markup import STAGE2
from tests.model.corpora import example, tokenizer


def _slow(sizes: list[int], length: int) -> list[list[int]]:
    bins: list[list[int]] = []
    for at in sorted(range(len(sizes)), key=lambda at: -sizes[at]):
        for own in bins:
            if sum(sizes[one] for one in own) + sizes[at] <= length:
                own.append(at)
                break
        else:
            bins.append([at])
    return bins


@given(st.lists(st.integers(1, 50), max_size=60))
def test_first_fit_decreasing(sizes: list[int]) -> None:
    """The tree finds the very bins that looking through all of them finds."""
    bins = first_fit([(at, size) for at, size in enumerate(sizes)], 50)
    assert [one.contents for one in bins] == _slow(sizes, 50)
    assert [one.used for one in bins] == [sum(sizes[at] for at in one.contents) for one in bins]


def _member(name: str, task: str, size: int, shared: int = 0, picture: str = "") -> Member:
    encoded = Encoded(name, task, tuple(range(size)), (True,) * size, (), (), shared)
    return Member(encoded, (picture,) if picture else ())


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["vqa", "ocr"]), st.integers(1, 40), st.sampled_from("abc")), max_size=40
    )
)
def test_every_sample_once(drawn: list[tuple[str, int, str]]) -> None:
    """Packing keeps each sample once, mixes no tasks, and cuts nothing."""
    members = [
        _member(str(at), task, size + 10, 8, picture) for at, (task, size, picture) in enumerate(drawn)
    ]
    packed = pack(members, 64)
    names = [
        member.encoded.key
        for task, bins in packed.items()
        for one in bins
        for group in one.contents
        for member in group.members
        if member.encoded.task == task
    ]
    assert sorted(names) == sorted(str(at) for at in range(len(drawn)))
    for bins in packed.values():
        assert all(one.used <= 64 and one.used == sum(map(len, one.contents)) for one in bins)


def test_shared_picture() -> None:
    """Questions on one image pay for it once."""
    own = tokenizer()
    questions = [encode(example("vqa", 3, at), own, 16, STAGE2) for at in range(3)]
    groups = grouped([Member(one, ("x",)) for one in questions], 200)["vqa"]
    assert len(groups) == 1
    assert questions[0].shared == 17
    assert len(groups[0]) == 17 + sum(len(one) - 17 for one in questions)
    apart = grouped([Member(one, ("x",)) for one in questions], 200, share=False)["vqa"]
    assert len(apart) == 3


def test_stream_packs_as_well_as_the_whole_set() -> None:
    """Packing pool by pool, as the loader does, is within 1 % of packing everything at once."""
    rng = random.Random(0)
    kinds = {
        "caption": lambda: 40 + min(int(rng.expovariate(1 / 20)), 150),
        "ocr": lambda: 258 + rng.randint(20, 1600),
        "vqa": lambda: 258 + rng.randint(10, 40),
    }
    members = [_member(str(at), task := rng.choice(list(kinds)), kinds[task]()) for at in range(12_000)]
    streamed: dict[str, list[int]] = {task: [] for task in kinds}
    pool: list[Member] = []
    age: Counter[str] = Counter()
    for start in range(0, len(members), 1):
        pool.append(members[start])
        if len(pool) < 1024 and start + 1 < len(members):
            continue
        ended = start + 1 == len(members)
        stay: list[Member] = []
        for task, bins in pack(pool, 2048).items():
            ready, kept = (
                (bins, []) if ended else parted(bins, lambda member: age[member.encoded.key] < WAITS)
            )
            streamed[task] += [one.used for one in ready]
            stay += [member for one in kept for group in one.contents for member in group.members]
        age.update(member.encoded.key for member in stay)
        pool = stay
    for task, bins in pack(members, 2048).items():
        whole = sum(one.used for one in bins) / (2048 * len(bins))
        own = sum(streamed[task]) / (2048 * len(streamed[task]))
        print(f"{task}: {own:.4f} streamed, {whole:.4f} at once")
        assert own >= 0.99 * whole
