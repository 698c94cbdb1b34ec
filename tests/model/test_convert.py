"""Weights of other checkpoints."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from model import checkpoint, convert
from model.config import ModelConfig
from model.qwen_vl import QwenVL, build
from model.vision import resample
from schemas.errors import InputError, RecipeError
from tests import needs
from tests.model.corpora import TINY, tokenizer

VISION, LANGUAGE = TINY.vision, TINY.language


def _clip(layers: int = 2) -> Any:
    open_clip = needs.package("open_clip")
    torch.manual_seed(0)
    return open_clip.model.CLIP(
        embed_dim=8,
        vision_cfg={
            "image_size": 24,
            "patch_size": 8,
            "width": 16,
            "head_width": 8,
            "layers": layers,
            "mlp_ratio": 2,
        },
        text_cfg={"context_length": 4, "vocab_size": 10, "width": 8, "heads": 2, "layers": 1},
    ).eval()


def _slow_clip(clip: Any, pixels: Tensor) -> Any:
    """What open_clip's own layers make of patches without the class token."""
    visual = clip.visual
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    table = resample(visual.positional_embedding[1:], 2)
    return visual.transformer(visual.ln_pre(patches + table))


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_open_clip_vision(tmp_path: Path, form: str) -> None:
    """An open_clip ViT's weights give its own layers' patches, for its own normalisation of images."""
    clip = _clip()
    state = clip.state_dict()
    if form == "pt":
        torch.save(
            {"state_dict": {f"module.{name}": one for name, one in state.items()}}, tmp_path / "open_clip.pt"
        )
    else:
        save_file(state, tmp_path / "open_clip_model.safetensors")
        mean, std = [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]
        (tmp_path / "open_clip_config.json").write_text(
            json.dumps({"preprocess_cfg": {"mean": mean, "std": std}})
        )
    model = build(TINY).eval()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    convert.load_part(model, "vision", tmp_path)
    pictures = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    theirs = pictures / 255
    if form == "pt":
        normal = (theirs * 255 - model.mean) / model.std
    else:
        normal = (theirs - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    with torch.no_grad():
        seen = model.vision((pictures.float() - model.mean) / model.std)
        assert torch.allclose(seen, _slow_clip(clip, normal), atol=2e-4)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("vision."))


def test_open_clip_of_other_size(tmp_path: Path) -> None:
    """A vision encoder of other sizes is refused by name."""
    for layers, words in ((1, "lacks"), (3, "fewer layers")):
        folder = tmp_path / str(layers)
        folder.mkdir()
        save_file(_clip(layers).state_dict(), folder / "open_clip_model.safetensors")
        with pytest.raises(RecipeError, match=words):
            convert.load_part(build(TINY), "vision", folder)


def _qwen2(key_heads: int = 2, layers: int = 2) -> Any:
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=LANGUAGE.vocab,
        hidden_size=LANGUAGE.hidden,
        intermediate_size=LANGUAGE.mlp,
        num_hidden_layers=layers,
        num_attention_heads=LANGUAGE.heads,
        num_key_value_heads=key_heads,
        rms_norm_eps=LANGUAGE.eps,
    )
    model: Any = Qwen2ForCausalLM(config)
    model.eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("key_heads", [2, 1])
def test_language(tmp_path: Path, key_heads: int) -> None:
    """A Hugging Face folder's model gives the same logits, grouped key heads or not."""
    theirs = _qwen2(key_heads)
    theirs.save_pretrained(tmp_path)
    model = build(TINY).eval()
    convert.load_part(model, "language", tmp_path)
    ids = torch.randint(0, LANGUAGE.vocab, (2, 9))
    with torch.no_grad():
        assert torch.allclose(model.language(ids).logits, theirs(ids).logits, atol=1e-5)


