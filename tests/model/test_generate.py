"""Greedy answers."""

import numpy as np
import torch

from model.generate import Prompt, generate
from model.qwen_vl import QwenVL, build
from tests.model.corpora import TINY


def _model() -> QwenVL:
    return build(TINY, 3).double().eval()


def _prompts() -> list[Prompt]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (3, 16, 16), dtype=np.uint8)
    return [
        Prompt((1, 2, 3)),
        Prompt((9, 7, 7, 7, 7, 8, 20, 21), (1,), (picture,)),
        Prompt((5,)),
        Prompt((7, 7, 7, 7, 3, 9, 7, 7, 7, 7, 8), (0, 6), (picture, 255 - picture)),
    ]


def _slow(model: QwenVL, prompt: Prompt, limit: int, stops: list[int]) -> list[int]:
    """Without cache or padding: the whole text again for each token."""
    ids, answer = list(prompt.ids), []
    pictures = prompt.images
    pixels = torch.from_numpy(np.stack(pictures)) if pictures else torch.zeros(0, 3, 16, 16)
    places = torch.tensor([(0, place) for place in prompt.places], dtype=torch.int64).reshape(-1, 2)
    for _ in range(limit):
        with torch.no_grad():
            embedded = model.embed(torch.tensor([ids]), pixels, places)
            best = int(model.language(inputs_embeds=embedded).logits[0, -1].argmax())
        if best in stops:
            break
        ids.append(best)
        answer.append(best)
    return answer


def test_like_the_slow_way() -> None:
    """Answers of a padded batch with cache are those of one prompt at a time without."""
    model = _model()
    expected = [_slow(model, prompt, 12, []) for prompt in _prompts()]
    assert generate(model, _prompts(), 12, [], 0) == expected
    stop = expected[1][4]
    stopped = [_slow(model, prompt, 12, [stop]) for prompt in _prompts()]
    assert generate(model, _prompts(), 12, [stop], 0) == stopped
    assert stopped[1] == expected[1][: expected[1].index(stop)]


def test_context() -> None:
    """Prompt and answer stay within the context; no prompt gives no answer."""
    model = _model()
    long = Prompt(tuple([4] * 250))
    assert len(generate(model, [long], 100, [], 0)[0]) == 6
    assert generate(model, [], 10, [], 0) == []
