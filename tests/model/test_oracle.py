"""Oracle features."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import shards
from model.loader import Loader
from model.oracle import EDGES_COUNT, STEPS, WORDS, Oracle, covered, edges, rarity, regions
from model.qwen_vl import build
from model.store import Store
from tests.model.corpora import TINY, corpus, example, tokenizer
from tests.model.test_loader import feed

SIDE = st.integers(1, 8)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """A box within the image."""
    x, y = (sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))) for _ in range(2))
    return x[0], y[0], x[1], y[1]


@given(boxes(), SIDE)
def test_shares_are_those_of_a_fine_grid(box: tuple[float, float, float, float], side: int) -> None:
    """All shares together are the box's area, and none is below 0 or above 1."""
    shares = covered(box, side)
    assert shares.shape == (side * side,)
    assert bool((shares >= 0).all())
    assert bool((shares <= 1 + 1e-5).all())
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert shares.sum().item() / side**2 == pytest.approx(area, abs=1e-5)


def test_a_box_covers_its_places() -> None:
    """Rows come first: a box in the upper right covers the upper right."""
    shares = covered((0.5, 0.0, 1.0, 0.25), 2)
    assert torch.allclose(shares, torch.tensor([0.0, 0.5, 0.0, 0.0]))


def test_regions(tmp_path: Path) -> None:
    """What lies where is known from grounded samples, in shares of the image; captions and pages add nothing."""
    corpus(tmp_path, {"referring": 3, "caption": 5, "ocr": 3})
    store = Store(str(tmp_path))
    found = regions(shards.examples(store, shards.find(store, "train")))
    assert len(found) == 3
    sample = example("referring", 0)
    ((phrase, box),) = found[sample.images[0].sha256]
    assert phrase == "red circle"
    assert box == pytest.approx((4 / 64, 4 / 48, 20 / 64, 20 / 48))


def test_the_words_stand_where_the_box_is() -> None:
    """A place holds the pad, its own mark, and the words of what covers it, each by how much it covers."""
    own = tokenizer()
    words = torch.randn(own.size, 16, generator=torch.Generator().manual_seed(1))
    oracle = Oracle({"a": [("red circle", (0.0, 0.0, 0.5, 0.25))]}, own, 4, 16)
    assert "a" in oracle
    assert "b" not in oracle
    known, unknown = oracle.features(["a", "b"], words)
    said = words[torch.tensor(own.encode(" red circle"))].sum(0)
    difference = known - unknown
    # the box covers half of the first place: its edges count in full there, and nowhere else
    bounds = edges(torch.tensor([[0.0, 0.0, 0.5, 0.25]])) @ oracle._edges
    assert torch.allclose(difference[0], said * 0.5 * WORDS + bounds[0], atol=1e-5)
    assert torch.allclose(difference[1:], torch.zeros(3, 16), atol=1e-6)
    marks = unknown - words[own.pad]
    assert len({tuple(np.round(mark.tolist(), 4)) for mark in marks}) == 4


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=30))
def test_rare_words_weigh_more(phrases: list[list[int]]) -> None:
    """No word is louder than a rarer one, none is silent, and over all that is said the mean is 1."""
    loud = rarity(phrases)
    counts = Counter(token for phrase in phrases for token in set(phrase))
    assert loud.keys() == counts.keys()
    assert all(value > 0 for value in loud.values())
    ranked = sorted(counts, key=counts.__getitem__)
    assert all(loud[one] >= loud[other] - 1e-12 for one, other in pairwise(ranked))
    said = [loud[token] for phrase in phrases for token in set(phrase)]
    assert sum(said) / len(said) == pytest.approx(1)


def test_what_tells_edges_counts_more() -> None:
    """A mistake in an edge weighs EDGES_COUNT times one of equal size that no edge has part in."""
    oracle = Oracle({}, tokenizer(), 4, 160)
    edge = oracle._edges[7]
    other = torch.randn(160, generator=torch.Generator().manual_seed(2))
    other = other - torch.linalg.lstsq(oracle._edges.T, other[:, None]).solution.T[0] @ oracle._edges
    other = other * edge.norm() / other.norm()
    apart = oracle.apart(torch.stack([edge, other]))
    assert apart[1].item() == pytest.approx(other.square().mean().item(), rel=1e-3)
    assert apart[0].item() == pytest.approx(EDGES_COUNT * apart[1].item(), rel=1e-3)