def _published(theirs: Any) -> dict[str, Tensor]:
    """A language model under the names of Qwen's first checkpoints."""
    own = theirs.state_dict()
    state = {
        "transformer.wte.weight": own["model.embed_tokens.weight"],
        "transformer.ln_f.weight": own["model.norm.weight"],
        "lm_head.weight": own["lm_head.weight"],
    }
    for layer in range(LANGUAGE.layers):
        ours, names = f"model.layers.{layer}.", f"transformer.h.{layer}."
        for kind in ("weight", "bias"):
            parts = [own[f"{ours}self_attn.{one}_proj.{kind}"] for one in "qkv"]
            state[f"{names}attn.c_attn.{kind}"] = torch.cat(parts)
        state[f"{names}attn.c_proj.weight"] = own[f"{ours}self_attn.o_proj.weight"]
        state[f"{names}ln_1.weight"] = own[f"{ours}input_layernorm.weight"]
        state[f"{names}ln_2.weight"] = own[f"{ours}post_attention_layernorm.weight"]
        state[f"{names}mlp.w2.weight"] = own[f"{ours}mlp.gate_proj.weight"]
        state[f"{names}mlp.w1.weight"] = own[f"{ours}mlp.up_proj.weight"]
        state[f"{names}mlp.c_proj.weight"] = own[f"{ours}mlp.down_proj.weight"]
    return state


