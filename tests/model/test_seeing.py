"""That images teach."""

import dataclasses
from pathlib import Path

import torch

from model.loader import Loader
from model.qwen_vl import build
from tests.model.corpora import TINY, item, tokenizer, write
from tests.model.test_loader import feed


def test_learns_to_see(tmp_path: Path) -> None:
    """A model told the colours of images comes to need the images: with others its loss is far higher."""
    write(tmp_path, [item("vqa", number, 0) for number in range(12)])
    given = feed(tmp_path, micro=12, pack=False, share=False, fixed=False, pool=12)
    model = build(TINY, 0).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.98), weight_decay=0.0)
    batches = iter(Loader(given, tokenizer()))
    for _ in range(250):
        batch = next(batches)
        loss = model(batch).mean
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    with torch.no_grad():
        right = model(batch).mean.item()
        wrong = model(dataclasses.replace(batch, pixels=batch.pixels.roll(1, 0))).mean.item()
    assert right < 0.1
    assert wrong > 10 * right