@given(boxes())
def test_edges_can_be_read_again(box: tuple[float, float, float, float]) -> None:
    """The tenths, weighed by an edge's features, give the edge."""
    features = edges(torch.tensor([box])).reshape(4, STEPS + 1)
    assert torch.allclose(features.sum(1), torch.ones(4), atol=1e-5)
    tenths = torch.arange(STEPS + 1) / STEPS
    assert (features @ tenths).tolist() == pytest.approx(box, abs=1e-5)


def test_each_place_tells_the_box_that_covers_most_of_it() -> None:
    """Of two boxes over a place the larger share wins; a place's telling hangs on its image alone."""
    own = tokenizer()
    words = torch.zeros(own.size, 16)
    left, right = (0.0, 0.0, 0.7, 1.0), (0.7, 0.0, 1.0, 1.0)
    oracle = Oracle({"a": [("red", left), ("blue", right)], "b": [("red", right)]}, own, 4, 16)
    first, none, second = oracle.features(["a", "-", "b"], words)
    bounds = edges(torch.tensor([left, right])) @ oracle._edges
    assert torch.allclose(first[0] - none[0], bounds[0], atol=1e-5)
    assert torch.allclose(first[1] - none[1], bounds[1], atol=1e-5)
    assert torch.allclose(second[0], none[0], atol=1e-6)
    assert torch.allclose(second[1] - none[1], bounds[1], atol=1e-5)
    assert torch.equal(oracle.features(["b"], words)[0], second)


def test_oracle_features_change_the_loss_and_teach_the_words(tmp_path: Path) -> None:
    """Features count: others give another loss, and the embeddings in them get gradients."""
    corpus(tmp_path, {"vqa": 12, "referring": 4})
    store = Store(str(tmp_path))
    known = regions(shards.examples(store, shards.find(store, "train")))
    batch = next(iter(Loader(feed(tmp_path, blind=True), tokenizer())))
    assert len(batch.pixels) == 0
    assert len(batch.names) == len(batch.places) > 0
    model = build(TINY, 0)
    oracle = Oracle(known, tokenizer(), 4, 16)
    nothing = Oracle({}, tokenizer(), 4, 16)
    assert model(batch, oracle).mean.item() != model(batch, nothing).mean.item()
    model(batch, oracle).mean.backward()
    assert model.vision.conv1.weight.grad is None


def test_what_is_seen_is_brought_near_to_the_features(tmp_path: Path) -> None:
    """The loss of a matched batch is a mean over images, has no gradient for words, and falls when it is followed."""
    corpus(tmp_path, {"referring": 8, "caption": 8})
    store = Store(str(tmp_path))
    known = regions(shards.examples(store, shards.find(store, "train")))
    oracle = Oracle(known, tokenizer(), 4, 16)
    model = build(TINY, 0)
    batch = next(iter(Loader(feed(tmp_path), tokenizer())))
    optimiser = torch.optim.Adam([*model.vision.parameters(), *model.adapter.parameters()], lr=3e-3)
    first = None
    for _ in range(60):
        losses = model(batch, oracle, match=True)
        assert int(losses.counts.sum()) == sum(name in oracle for name in batch.names)
        first = losses.mean.item() if first is None else first
        losses.mean.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses.mean.item() < 0.5 * first
    assert all(one.grad is None for one in model.language.parameters())


def test_images_without_features_teach_no_match(tmp_path: Path) -> None:
    """Nothing is known of an image: it counts for nothing."""
    corpus(tmp_path, {"caption": 8})
    batch = next(iter(Loader(feed(tmp_path), tokenizer())))
    losses = build(TINY, 0)(batch, Oracle({}, tokenizer(), 4, 16), match=True)
    assert losses.mean.item() == 0.0
    assert int(losses.counts.sum()) == 0