def _visual() -> dict[str, Tensor]:
    """A random vision part under the published names."""
    torch.manual_seed(2)
    width, hidden, mlp = VISION.width, LANGUAGE.hidden, VISION.mlp
    shapes: dict[str, tuple[int, ...]] = {
        "conv1.weight": (width, 3, VISION.patch, VISION.patch),
        "positional_embedding": (VISION.grid**2, width),
        "ln_pre.weight": (width,),
        "ln_pre.bias": (width,),
        "ln_post.weight": (hidden,),
        "ln_post.bias": (hidden,),
        "proj": (hidden, hidden),
        "attn_pool.query": (TINY.adapter.queries, hidden),
        "attn_pool.pos_embed": (TINY.adapter.queries, hidden),
        "attn_pool.kv_proj.weight": (hidden, width),
        "attn_pool.attn.in_proj_weight": (3 * hidden, hidden),
        "attn_pool.attn.in_proj_bias": (3 * hidden,),
        "attn_pool.attn.out_proj.weight": (hidden, hidden),
        "attn_pool.attn.out_proj.bias": (hidden,),
    }
    for name in ("ln_q", "ln_kv"):
        shapes |= {f"attn_pool.{name}.weight": (hidden,), f"attn_pool.{name}.bias": (hidden,)}
    for block in range(VISION.layers):
        names = f"transformer.resblocks.{block}."
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{names}{name}.weight": (width,), f"{names}{name}.bias": (width,)}
        for name, out, into in (
            ("attn.in_proj", 3 * width, width),
            ("attn.out_proj", width, width),
            ("mlp.c_fc", mlp, width),
            ("mlp.c_proj", width, mlp),
        ):
            shapes |= {f"{names}{name}.weight": (out, into), f"{names}{name}.bias": (out,)}
    return {f"transformer.visual.{name}": torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def _slow_vision(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """The published vision part step by step: each head's query, key and value lie together."""
    at = {name.removeprefix("transformer.visual."): one for name, one in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], at[f"{name}.weight"], at[f"{name}.bias"], 1e-6)

    x = functional.conv2d(pixels, at["conv1.weight"], stride=VISION.patch).flatten(2).transpose(1, 2)
    x = norm(x + at["positional_embedding"], "ln_pre")
    size = VISION.width // VISION.heads
    for block in range(VISION.layers):
        names = f"transformer.resblocks.{block}."
        mixed = functional.linear(
            norm(x, names + "ln_1"), at[names + "attn.in_proj.weight"], at[names + "attn.in_proj.bias"]
        )
        heads = []
        for head in range(VISION.heads):
            own = mixed[..., 3 * size * head : 3 * size * (head + 1)]
            query, key, value = own.chunk(3, -1)
            weights = (query @ key.transpose(1, 2) / size**0.5).softmax(-1)
            heads.append(weights @ value)
        joined = torch.cat(heads, -1)
        x = x + functional.linear(
            joined, at[names + "attn.out_proj.weight"], at[names + "attn.out_proj.bias"]
        )
        inner = functional.linear(
            norm(x, names + "ln_2"), at[names + "mlp.c_fc.weight"], at[names + "mlp.c_fc.bias"]
        )
        x = x + functional.linear(
            functional.gelu(inner), at[names + "mlp.c_proj.weight"], at[names + "mlp.c_proj.bias"]
        )
    return x


def _published_folder(folder: Path) -> tuple[dict[str, Tensor], Any]:
    theirs = _qwen2()
    state = {**_published(theirs), **_visual()}
    names = sorted(state)
    for number, half in enumerate((names[: len(names) // 2], names[len(names) // 2 :])):
        torch.save({name: state[name].clone() for name in half}, folder / f"pytorch_model-{number}.bin")
    return state, theirs


def test_published_checkpoint(tmp_path: Path) -> None:
    """Qwen-VL's layout: fused projections are split, each head's three parts put in order, nothing is missing."""
    state, theirs = _published_folder(tmp_path)
    model = build(TINY).eval()
    convert.load_part(model, "model", tmp_path)
    pixels = torch.randn(2, 3, 16, 16)
    ids = torch.randint(0, LANGUAGE.vocab, (2, 9))
    with torch.no_grad():
        patches = model.vision(pixels)
        assert torch.allclose(patches, _slow_vision(state, pixels), atol=1e-4)
        assert torch.allclose(model.language(ids).logits, theirs(ids).logits, atol=1e-5)
        visual = {name.removeprefix("transformer.visual."): one for name, one in state.items()}
        pool = torch.nn.MultiheadAttention(LANGUAGE.hidden, TINY.adapter.heads, batch_first=True)
        pool.in_proj_weight.copy_(visual["attn_pool.attn.in_proj_weight"])
        pool.in_proj_bias.copy_(visual["attn_pool.attn.in_proj_bias"])
        pool.out_proj.weight.copy_(visual["attn_pool.attn.out_proj.weight"])
        pool.out_proj.bias.copy_(visual["attn_pool.attn.out_proj.bias"])

        def norm(x: Tensor, name: str) -> Tensor:
            return functional.layer_norm(
                x, x.shape[-1:], visual[f"{name}.weight"], visual[f"{name}.bias"], 1e-6
            )

        keys = norm(patches @ visual["attn_pool.kv_proj.weight"].T, "attn_pool.ln_kv")
        queries = norm(visual["attn_pool.query"], "attn_pool.ln_q") + model.adapter.positions
        pooled, _ = pool(queries.expand(2, -1, -1), keys + model.adapter.positions, keys)
        expected = norm(pooled, "ln_post") @ visual["proj"]
        assert torch.allclose(model.adapter(patches), expected, atol=1e-4)


def test_published_language_alone(tmp_path: Path) -> None:
    """The language part of a published checkpoint serves as a language model."""
    _, theirs = _published_folder(tmp_path)
    model = build(TINY).eval()
    convert.load_part(model, "language", tmp_path)
    ids = torch.randint(0, LANGUAGE.vocab, (1, 5))
    with torch.no_grad():
        assert torch.allclose(model.language(ids).logits, theirs(ids).logits, atol=1e-5)


def test_saved_model(tmp_path: Path) -> None:
    """A saved model comes back as it was, and serves as a start."""
    model = build(TINY, 4)
    checkpoint.save(tmp_path / "m", TINY, model.state_dict(), tokenizer())
    again, own = checkpoint.from_pretrained(tmp_path / "m")
    assert own.size == tokenizer().size
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    start = build(TINY, 5)
    convert.load_part(start, "model", tmp_path / "m")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


def _other() -> QwenVL:
    values = json.loads(json.dumps(asdict(TINY)))
    values["language"]["mlp"] = 48
    return build(ModelConfig.from_mapping(values))


def test_another_presets_weights(tmp_path: Path) -> None:
    """Weights of another preset are refused with the first size that differs."""
    checkpoint.save(tmp_path / "m", TINY, _other().state_dict(), tokenizer())
    with pytest.raises(RecipeError, match=r"another preset than test: .* 48"):
        checkpoint.from_pretrained(tmp_path / "m")


def test_damaged_weights(tmp_path: Path) -> None:
    """Damaged weights, and a pickle that is more than data, are refused by name."""
    checkpoint.save(tmp_path / "m", TINY, build(TINY).state_dict(), tokenizer())
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        checkpoint.from_pretrained(tmp_path / "m")
    torch.save({"a": Path("x")}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"evil\.pt cannot be read as weights"):
        convert.load_part(build(TINY), "vision", tmp_path / "evil.pt")
    with pytest.raises(RecipeError, match="not there"):
        convert.load_part(build(TINY), "vision", tmp_path / "nowhere")
