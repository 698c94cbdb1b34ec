"""Tiny random detectors, saved as transformers saves them, so that the real loading code reads them."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertTokenizerFast,
    CLIPTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    OwlViTProcessor,
    SwinConfig,
)

WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "red",
    "blue",
    "green",
    "circle",
    "square",
    "man",
    "on",
    "two",
    "white",
    "horse",
    "ball",
    ".",
    "?",
    "an",
    "man's",
]
SIDE = 64


def save(kind: str, folder: Path) -> Path:
    """A tiny detector of the model type `kind`, equal on every call, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    model, processor = _dino(folder) if kind == "grounding-dino" else _owl(kind, folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _owl(kind: str, folder: Path) -> tuple[Any, Any]:
    text = {
        "vocab_size": 190,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "bos_token_id": 188,
        "eos_token_id": 189,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 16,
    }
    config_class, model_class, images_class, processor_class = {
        "owlvit": (OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor, OwlViTProcessor),
        "owlv2": (Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor),
    }[kind]
    model = model_class(config_class(text_config=text, vision_config=vision, projection_dim=16))
    with torch.no_grad():
        # random heads saturate: with these, boxes and scores spread
        for name, weight in model.named_parameters():
            if name.startswith(("box_head", "class_head")):
                weight.mul_(0.3 if name.startswith("box_head") else 0.02)
    images = images_class(size={"height": SIDE, "width": SIDE})
    return model, processor_class(image_processor=images, tokenizer=_clip_tokenizer(folder))


def _clip_tokenizer(folder: Path) -> Any:
    """A byte-pair tokenizer that knows single letters."""
    letters = [chr(code) for code in range(33, 127)]
    # as in CLIP's, the marks come last: a query that begins with 0 is none, and the largest number is its end
    tokens = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!")


def _dino(folder: Path) -> tuple[Any, Any]:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    backbone = SwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config = GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        num_queries=12, max_text_len=32, use_pretrained_backbone=False,
    )  # fmt: skip
    images = GroundingDinoImageProcessor(size={"shortest_edge": 2 * SIDE, "longest_edge": 4 * SIDE})
    return GroundingDinoForObjectDetection(config), GroundingDinoProcessor(
        image_processor=images, tokenizer=tokenizer
    )
