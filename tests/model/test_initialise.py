"""The adapter's first weights beside the encoder of a CLIP."""

import torch

from model import initialise
from model.config import preset
from model.qwen_vl import QwenVL, build
from tests.model.corpora import tokenizer


def _model() -> QwenVL:
    model = build(preset("tiny"), 0).eval()
    projection = torch.randn(128, 128, generator=torch.Generator().manual_seed(1)) / 128**0.5
    initialise.align(model.adapter, projection)
    return model


def _pixels(count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    # blocks rather than grain, so that patches differ from image to image
    coarse = torch.randint(0, 256, (count, 3, 6, 6), generator=random, dtype=torch.uint8)
    return coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)


def test_each_query_looks_about_its_own_place() -> None:
    """Another patch in one corner changes the token of that corner most, and the far corner's hardly."""
    model = _model()
    patches = torch.randn(1, 144, 128, generator=torch.Generator().manual_seed(3))
    changed = patches.clone()
    corner = [row * 12 + column for row in range(3) for column in range(3)]
    changed[:, corner] += 3 * torch.randn(1, 9, 128, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        moved = (model.adapter(patches) - model.adapter(changed)).norm(dim=-1)[0]
    assert moved.argmax() == 0
    assert moved[15] < 0.25 * moved[0]


def test_centred_tokens_stand_about_the_empty_place_and_tell_pictures_apart() -> None:
    """Over the images taken, the mean token is that of no image; before, what is common outweighs the rest."""
    model, pixels = _model(), _pixels(60)
    nothing = torch.randn(160, generator=torch.Generator().manual_seed(5)) * 0.02
    with torch.inference_mode():
        before = model.see(pixels)
    initialise.centre(model, pixels, nothing)
    with torch.inference_mode():
        after = model.see(pixels)
    assert torch.allclose(after.mean((0, 1)), nothing, atol=1e-3)

    def common(tokens: torch.Tensor) -> float:
        return float(tokens.mean((0, 1)).square().sum() / tokens.square().sum(-1).mean())

    assert common(after) < 0.2 * common(before)


def test_tokens_are_brought_near_to_oracle_features() -> None:
    """Much of what a linear map of the tokens can give is given; a small change of the encoder moves it a little."""
    model, pixels = _model(), _pixels(120)
    nothing = torch.zeros(160)
    initialise.centre(model, pixels, nothing)
    with torch.inference_mode():
        tokens = model.see(pixels)
    random = torch.Generator().manual_seed(6)
    wanted = tokens @ torch.randn(160, 160, generator=random) / 160**0.5 + 0.1 * torch.randn(
        160, generator=random
    )
    initialise.centre(model, pixels, nothing, (pixels, wanted))
    with torch.inference_mode():
        found = model.see(pixels)
    spread = (wanted - wanted.mean((0, 1))).square().mean()
    assert torch.allclose(found.mean((0, 1)), wanted.mean((0, 1)), atol=1e-3)
    assert (found - wanted).square().mean() < 0.55 * spread
    with torch.inference_mode():
        model.vision.blocks[-1].c_proj.bias.add_(1e-3)  # as large as a step of the optimiser
        moved = model.see(pixels)
    assert (moved - found).square().mean() < 0.25 * spread


def test_a_copying_model_says_what_it_finds_again() -> None:
    """From its first weights on, a word that comes again makes the word that stood with it likelier."""
    model = build(preset("tiny"), 0).eval()
    plain = build(preset("tiny"), 0).eval()
    initialise.copying(model, tokenizer(), 0)

    def likelier(one: QwenVL) -> float:
        random = torch.Generator().manual_seed(7)
        gains = []
        for _ in range(20):
            a, b, c, d = torch.randint(10, 600, (4,), generator=random).tolist()
            words = one.language.get_input_embeddings().weight
            # two places that say two words each, then one of the first place's words alone
            pad = words[tokenizer().pad]
            told = torch.stack([pad + words[a] + words[b], pad + words[c] + words[d], words[a]])[None]
            with torch.inference_mode():
                out = one.language(inputs_embeds=told).logits[0, -1]
            gains.append(float(out[b] - out[d]))
        return sum(gain > 0 for gain in gains) / len(gains)

    assert likelier(model) >= 0.9
    assert likelier(plain) < 0.9


def test_copying_is_the_same_for_the_same_seed() -> None:
    """First weights hang on the seed alone."""
    first, second, other = (build(preset("tiny"), 0) for _ in range(3))
    initialise.copying(first, tokenizer(), 3)
    initialise.copying(second, tokenizer(), 3)
    initialise.copying(other, tokenizer(), 4)
    for (name, one), (_, same) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, same), name
    assert not torch.equal(first.language.lm_head.weight, other.language.lm_head.weight)


def test_a_word_is_much_the_same_with_a_space_before_it() -> None:
    """At first: the two are nearer to each other than to any other word, but not the same."""
    model = build(preset("tiny"), 0)
    initialise.copying(model, tokenizer(), 0)
    words = torch.nn.functional.normalize(model.language.get_input_embeddings().weight.detach())
    assert tokenizer().twins
    for plain, spaced in tokenizer().twins:
        alike = words @ words[spaced]
        alike[spaced] = -1
        assert int(alike.argmax()) == plain
        assert 0.8 < float(alike[plain]) < 0.97
