"""Qwen-VL (arXiv 2308.12966): vision encoder, position-aware adapter, language model."""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from model.batch import IGNORE, Batch, attention_mask
from model.config import CLIP_MEAN, CLIP_STD, LanguageConfig, ModelConfig
from model.oracle import Oracle
from model.vision import Adapter, VisionTransformer, exact, full_precision

PARTS: Final = ("vision", "adapter", "language")
"""The names of the model's three parts, each a module of its own."""

ATTENTION: Final = "vlcorpus"
"""The name under which transformers knows the language model's attention."""


@dataclass(frozen=True, slots=True)
class RowLosses:
    """Cross-entropy summed over each row's supervised tokens, and how many those are; both (B,)."""

    sums: Tensor
    counts: Tensor

    @property
    def mean(self) -> Tensor:
        """Returns the mean over all supervised tokens; 0 where there are none."""
        return self.sums.sum() / self.counts.sum().clamp(min=1)


class QwenVL(nn.Module):
    """The whole model; `forward` gives losses, `embed` and `language` serve generation."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTransformer(config.vision)
        self.adapter = Adapter(config.adapter, config.vision.width, config.language.hidden)
        self.language = Qwen2ForCausalLM(language_config(config.language))
        # sharded models must run the same modules on every rank, even where one has no image
        self.always_sees = False
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).reshape(shape) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).reshape(shape) * 255, persistent=False)

    def see(self, pixels: Tensor) -> Tensor:
        """Returns (P, queries, hidden), the tokens of images (P, 3, S, S) in uint8."""
        normal = (pixels.to(self.mean.dtype) - self.mean) / self.std
        tokens: Tensor = self.adapter(self.vision(normal))
        return tokens

    def embed(
        self, input_ids: Tensor, pixels: Tensor, places: Tensor, features: Tensor | None = None
    ) -> Tensor:
        """Returns (B, T, hidden): the tokens' embeddings, with each image's tokens at its place (row, start).

        `features`, (P, queries, hidden), stand there instead of what is seen.
        """
        words: Tensor = self.language.get_input_embeddings()(input_ids)
        if len(pixels) == 0 and self.always_sees:
            side = self.config.sides[0]
            words = words + 0 * self.see(pixels.new_zeros(1, 3, side, side)).sum()
        if features is None and len(pixels) == 0:
            return words
        seen = self.see(pixels) if features is None else features
        length = input_ids.shape[1]
        offsets = torch.arange(seen.shape[1], device=places.device)
        flat = (places[:, :1] * length + places[:, 1:] + offsets).flatten()
        mixed = words.flatten(0, 1).index_copy(0, flat, seen.flatten(0, 1).to(words.dtype))
        return mixed.view_as(words)

    def forward(self, batch: Batch, oracle: Oracle | None = None, match: bool = False) -> RowLosses:
        """Returns the losses of a batch; the head sees the supervised tokens alone.

        With an `oracle`, its features stand for the images; with `match` too, images are seen, and the loss is how
        far that is from those features, a count an image (`_matched`).
        """
        features = None
        if oracle is not None:
            words: Any = self.language.get_input_embeddings().weight
            features = oracle.features(batch.names, words)
            if match:
                known = torch.tensor([name in oracle for name in batch.names], device=features.device)
                return self._matched(batch, oracle, features.detach(), known)
        hidden = self.hidden(batch, features)
        taught = batch.targets != IGNORE
        logits = self.language.lm_head(hidden[taught])
        each = functional.cross_entropy(
            logits.to(_at_least_float32(hidden)), batch.targets[taught], reduction="none"
        )
        rows = taught.nonzero()[:, 0]
        sums = torch.zeros(len(hidden), dtype=each.dtype, device=each.device).index_add(0, rows, each)
        return RowLosses(sums, taught.sum(1))

    def _matched(self, batch: Batch, oracle: Oracle, features: Tensor, known: Tensor) -> RowLosses:
        """Returns the squared distance of what is seen from `features`, in their variance; 1 says nothing."""
        rows = batch.places[:, 0]
        counts = torch.bincount(rows[known], minlength=len(batch.input_ids))
        seen = self.see(batch.pixels).to(_at_least_float32(features))
        apart = oracle.apart(features - features.mean((0, 1))).mean().clamp(min=1e-12)
        each = oracle.apart(seen - features).mean(1) / apart * known
        return RowLosses(each.new_zeros(len(counts)).index_add(0, rows, each), counts)

    def hidden(self, batch: Batch, features: Tensor | None = None) -> Tensor:
        """Returns the language model's last states, (B, T, hidden)."""
        embedded = self.embed(batch.input_ids, batch.pixels, batch.places, features)
        mask = None if batch.plain else attention_mask(batch.groups, batch.parts)
        out = self.language.model(
            inputs_embeds=embedded,
            # a mapping is taken as it is: no second guess at what is packed
            attention_mask={"full_attention": mask},
            position_ids=batch.positions,
            use_cache=False,
        )
        states: Tensor = out.last_hidden_state
        return states

    def checkpoint_activations(self) -> None:
        """Recomputes activations in the backward pass from now on, instead of keeping them."""
        self.vision.checkpointing = True
        language: Any = self.language
        # renamed in transformers 5
        new = hasattr(language, "activation_checkpointing_enable")
        enable = language.activation_checkpointing_enable if new else language.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def language_config(config: LanguageConfig) -> Any:
    """Returns the transformers configuration of Qwen-7B's shape: Qwen2 with as many key heads as heads, untied."""
    made: Any = Qwen2Config(
        vocab_size=config.vocab,
        hidden_size=config.hidden,
        intermediate_size=config.mlp,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        rms_norm_eps=config.eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
        tie_word_embeddings=False,
        use_cache=False,
    )
    made._attn_implementation = ATTENTION
    return made


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Runs transformers' scaled dot product attention in the precision of `model.vision`."""
    with full_precision(query):
        mixed, _ = sdpa_attention_forward(
            module, exact(query), exact(key), exact(value), attention_mask, **options
        )
    return mixed.to(value.dtype), None


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def build(config: ModelConfig, seed: int = 0) -> QwenVL:
    """Returns a model with random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QwenVL(config)


def _at_least_float32(like: Tensor) -> torch.dtype:
    return torch.float64 if like.dtype == torch.float64 else torch.float32
