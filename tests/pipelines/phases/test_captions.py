"""Clusters of captions and the cap on rows of one caption, against the definitions applied row by row."""

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.minhash import jaccard, normalised
from filters.table import SIGNALS
from pipelines.engines.step import Engine
from pipelines.layout import Layout
from pipelines.phases.dedup.driver import DedupPlan, dedup
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.recipe.model import Recipe
from schemas.errors import RecipeError
from tests.pipelines.phases.test_dedup import InProcess
from tests.pipelines.phases.test_select import Engine as Both

SHARDS = (("a", "0"), ("a", "1"), ("b", "0"))


@dataclass(frozen=True)
class Row:
    """A row as far as captions go."""

    shard: int
    key: str
    caption: str | None
    language: str = "en"
    error: str | None = None


def write(layout: Layout, rows: Sequence[Row]) -> None:
    """Signals of rows that pass every rule; the member is the number of the row."""
    for number, (source, shard) in enumerate(SHARDS):
        records: list[dict[str, Any]] = [
            {
                "key": row.key,
                "source": source,
                "shard": shard,
                "member": str(at),
                "caption": row.caption,
                "language": row.language,
                "sha256": f"{at:064x}",
                "pixels": f"{at:032x}",
                "error": row.error,
            }
            for at, row in enumerate(rows)
            if row.shard == number
        ]
        path = Path(layout.path("signals", source, shard))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(records, SIGNALS), path)


def recipe(sources: Sequence[dict[str, Any]] | None = None, **rule: Any) -> Recipe:
    named = sources or [{"id": "a", "path": "a"}, {"id": "b", "path": "b"}]
    return Recipe.model_validate({"sources": named, "rules": {"max_per_caption": rule or "on"}})


def run(
    engine: Engine, layout: Layout, rows: Sequence[Row], partitions: int, one: Recipe
) -> dict[str, tuple[int, ...]]:
    """Dedup and select; the numbers of rows by reason."""
    write(layout, rows)
    # the model of the rules is made from their list, so the checker does not know its fields
    rule = one.rules.max_per_caption  # type: ignore[attr-defined]
    capped = frozenset(source.id for source in one.sources if one.rules_of(source).max_per_caption)  # type: ignore[attr-defined]
    plan = DedupPlan(
        layout,
        SHARDS,
        captions=capped,
        similarity=rule.similarity,
        rows=dict.fromkeys(SHARDS, len(rows)),
        partitions=partitions,
        evaluation=one.evaluation,
    )
    dedup(engine, plan)
    select(engine, SelectPlan(one, layout, SHARDS, partitions, scored={}, rows=plan.rows))
    found: dict[str, list[int]] = {}
    for row in read(layout, "decisions"):
        found.setdefault(row["reason"] or row["decision"], []).append(int(row["member"]))
    return {reason: tuple(sorted(members)) for reason, members in sorted(found.items())}


def read(layout: Layout, kind: str) -> list[dict[str, Any]]:
    tables = [pq.ParquetFile(layout.path(kind, *shard)).read() for shard in SHARDS]
    return [row for table in tables for row in table.to_pylist()]


def key(number: int) -> str:
    return f"{number + 1:032x}"


