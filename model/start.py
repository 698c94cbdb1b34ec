"""How an adapter starts beside a vision encoder that comes from a CLIP.

An adapter with random weights hands every picture on as almost the same tokens: its queries look everywhere at
once, and what patches of all pictures have in common outweighs what tells them apart. A small language model has
learnt not to look before the adapter has learnt to show. So where a CLIP is given, each query starts by looking at
its own part of the picture, shows it in the space that the CLIP shares between pictures and words, and what all
pictures have in common is taken off. These are first weights alone: the architecture is the paper's.
"""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from model.adapter import Adapter
from model.qwen_vl import QwenVL
from model.tensors import tensors

PICTURES: Final = 200
"""Pictures over which what they have in common is taken."""

_FREQUENCIES: Final = 8
"""Of each sine and cosine: those whose wave is short enough to tell neighbours apart."""

# by which a query's own cell stands out over the next (a factor of about 50 at the width of `tiny`)
_SHARPNESS: Final = 4.5
_SHARPNESS_AT: Final = 40
# tokens are as large as this times a whitened one; words of a young language model are smaller still
_SIZE: Final = 0.3
# directions with less than this share of the largest one's variance are noise: not blown up to its size
_NOISE: Final = 0.01


def shared_space(path: Path) -> Tensor | None:
    """(vision width, joint width): a CLIP's last norm and projection in one; None where it has no projection."""
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
def centre(model: QwenVL, pixels: Tensor, nothing: Tensor) -> None:
    """Takes off what the pictures `pixels`, (P, 3, S, S), have in common, and evens out the rest.

    Needs an adapter that `align` made. Tokens are whitened, and stand about `nothing`, (hidden,): the embedding
    that fills a picture's place where none is shown, which the language model knows.
    """
    adapter = model.adapter
    adapter.ln_post.weight.fill_(1.0)
    adapter.ln_post.bias.zero_()
    adapter.proj.weight.copy_(torch.eye(len(nothing)))
    tokens = torch.cat([model.see(some) for some in torch.split(pixels, 50)]).flatten(0, 1).double()
    mean = tokens.mean(0)
    apart = tokens - mean
    values, vectors = torch.linalg.eigh(apart.T @ apart / len(apart))
    sizes = (values.clamp(min=0) + _NOISE * values.max()) ** -0.5
    whiten = _SIZE * vectors @ torch.diag(sizes) @ vectors.T
    adapter.proj.weight.copy_(whiten)
    # the norm's bias stands before the projection
    adapter.ln_post.bias.copy_(torch.linalg.solve(whiten, nothing.double()) - mean)
