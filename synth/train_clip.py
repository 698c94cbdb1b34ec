"""Trains the embedded scorer: a small CLIP of drawn scenes, in English and Chinese.

    python -m synth.train_clip --out FOLDER [--seed 0] [--steps 2000] [--threads 1] [--device cpu]

writes a folder that open_clip loads as `local-dir:FOLDER` (open_clip_config.json,
open_clip_model.safetensors) with its tokenizer's merges, and `training.json`: what the run was given,
its loss curve, and how it does on held-out pictures (with --report alone, for a folder that is there).
Every picture is drawn for its one step, half of a batch being near misses of
the other half. The loss is SigLIP's (arXiv 2303.15343), a decision on every pair of picture and
caption by itself: it makes cosines comparable between captions, which a threshold needs.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from synth import clip_pairs, clip_report, clip_tokens
from synth.seeds import generator

LANGUAGES: Final = ("en", "zh")
MERGES_FILE: Final = "merges.txt.gz"
CONTEXT: Final = 56
SIDE: Final = 64

PREPROCESS: Final[dict[str, Any]] = {
    "size": SIDE,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    # a crop about the middle would cut off objects that captions name
    "resize_mode": "squash",
}

VISIONS: Final[dict[str, dict[str, Any]]] = {
    "vit": {"image_size": SIDE, "patch_size": 8, "width": 128, "head_width": 32, "layers": 4},
    "resnet": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What determines a training run.

    `near` of the second halves of batches are near misses, by the kinds `edits` (a kind may stand there
    more than once). `start` is a folder to go on from, and `skip` the steps whose pictures it has seen.
    """

    seed: int = 0
    steps: int = 2000
    batch: int = 128
    rate: float = 1.5e-3
    vision: str = "resnet"
    threads: int = 1
    device: str = "cpu"
    captions: int = 1500
    near: float = 0.6
    edits: tuple[str, ...] = clip_pairs.EDITS
    start: str = ""
    skip: int = 0


@dataclass(slots=True)
class Curve:
    """(step, CPU seconds, mean loss since the last point)."""

    points: list[tuple[int, float, float]] = field(default_factory=list)


def model_config(vocabulary: int, vision: str) -> dict[str, Any]:
    """The model's part of open_clip_config.json."""
    return {
        "embed_dim": 128,
        "custom_text": True,
        "init_logit_bias": -6.0,
        "vision_cfg": VISIONS[vision],
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "width": 96,
            "heads": 3,
            "layers": 2,
        },
    }


def write_tokenizer(out: Path, seed: int, captions: int) -> SimpleTokenizer:
    """Learns the merges from captions drawn for that purpose alone; the tokenizer that has them."""
    items = [
        clip_pairs.draw(generator(seed, "clip tokens", i), LANGUAGES[i % len(LANGUAGES)])
        for i in range(captions)
    ]
    (out / MERGES_FILE).write_bytes(clip_tokens.dump(clip_tokens.learn(item.text for item in items)))
    return SimpleTokenizer(bpe_path=str(out / MERGES_FILE), context_length=CONTEXT)