rows_drawn = st.lists(
    st.builds(
        Row,
        st.integers(0, 2),
        st.integers(0, 40).map(key),
        st.sampled_from(["A red car", "a red  car!", "a blue car", "红色汽车", "", None]),
        st.sampled_from(["en", "zh"]),
        st.sampled_from([None, None, None, None, "truncated"]),
    ),
    max_size=24,
    unique_by=lambda row: row.key,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows_drawn,
    st.integers(1, 3),
    st.sampled_from(["corpus", "source", "language"]),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_the_cap(rows: list[Row], most: int, scope: str, partitions: int, seed: int) -> None:
    """Of each caption (in its scope) the rows with the smallest keys stay, whatever the partitions and the order."""
    texts = normalised(pa.array([row.caption for row in rows], pa.string())).to_pylist()
    expected = []
    seen: Counter[tuple[Any, ...]] = Counter()
    for at in sorted(range(len(rows)), key=lambda at: rows[at].key):
        if rows[at].error is None and texts[at] is not None:
            owner = {"source": SHARDS[rows[at].shard][0], "language": rows[at].language, "corpus": ""}[scope]
            seen[texts[at], owner] += 1
            expected += [at] if seen[texts[at], owner] > most else []
    with tempfile.TemporaryDirectory() as folder:
        one = recipe(max=most, scope=scope)
        found = run(Both(seed), Layout(folder), rows, partitions, one)
        members = [row for row in read(Layout(folder), "clusters") if row["kind"] == "caption"]
    assert found.get("max_per_caption", ()) == tuple(sorted(expected))
    groups: dict[str, list[int]] = {}
    for at, text in enumerate(texts):
        if text is not None and rows[at].error is None:
            groups.setdefault(text, []).append(at)
    clusters = {
        (str(at), min(rows[other].key for other in group), 0)
        for group in groups.values()
        for at in group
        if len(group) > 1
    }
    assert {(row["member"], row["cluster"], row["distance"]) for row in members} == clusters


def near_captions(count: int, seed: int) -> list[str]:
    """Captions in families of one to six that differ in a few letters or words, Latin and Han."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 8))) for _ in range(2000)]
    signs = [chr(0x4E00 + n) for n in range(2000)]
    captions: list[str] = []
    while len(captions) < count:
        han = rng.random() < 0.4
        letters = rng.choices(signs, k=40) if han else list(" ".join(rng.choices(words, k=12)))
        for _ in range(rng.randint(1, 6)):
            changed = list(letters)
            for _ in range(rng.randint(0, 3)):
                changed[rng.randrange(len(changed))] = rng.choice(signs if han else "qrstuvwxyz")
            captions.append("".join(changed))
    return captions[:count]


def stars_of(keys: Sequence[str], texts: Sequence[str], similarity: float) -> dict[int, int]:
    """The centre of each caption by definition: by key, the first that is in no star takes all similar ones."""
    centres: dict[int, int] = {}
    order = sorted(range(len(keys)), key=lambda at: keys[at])
    for at in order:
        if at not in centres:
            left = [other for other in order if other not in centres]
            index = jaccard([texts[at]] * len(left), [texts[other] for other in left])
            centres |= {other: at for other, one in zip(left, index, strict=True) if one >= similarity}
    return centres


def scattered(captions: Sequence[str], seed: int) -> list[Row]:
    rng = random.Random(seed)
    keys = rng.sample(range(10**6), len(captions))
    return [Row(rng.randrange(3), key(one), text) for one, text in zip(keys, captions, strict=True)]


def test_captions_nearly_equal_share_a_star(tmp_path: Path) -> None:
    """At least 99 of 100 memberships of a comparison of all with all are found, and no member is less similar."""
    rows = scattered(near_captions(600, 1), 2)
    texts = normalised(pa.array([row.caption for row in rows])).to_pylist()
    write(Layout(str(tmp_path)), rows)
    plan = DedupPlan(Layout(str(tmp_path)), SHARDS, captions=frozenset("ab"), similarity=0.8, partitions=3)
    counts = dedup(InProcess(), plan)["memberships"]
    centres = stars_of([row.key for row in rows], texts, 0.8)
    sizes = Counter(centres.values())
    expected = {(at, rows[centre].key) for at, centre in centres.items() if sizes[centre] > 1}
    number = {row.key: at for at, row in enumerate(rows)}
    found = set()
    for row in read(Layout(str(tmp_path)), "clusters"):
        assert row["kind"] == "caption"
        found.add((int(row["member"]), row["cluster"]))
        (index,) = jaccard([texts[int(row["member"])]], [texts[number[row["cluster"]]]])
        assert index >= 0.8
        assert row["distance"] == round(1000 * (1 - index))
    assert counts["caption"] == len(found)
    assert len(expected) > 250
    assert len(found & expected) >= 0.99 * len(expected)


def test_partitions_and_order_move_no_byte(tmp_path: Path) -> None:
    """One partition or five, rows in another order: the same files."""
    rows = scattered(near_captions(200, 3), 4)
    files = []
    for partitions, seed in ((1, 0), (5, 7)):
        layout = Layout(str(tmp_path / str(partitions)))
        write(layout, rows)
        plan = DedupPlan(
            layout, SHARDS, captions=frozenset("ab"), similarity=0.7, partitions=partitions, alone=0
        )
        dedup(InProcess(seed), plan)
        files.append([Path(layout.path("clusters", *shard)).read_bytes() for shard in SHARDS])
        assert not list(tmp_path.rglob("*exchange/*/*"))
    assert files[0] == files[1]


def test_one_caption_on_all_rows_is_a_few_entries(tmp_path: Path) -> None:
    """A thousand rows with one caption travel as one entry a shard, and as many rows as may stay, and one."""
    rows = [Row(at % 3, key(at), "click to enlarge") for at in range(1000)]
    travelled: Counter[str] = Counter()

    class Counting(Both):
        def shuffle(self, step: Any, tasks: Any, partitions: int) -> Any:
            from pipelines.engines.step import load_worker

            worker = step.worker.rpartition(".")[2]
            if worker.startswith("captions:"):
                for task in tasks:
                    pieces = load_worker(step).split(task, lambda row: None)
                    travelled[worker] += sum(table.num_rows for _, table in pieces)
            return super().shuffle(step, tasks, partitions)

    found = run(Counting(), Layout(str(tmp_path)), rows, 2, recipe(max=4))
    assert found["kept"] == (0, 1, 2, 3)
    assert len(found["max_per_caption"]) == 996
    assert travelled == {"captions:Captions": 3, "captions:Home": 3, "captions:Caps": 15}


def test_evaluation_rows_and_sources_without_the_rule_do_not_count(tmp_path: Path) -> None:
    """They keep all their rows, and take no place of others."""
    rows = [Row(at % 3, key(at), "one caption") for at in range(9)]
    own: dict[str, Any]
    for own in ({"role": "eval"}, {"rules": {"max_per_caption": False}}):
        sources = [{"id": "a", "path": "a", **own}, {"id": "b", "path": "b"}]
        found = run(Both(), Layout(str(tmp_path)), rows, 2, recipe(sources, max=1))
        assert found == {"kept": (0, 1, 2, 3, 4, 6, 7), "max_per_caption": (5, 8)}


def test_a_source_has_no_cap_of_its_own() -> None:
    """Captions are counted over all sources, so another cap for one of them is refused."""
    sources = [{"id": "a", "path": "a", "rules": {"max_per_caption": {"max": 3}}}]
    with pytest.raises((RecipeError, ValueError), match="has a cap on captions of its own"):
        recipe(sources, max=2)
