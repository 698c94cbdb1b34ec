"""First weights: of a language model from nothing, and of an adapter beside a vision encoder from a CLIP.

An adapter with random weights hands every image on as almost the same tokens: its queries look everywhere at
once, and what patches of all images have in common outweighs what tells them apart. A small language model has
learnt not to look before the adapter has learnt to show. So where a CLIP is given, each query starts by looking at
its own part of the image, shows it in the space that the CLIP shares between images and words, and what all
images have in common is taken off. Where a language model has learnt from oracle features (model/oracle.py), a
linear map brings it near to those. These are first weights alone: the architecture is the paper's.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from model.convert import tensors
from model.qwen_vl import QwenVL
from model.tokenizer import TagTokenizer
from model.vision import Adapter

IMAGES: Final = 200
"""Images over which what they have in common is taken."""

MATCHED: Final = 1000
"""Images on which tokens are brought near to words."""

_FREQUENCIES: Final = 8
"""Of each sine and cosine: those whose wave is short enough to tell neighbours apart."""

# by which a query's own cell stands out over the next (a factor of about 50 at the width of `tiny`)
_SHARPNESS: Final = 4.5
_SHARPNESS_AT: Final = 40
# tokens are as large as this times a whitened one; words of a young language model are smaller still
_SIZE: Final = 0.3
# directions with less than this share of the largest one's variance are noise: not blown up to its size
_NOISE: Final = 0.01
# the same, and the penalty of the least squares in the variance of what is fitted, where tokens are brought near to
# words: a nearer fit would blow up whatever the first steps change
_NOISE_FIT: Final = 0.1
_PENALTY_FIT: Final = 0.3


# of the language model's first weights: words, matrices, matrices that write to the stream, values handed through
_WORDS: Final = 0.1
_MATRIX: Final = 0.05
_WRITES: Final = 0.0175
_THROUGH: Final = 0.3
# how much a word with a space before it has of the same word without
_TWIN: Final = 0.9
# queries and keys of what is alike, in the size of a rotation; and how much any word looks at images' places: enough
# that a word finds itself in an image rather than in the sentence that it stands in
_SHARP: Final = 1.5
_LOOK: Final = 2.4
# of the pairs of a head that rotary positions turn, the first ones turn too fast to tell what is alike
_FAST: Final = 6 / 16


@torch.no_grad()
def copying(model: QwenVL, tokenizer: TagTokenizer, seed: int) -> None:
    """Lets attention look for what is alike in images, hand on what it finds, and the head say what the stream holds.

    Mimetic initialisation (arXiv 2305.09828): what trained models' attention comes to look like. A question's
    words find the places that say the same and take over what else stands there after far fewer steps. A word
    is at first much the same whether a space stands before it or not: sentences have the one, phrases the other.
    """
    random = torch.Generator().manual_seed(seed + 1)
    language: Any = model.language
    for name, weight in language.named_parameters():
        if weight.ndim == 2:
            writes = name.endswith(("o_proj.weight", "down_proj.weight"))
            size = _WORDS if "embed" in name else _WRITES if writes else _MATRIX
            weight.normal_(0, size, generator=random)
    hidden, heads = model.config.language.hidden, model.config.language.heads
    each = hidden // heads
    half = each // 2
    # the slowest pair is for the places' own mark
    slow = range(round(half * _FAST), half - 1)
    words = language.get_input_embeddings().weight
    place = words[tokenizer.pad] / words[tokenizer.pad].norm()
    for layer in language.model.layers:
        own = layer.self_attn
        own.q_proj.bias.zero_()
        own.k_proj.bias.zero_()
        for head in range(heads):
            alike = _SHARP * _turned(hidden, random)[: 2 * len(slow)]
            rows = [head * each + at + side for side in (0, half) for at in slow]
            own.q_proj.weight[rows] = alike
            own.k_proj.weight[rows] = alike
            mark = [head * each + half - 1, head * each + 2 * half - 1]
            own.q_proj.weight[mark] = 0
            own.k_proj.weight[mark] = 0
            own.k_proj.weight[mark[0]] = place
            own.q_proj.bias[mark[0]] = _LOOK
        through = _turned(hidden, random)
        own.v_proj.weight.copy_(through)
        own.o_proj.weight.copy_(_THROUGH * through.T)
    if tokenizer.twins:
        plain, spaced = torch.tensor(tokenizer.twins).T
        words[spaced] = _TWIN * words[plain] + (1 - _TWIN**2) ** 0.5 * words[spaced]
    language.lm_head.weight.copy_(words)


def _turned(size: int, random: torch.Generator) -> Tensor:
    """Returns a random rotation, (size, size)."""
    found: Tensor = torch.linalg.qr(torch.randn(size, size, generator=random))[0]
    return found


def shared_space(path: Path) -> Tensor | None:
    """Returns (vision width, joint width), a CLIP's last norm and projection in one; None without a projection."""
    wanted = ("visual.proj", "visual.ln_post.weight")
    found = {name: tensor.float() for name, tensor in tensors(path) if name in wanted}
    if len(found) < len(wanted):
        return None
    return found["visual.ln_post.weight"][:, None] * found["visual.proj"]


