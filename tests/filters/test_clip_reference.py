"""Cosines of the scorer against open_clip's own, on real pictures and captions, with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from filters.clip import Preprocess, Scorer
from filters.clip.load import Loaded
from filters.clip.preprocess import resampled
from filters.clip.torch_towers import TorchTowers
from schemas.clip import ScorerSettings
from tests.filters.clips import pairs, write_model


def reference(
    model: Any, images: list[Image.Image], captions: list[str], tokenizer: Any, transform: Any
) -> np.ndarray:
    """Cosines by open_clip alone: its transform, its encode_image and encode_text, one pair at a time."""
    model.eval()
    with torch.inference_mode():
        pictures = [model.encode_image(transform(image)[None], normalize=True) for image in images]
        texts = model.encode_text(tokenizer(captions), normalize=True)
    cosines: np.ndarray = (torch.cat(pictures) * texts).sum(1).numpy()
    return cosines


def towers(given: ScorerSettings, model: Any, tokenizer: Any) -> TorchTowers:
    """Towers of a model that lies in memory, with the preprocessing of one that is loaded."""
    preprocess = Preprocess.of(model.visual.preprocess_cfg, resample=resampled)
    return TorchTowers(given, "cpu", Loaded(model, tokenizer, preprocess, "random"))


def ours(scorer: Scorer, data: list[bytes], captions: list[str]) -> np.ndarray:
    """The same by the scorer, from bytes."""
    images = scorer.encode_images([scorer.preprocess(one) for one in data])
    tokens, _ = scorer.tokenize(captions)
    return scorer.score(images, scorer.encode_texts(tokens))


def told(name: str, differences: np.ndarray) -> None:
    """Says the largest difference (seen with pytest -s), which must stay below a thousandth."""
    largest = float(np.abs(differences).max())
    print(f"{name}: cosines within {largest:.1e} of open_clip's, {len(differences)} pairs")
    assert largest < 1e-3


@pytest.mark.parametrize(
    ("name", "number"), [("ViT-B-32", 16), pytest.param("ViT-L-14", 6, marks=pytest.mark.long)]
)
def test_cosines_are_open_clips(name: str, number: int, test_data: Path) -> None:
    """On real pairs every cosine is within 1e-3 of open_clip's own, in fp32."""
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    images, captions, data = pairs(test_data, number)
    wanted = reference(model, images, captions, tokenizer, transform)
    # weights of this size are not written to disk for a test: test_clip_load reads files
    given = ScorerSettings(model=name, pretrained="random", batch_size=4)
    scorer = Scorer(given, towers=towers(given, model, tokenizer))
    told(name, ours(scorer, data, captions) - wanted)


SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 80,
}

BASE = {
    "vocab_size": 250_002,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
"""xlm-roberta-base, as its configuration on the hub has it."""


def text_tower(folder: Path, captions: list[str], sizes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `text_cfg` of an XLM-RoBERTa, written to the folder with a tokenizer learnt from the captions.

    The hub's tokenizer is not to be had offline: this one is of the same kind (Unigram, <s> 0, <pad> 1,
    </s> 2, <unk> 3) with fewer pieces, so that of a full table of embeddings only the first rows are read.
    """
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    inner = tokenizers.Tokenizer(tokenizers.models.Unigram())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=500, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    inner.train_from_iterator(captions, trainer)
    inner.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
    )
    folder.mkdir()
    wrapped.save_pretrained(folder)
    config = transformers.XLMRobertaConfig(**(sizes or {"vocab_size": len(wrapped)} | SMALL))
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "model_type": "xlm-roberta"}))
    return {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": "from this folder",
        "hf_pooler_type": "mean_pooler",
    }


def multilingual(folder: Path, captions: list[str]) -> Path:
    """A small CLIP with that text tower, whole on disk."""
    vision = {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 32}
    return write_model(
        folder, {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text_tower(folder, captions)}
    )


@pytest.mark.slow
def test_cosines_of_the_full_multilingual_model_are_open_clips(test_data: Path, tmp_path: Path) -> None:
    """open_clip's xlm-roberta-base-ViT-B-32 at full size, its 366 million weights random, agrees."""
    images, captions, data = pairs(test_data, 12)
    folder = tmp_path / "base"
    config = open_clip.get_model_config("xlm-roberta-base-ViT-B-32")
    config["text_cfg"] = text_tower(folder, captions, BASE) | {
        "hf_pooler_type": config["text_cfg"]["hf_pooler_type"]
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(
        name, load_weights=False, pretrained_text=False
    )
    tokenizer = open_clip.get_tokenizer(name)
    given = ScorerSettings(model=name, batch_size=4)
    scorer = Scorer(given, towers=towers(given, model, tokenizer))
    wanted = reference(model, images, captions, tokenizer, transform)
    told("xlm-roberta-base-ViT-B-32", ours(scorer, data, captions) - wanted)


def test_cosines_of_a_multilingual_tower_are_open_clips(test_data: Path, tmp_path: Path) -> None:
    """An XLM-RoBERTa text tower, with Chinese, Vietnamese and Polish among the captions, agrees too."""
    images, captions, data = pairs(test_data, 60)
    folder = multilingual(tmp_path / "xlm", captions)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    scorer = Scorer(ScorerSettings(model=f"local-dir:{folder}", batch_size=16), "cpu")
    wanted = reference(model, images, captions, tokenizer, transform)
    told("small XLM-RoBERTa", ours(scorer, data, captions) - wanted)
    _, cut = scorer.tokenize(["一只猫", " ".join(captions)])
    assert cut.tolist() == [False, True]