def batch_items(plan: Plan, step: int) -> list[clip_pairs.Item]:
    """The items of a step: half of them drawn, half near misses of those."""
    rng = generator(plan.seed, "clip train", plan.skip + step)
    first = [clip_pairs.draw(rng, rng.choice(LANGUAGES)) for _ in range(plan.batch // 2)]
    return first + [
        clip_pairs.near_miss(item, rng, rng.choice(LANGUAGES), plan.near, plan.edits) for item in first
    ]


def pixels(items: list[clip_pairs.Item], longer: int = 128) -> torch.Tensor:
    """(N, 3, SIDE, SIDE) in -1 to 1, as open_clip's transform makes them of the items' pictures."""
    parts = [
        np.asarray(clip_pairs.render(item, longer).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for item in items
    ]
    stacked = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def loss_of(
    image: torch.Tensor, text: torch.Tensor, truth: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """SigLIP's loss over (N, D) unit vectors; `truth` (N, N) is 1, -1, or 0 for pairs not judged."""
    logits = scale.exp() * image @ text.T + bias
    return -(functional.logsigmoid(truth * logits) * truth.abs()).sum() / len(image)


def _trim(model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Tokens without the columns that are padding in every row: attention is causal, so nothing changes."""
    length = int((tokens != 0).sum(1).max())
    model.text.attn_mask = mask[:length, :length].contiguous()  # type: ignore[union-attr]
    return tokens[:, :length]


def train(plan: Plan, out: Path) -> Curve:
    """Trains, and writes the folder; the loss curve."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(out, plan)
    config = {"model_cfg": model_config(tokenizer.vocab_size, plan.vision), "preprocess_cfg": PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    model = open_clip.create_model(f"local-dir:{plan.start or out}", load_weights=bool(plan.start))
    model = model.to(plan.device)
    model = model.to(memory_format=torch.channels_last)
    curve = _steps(model, tokenizer, plan)
    state = {name: value.detach().half().contiguous().cpu() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")
    record = {"plan": {name: getattr(plan, name) for name in Plan.__slots__}, "curve": curve.points}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return curve


def _tokenizer(out: Path, plan: Plan) -> SimpleTokenizer:
    """That of the folder to go on from, or a new one."""
    if not plan.start:
        return write_tokenizer(out, plan.seed, plan.captions)
    (out / MERGES_FILE).write_bytes((Path(plan.start) / MERGES_FILE).read_bytes())
    return SimpleTokenizer(bpe_path=str(out / MERGES_FILE), context_length=CONTEXT)


def _steps(model: Any, tokenizer: SimpleTokenizer, plan: Plan) -> Curve:
    decay = [value for value in model.parameters() if value.ndim >= 2]
    plain = [value for value in model.parameters() if value.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    mask, curve, losses = model.text.attn_mask, Curve(), list[float]()
    start = time.process_time()
    model.train()
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _schedule(step, plan.steps)
        items = batch_items(plan, step)
        truth = torch.from_numpy(clip_pairs.truth(items, items)).float().to(plan.device)
        tokens = _trim(model, tokenizer([item.text for item in items]), mask.cpu()).to(plan.device)
        model.text.attn_mask = model.text.attn_mask.to(plan.device)
        with torch.autocast(plan.device, torch.bfloat16):
            image = model.encode_image(pixels(items).to(plan.device), normalize=True)
            text = model.encode_text(tokens, normalize=True)
        loss = loss_of(image.float(), text.float(), truth, model.logit_scale, model.logit_bias)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % 25 == 0 or step + 1 == plan.steps:
            curve.points.append(
                (step + 1, round(time.process_time() - start, 1), round(float(np.mean(losses)), 4))
            )
            print(*curve.points[-1], flush=True)
            losses.clear()
    model.text.attn_mask = mask
    return curve


def _schedule(step: int, steps: int) -> float:
    """Share of the full rate: 100 steps up, then down a cosine to 2 %."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def score_pairs(folder: Path) -> clip_report.ScorePairs:
    """Cosines of JPEGs and captions by the folder's model, with nothing but open_clip."""
    model: Any
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = SimpleTokenizer(bpe_path=str(folder / MERGES_FILE), context_length=CONTEXT)

    def score(data: Sequence[bytes], captions: Sequence[str]) -> clip_report.Scores:
        found = []
        for at in range(0, len(data), 64):
            images = torch.stack([transform(Image.open(io.BytesIO(one))) for one in data[at : at + 64]])
            with torch.inference_mode():
                image = model.encode_image(images, normalize=True)
                text = model.encode_text(tokenizer(list(captions[at : at + 64])), normalize=True)
            found.append((image * text).sum(1).double().numpy())
        return np.concatenate(found)

    return score


def write_report(folder: Path, number: int) -> None:
    """Adds what the model does on `number` held-out pictures a language to training.json, and prints it."""
    record = json.loads((folder / "training.json").read_text())
    score = score_pairs(folder)
    record["held_out"] = {
        language: asdict(clip_report.report(score, clip_report.held_out(language, number)))
        for language in LANGUAGES
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"], indent=1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    for name, value in (("seed", 0), ("steps", 2000), ("batch", 128), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--vision", choices=sorted(VISIONS), default="resnet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--near", type=float, default=0.6)
    parser.add_argument("--edits", type=lambda names: tuple(names.split(",")), default=clip_pairs.EDITS)
    parser.add_argument("--start", default="", help="a folder to go on from")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="train nothing, report on the folder again")
    parser.add_argument("--held-out", type=int, default=1000, help="held-out pictures a language")
    given = vars(parser.parse_args())
    out, held_out = given.pop("out"), given.pop("held_out")
    if not given.pop("report"):
        train(Plan(**given), out)
    write_report(out, held_out)


if __name__ == "__main__":
    main()
