"""Small CLIPs with random weights, open_clip's own tokenizer of the embedded scorer, and images."""

import functools
import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from filters.clip.source import FOLDER, MERGES

TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


def write_model(folder: Path, config: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """A folder that open_clip loads as local-dir:FOLDER, with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"model_cfg": config or TINY, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


@functools.cache
def embedded_tokenizer() -> open_clip.tokenizer.SimpleTokenizer:
    """The embedded scorer's tokenizer as open_clip has it."""
    return open_clip.tokenizer.SimpleTokenizer(bpe_path=str(FOLDER / MERGES), context_length=56)


def pairs(test_data: Path, number: int) -> tuple[list[Image.Image], list[str], list[bytes]]:
    """(pictures, captions, the pictures' bytes) spread over the real pairs."""
    lines = [json.loads(line) for line in (test_data / "pairs/pairs.jsonl").read_text().splitlines()]
    chosen = lines[:: len(lines) // number][:number]
    data: list[bytes] = [(test_data / "pairs" / line["file"]).read_bytes() for line in chosen]
    images: list[Image.Image] = [Image.open(test_data / "pairs" / line["file"]) for line in chosen]
    return images, [line["caption"] for line in chosen], data