@torch.no_grad()
def align(adapter: Adapter, projection: Tensor) -> None:
    """Lets each query look about its own place, and show patches as `projection` (width, joint) has them.

    Some dimensions are left to the positions alone, so that what is seen does not decide where is looked.
    """
    hidden = adapter.query.shape[1]
    heads = adapter.attn.heads
    each = hidden // heads
    kept = max(1, min(_FREQUENCIES, each // 4))
    quarter = hidden // 4
    places = [block * quarter + at for block in range(4) for at in range(kept)]
    free = [at for at in range(hidden) if at not in set(places)][: projection.shape[1]]
    seen = torch.zeros_like(adapter.kv_proj.weight)
    seen[free] = projection.T[: len(free)]
    adapter.kv_proj.weight.copy_(seen)
    adapter.query.zero_()
    look = torch.zeros(hidden, hidden)
    sharpness = _SHARPNESS * (each / _SHARPNESS_AT) ** 0.25
    for head in range(heads):
        look[head * each + torch.arange(len(places)), torch.tensor(places)] = sharpness
    same = torch.eye(hidden)
    adapter.attn.in_proj.weight.copy_(torch.cat([look, look, same]))
    adapter.attn.in_proj.bias.zero_()
    adapter.attn.out_proj.weight.copy_(same)
    adapter.attn.out_proj.bias.zero_()
    adapter.proj.weight.copy_(same)


@torch.no_grad()
def centre(
    model: QwenVL, pixels: Tensor, nothing: Tensor, oracle: tuple[Tensor, Tensor] | None = None
) -> None:
    """Takes off what the images `pixels`, (P, 3, S, S), have in common, and evens out the rest.

    Needs an adapter that `align` made. Tokens are whitened, and stand about `nothing`, (hidden,): the embedding
    that fills an image's place where none is shown, which the language model knows. `oracle`: images and their
    oracle features, (K, queries, hidden), which a linear map brings tokens near to.
    """
    adapter = model.adapter
    adapter.ln_post.weight.fill_(1.0)
    adapter.ln_post.bias.zero_()
    normed = _normed(model, pixels)
    common = normed.mean(0)
    # what all share is known by this direction alone: the rest must not hang on it, or a small change of it,
    # as training brings, would be blown up with the rest
    along = common / common.square().sum()
    apart = (normed - common) - torch.outer((normed - common) @ along, common)
    values, vectors = torch.linalg.eigh(apart.T @ apart / len(apart))
    noise = _NOISE if oracle is None else _NOISE_FIT
    sizes = (values.clamp(min=0) + noise * values.max()) ** -0.5
    off = torch.eye(len(common), dtype=torch.float64) - torch.outer(along, common)
    whiten = _SIZE * off @ vectors @ torch.diag(sizes) @ vectors.T  # of rows
    aim = nothing.double()
    if oracle is not None:
        tokens = _normed(model, oracle[0]) @ whiten
        wanted = oracle[1].flatten(0, 1).double()
        aim = wanted.mean(0)
        tokens = tokens - tokens.mean(0)
        weight = _PENALTY_FIT * len(tokens) * tokens.var()
        gram = tokens.T @ tokens + weight * torch.eye(len(aim), dtype=torch.float64)
        whiten = whiten @ torch.linalg.solve(gram, tokens.T @ (wanted - aim))
    adapter.proj.weight.copy_((whiten + torch.outer(along, aim)).T)


def _normed(model: QwenVL, pixels: Tensor) -> Tensor:
    """Returns (P * queries, hidden), float64: what the adapter's last projection is given."""
    projection = model.adapter.proj.weight
    projection.copy_(torch.eye(len(projection)))
    return torch.cat([model.see(some) for some in torch.split(pixels, 50)]).flatten(0, 1).double()
