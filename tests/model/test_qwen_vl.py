"""The model: what it sees, and that packing and padding change nothing."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.batch import IGNORE, Batch
from model.config import AdapterConfig
from model.loader import Loader
from model.qwen_vl import QwenVL, build
from model.vision import Adapter, Attention, grid_positions, resample
from tests.model.corpora import TASKS, TINY, corpus, tokenizer
from tests.model.test_loader import feed


def _double() -> QwenVL:
    return build(TINY, 1).double().eval()


def _by_key(model: QwenVL, batches: list[Batch]) -> dict[str, float]:
    """The summed loss of each row, by its keys."""
    found = {}
    with torch.no_grad():
        for batch in batches:
            for row, value in zip(batch.keys, model(batch).sums.tolist(), strict=True):
                found[" ".join(row)] = value
    return found


@pytest.mark.parametrize("share", [True, False])
def test_packing_changes_no_loss(tmp_path: Path, share: bool) -> None:
    """A sample's loss in a packed, padded row is, in float64, its loss alone: the rows' are their samples' sums."""
    corpus(tmp_path, dict.fromkeys(TASKS, 12))
    model = _double()
    own = tokenizer()
    alone = _by_key(
        model, list(Loader(feed(tmp_path, endless=False, micro=1, pack=False, share=False, fixed=False), own))
    )
    assert all(" " not in key for key in alone)
    packed = list(Loader(feed(tmp_path, endless=False, length=200, share=share), own))
    assert not all(batch.plain for batch in packed)
    for row, value in _by_key(model, packed).items():
        expected = sum(alone[key] for key in row.split())
        assert math.isclose(value, expected, rel_tol=1e-10), row


def test_isolation_mask_matters(tmp_path: Path) -> None:
    """The paper's joint attention is another thing: there samples see those before them."""
    corpus(tmp_path, {"caption": 12})
    model = _double()
    isolated = _by_key(model, list(Loader(feed(tmp_path, endless=False, length=200), tokenizer())))
    joint_batches = list(Loader(feed(tmp_path, endless=False, length=200, isolate=False), tokenizer()))
    joint = _by_key(model, joint_batches)
    assert all(batch.plain for batch in joint_batches)
    assert isolated.keys() == joint.keys()
    assert any(not math.isclose(isolated[row], joint[row], rel_tol=1e-6) for row in joint if " " in row)
    assert [b.supervised for b in joint_batches] == [
        b.supervised for b in Loader(feed(tmp_path, endless=False, length=200), tokenizer())
    ]


def test_pictures_are_seen(tmp_path: Path) -> None:
    """Another image gives another loss; what stands before an image does not see it."""
    corpus(tmp_path, {"caption": 4})
    model = _double()
    (batch,) = Loader(feed(tmp_path, endless=False, length=200), tokenizer())
    import dataclasses

    other = dataclasses.replace(batch, pixels=255 - batch.pixels)
    with torch.no_grad():
        a, b = model.hidden(batch), model.hidden(other)
    row, start = batch.places[0].tolist()
    assert torch.equal(a[row, :start], b[row, :start])
    assert not torch.allclose(a[row, start], b[row, start])


def test_loss_is_the_mean_of_supervised_tokens(tmp_path: Path) -> None:
    """The losses are the cross-entropy of full logits at the targets."""
    corpus(tmp_path, {"vqa": 12})
    model = _double()
    batch = next(iter(Loader(feed(tmp_path, length=200), tokenizer())))
    with torch.no_grad():
        logits = model.language.lm_head(model.hidden(batch))
        expected = nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="mean"
        )
        found = model(batch)
    assert torch.allclose(found.mean, expected, rtol=1e-12)
    assert found.counts.tolist() == (batch.targets != IGNORE).sum(1).tolist()


def test_no_tokens_no_loss() -> None:
    """A batch in which nothing is supervised has loss 0, not a division by nothing."""
    empty = torch.zeros(1, 8, dtype=torch.int64)
    none = torch.zeros(0, 3, 16, 16, dtype=torch.uint8)
    batch = Batch(
        empty, empty + IGNORE, empty, empty.int(), empty.int(), none, torch.zeros(0, 2, dtype=torch.int64), True,
        (("a",),), ("text",),
    )  # fmt: skip
    assert build(TINY)(batch).mean.item() == 0.0


def test_attention_is_multi_head_attention() -> None:
    """Attention across is PyTorch's MultiheadAttention with the same weights."""
    own = Attention(16, 4)
    other = nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        other.in_proj_weight.copy_(own.in_proj.weight)
        other.in_proj_bias.copy_(own.in_proj.bias)
        other.out_proj.weight.copy_(own.out_proj.weight)
        other.out_proj.bias.copy_(own.out_proj.bias)
    query, key, value = torch.randn(2, 3, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    assert torch.allclose(own.across(query, key, value), other(query, key, value)[0], atol=1e-6)
    assert torch.allclose(own(key), other(key, key, key)[0], atol=1e-6)


def _slow_positions(width: int, side: int) -> Tensor:
    rows = []
    for y in range(side):
        for x in range(side):
            row = []
            for place in (x, y):
                angles = [place / 10_000 ** (i / (width // 4)) for i in range(width // 4)]
                row += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            rows.append(row)
    return torch.tensor(rows)


def test_positions() -> None:
    """Positions are the sines and cosines of column, then of row, by the formula."""
    assert torch.allclose(grid_positions(16, 5), _slow_positions(16, 5), atol=1e-6)


def test_adapter_knows_where() -> None:
    """Patches in another order give other tokens: without positions cross-attention could not tell."""
    torch.manual_seed(0)
    adapter = Adapter(AdapterConfig(4, 2), 8, 16)
    patches = torch.randn(1, 9, 8)
    assert not torch.allclose(adapter(patches), adapter(patches.flip(1)), atol=1e-4)
    with torch.no_grad():
        adapter.positions.zero_()
    assert torch.allclose(adapter(patches), adapter(patches.flip(1)), atol=1e-5)


def test_resampled_table() -> None:
    """A table at its own side is itself; at another side a constant stays one."""
    table = torch.randn(16, 8)
    assert resample(table, 4) is table
    assert torch.allclose(resample(torch.full((16, 8), 0.3), 7), torch.full((49, 8), 0.3), atol=1e-6)


def test_recomputing_changes_nothing(tmp_path: Path) -> None:
    """Activation checkpointing gives the same gradients."""
    corpus(tmp_path, {"caption": 8})
    (batch, *_) = Loader(feed(tmp_path, endless=False), tokenizer())
    grads = []
    for again in (False, True):
        model = build(TINY, 2).train()
        if again:
            model.checkpoint_activations()
        model(batch).mean.backward()
        grads.append([one.grad for one in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads, strict=True) if a is not None)


def test_same_seed_same_model() -> None:
    """Equal seeds give equal weights, and building one leaves the caller's generator alone."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = build(TINY, 1), build(TINY, 1), build(TINY, 2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
