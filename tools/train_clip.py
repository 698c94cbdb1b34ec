"""Trains the embedded scorer: a small CLIP of drawn scenes, in English and Chinese.

    python -m tools.train_clip --out FOLDER [--seed 0] [--steps 3600] [--threads 1] [--device cpu]

writes a folder that open_clip loads as `local-dir:FOLDER` (open_clip_config.json,
open_clip_model.safetensors) with its tokenizer's merges, and `training.json`: what the run was given,
its loss curve, and how it does on held-out images (with --report alone, for a folder that is there).
Every image is drawn for its one step, half of a batch being near misses of
the other half. The loss over images is SigLIP's (arXiv 2303.15343), a decision on every pair of image and
caption by itself: it makes cosines comparable between captions, which a threshold needs. Beside it, patches
are aligned with the phrases of what they show (tools/clip_pairs.py). `python -m tools.clip_onnx FOLDER` then
writes the graphs by which onnxruntime runs the folder's towers.

The tokenizer's merges are learnt from captions, into a file that open_clip's SimpleTokenizer reads: bytes are its
alphabet, so any language can be written; an English word becomes one token, Chinese tokens of one or two characters.
"""

import argparse
import gzip
import io
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, get_pairs
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from synth.seeds import generator
from tools import clip_pairs, clip_report

LANGUAGES: Final = ("en", "zh")
MERGES_FILE: Final = "merges.txt.gz"
CONTEXT: Final = 56
SIDE: Final = 96
PATCH: Final = 8
GRID: Final = SIDE // PATCH

PREPROCESS: Final[dict[str, Any]] = {
    "size": SIDE,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    # a crop about the middle would cut off objects that captions name
    "resize_mode": "squash",
}

VISION: Final[dict[str, Any]] = {
    "image_size": SIDE,
    "patch_size": PATCH,
    "width": 128,
    "head_width": 32,
    "layers": 4,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What determines a training run.

    `near` of the second halves of batches are near misses, by the kinds `edits` (a kind may stand there
    more than once). `start` is a folder to go on from, and `skip` the steps whose images it has seen.
    """

    seed: int = 0
    steps: int = 3600
    batch: int = 64
    rate: float = 1.0e-3
    threads: int = 1
    device: str = "cpu"
    captions: int = 1500
    near: float = 0.6
    edits: tuple[str, ...] = clip_pairs.EDITS
    start: str = ""
    skip: int = 0


Point = tuple[int, float, float, float]


@dataclass(slots=True)
class Curve:
    """(step, CPU seconds, mean losses since the last point: over images, over regions)."""

    points: list[Point] = field(default_factory=list)


def model_config(vocabulary: int) -> dict[str, Any]:
    """The model's part of open_clip_config.json."""
    return {
        "embed_dim": 128,
        "custom_text": True,
        "init_logit_bias": -6.0,
        "vision_cfg": VISION,
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "width": 96,
            "heads": 3,
            "layers": 2,
        },
    }


MERGES: Final = 900
LONGEST_TOKEN: Final = 2
"""Characters of a token outside ASCII."""

_END: Final = "</w>"

_BYTES: Final = {letter: byte for byte, letter in bytes_to_unicode().items()}

Merge = tuple[str, str]


def learn_merges(texts: Iterable[str], merges: int = MERGES) -> list[Merge]:
    """The most frequent merges, the most frequent first; equal texts give equal merges."""
    plain = SimpleTokenizer()
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        for word in plain.pat.findall(plain.clean_fn(text)):
            letters = [plain.byte_encoder[byte] for byte in word.encode()]
            counts[(*letters[:-1], letters[-1] + _END)] += 1
    words = dict(counts)
    found: list[Merge] = []
    while len(found) < merges:
        pairs: Counter[Merge] = Counter()
        for word, count in words.items():
            for pair in get_pairs(word) if len(word) > 1 else ():
                if _allowed(pair):
                    pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        found.append(best)
        words = _merged(words, best)
    return found


def _allowed(pair: Merge) -> bool:
    """Whether the merged token is a piece of one character, or whole characters and few of them."""
    letters = "".join(pair).removesuffix(_END)
    if letters.isascii():
        return True
    data = bytes(_BYTES[letter] for letter in letters)
    try:
        return len(data.decode()) <= LONGEST_TOKEN
    except UnicodeDecodeError:
        # the first two bytes of a character of three: its third makes it whole
        return len(data) == 2 and data[0] >= 0xE0


def _merged(words: dict[tuple[str, ...], int], pair: Merge) -> dict[tuple[str, ...], int]:
    after: Counter[tuple[str, ...]] = Counter()
    for word, count in words.items():
        joined: list[str] = []
        for letter in word:
            if joined and (joined[-1], letter) == pair:
                joined[-1] += letter
            else:
                joined.append(letter)
        after[tuple(joined)] += count
    return dict(after)


def dump_merges(merges: list[Merge]) -> bytes:
    """The merges as SimpleTokenizer's file: a first line, then a merge a line; the same bytes each time."""
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def write_tokenizer(out: Path, seed: int, captions: int) -> SimpleTokenizer:
    """Learns the merges from captions drawn for that purpose alone; the tokenizer that has them."""
    items = [
        clip_pairs.draw(generator(seed, "clip tokens", i), LANGUAGES[i % len(LANGUAGES)])
        for i in range(captions)
    ]
    (out / MERGES_FILE).write_bytes(dump_merges(learn_merges(item.text for item in items)))
    return SimpleTokenizer(bpe_path=str(out / MERGES_FILE), context_length=CONTEXT)


def batch_items(plan: Plan, step: int) -> list[clip_pairs.Item]:
    """The items of a step: half of them drawn, half near misses of those."""
    rng = generator(plan.seed, "clip train", plan.skip + step)
    first = [clip_pairs.draw(rng, rng.choice(LANGUAGES)) for _ in range(plan.batch // 2)]
    return first + [
        clip_pairs.near_miss(item, rng, rng.choice(LANGUAGES), plan.near, plan.edits) for item in first
    ]


def pixels(items: list[clip_pairs.Item], longer: int = 160) -> torch.Tensor:
    """(N, 3, SIDE, SIDE) in -1 to 1, as open_clip's transform makes them of the items' images."""
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


def region_loss(
    patches: torch.Tensor,
    texts: torch.Tensor,
    truth: torch.Tensor,
    scale: torch.Tensor,
    nothing: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy of each judged patch over all phrases and nothing; patches (N, P, D), texts (K, D), unit vectors.

    Patches without an object are many and easy: together they count as much as those with one.
    """
    logits = scale.exp() * patches @ texts.T  # (N, P, K)
    logits = torch.cat([logits, nothing.expand(*logits.shape[:2], 1)], dim=2).flatten(0, 1)
    flat = truth.flatten()
    each = functional.cross_entropy(logits, flat, ignore_index=clip_pairs.UNJUDGED, reduction="none")
    empty, shown = flat == clip_pairs.NOTHING, (flat != clip_pairs.NOTHING) & (flat != clip_pairs.UNJUDGED)
    return each[shown].sum() / shown.sum().clamp(min=1) + each[empty].sum() / empty.sum().clamp(min=1)


def train(plan: Plan, out: Path) -> Curve:
    """Trains, and writes the folder; the loss curve."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(out, plan)
    config = {"model_cfg": model_config(tokenizer.vocab_size), "preprocess_cfg": PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    model = open_clip.create_model(f"local-dir:{plan.start or out}", load_weights=bool(plan.start))
    curve = _steps(model, tokenizer, plan)
    state = {name: value.detach().half().contiguous().cpu() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")
    record = recorded(plan, curve.points)
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return curve


def recorded(plan: Plan, points: Sequence[Point]) -> dict[str, Any]:
    """The plans that made a folder, the first first, and their curve; a folder gone on from brings its own."""
    plans: list[dict[str, Any]] = []
    curve: list[Any] = []
    if plan.start:
        before = json.loads((Path(plan.start) / "training.json").read_text())
        plans, curve = before["plans"], before["curve"]
    step, seconds = curve[-1][:2] if curve else (0, 0.0)
    own = {name: getattr(plan, name) for name in Plan.__slots__ if name != "start"}
    moved = [(point[0] + step, round(point[1] + seconds, 1), *point[2:]) for point in points]
    return {"plans": [*plans, own], "curve": [*curve, *moved]}


def _tokenizer(out: Path, plan: Plan) -> SimpleTokenizer:
    """That of the folder to go on from, or a new one."""
    if not plan.start:
        return write_tokenizer(out, plan.seed, plan.captions)
    (out / MERGES_FILE).write_bytes((Path(plan.start) / MERGES_FILE).read_bytes())
    return SimpleTokenizer(bpe_path=str(out / MERGES_FILE), context_length=CONTEXT)


class _Drawn(Dataset[tuple[list[clip_pairs.Item], torch.Tensor]]):
    """The items of each step and their pixels, for a process that draws while another learns."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        return self._plan.steps

    def __getitem__(self, step: int) -> tuple[list[clip_pairs.Item], torch.Tensor]:
        items = batch_items(self._plan, step)
        return items, pixels(items)


@contextmanager
def _float_attention() -> Iterator[None]:
    """Attention in float32 whatever autocast says: its backward pass in bf16 is many times slower on CPUs."""
    usual = functional.scaled_dot_product_attention

    def attend(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(query.device.type, enabled=False):
            return usual(query.float(), key.float(), value.float(), *args, **kwargs)

    functional.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = usual


class _Learner(nn.Module):
    """The model, and what the loss over regions has of its own: a scale, and the logit of nothing."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.region_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.nothing = nn.Parameter(torch.zeros(()))
        # patches beside the pooled vector; open_clip asks the tower alone for them
        model.visual.output_tokens = True
        self._mask = model.text.attn_mask

    def see(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors of images (N, D) and of their patches (N, P, D)."""
        pooled, tokens = self.model.visual(images)
        patches = tokens @ self.model.visual.proj
        return functional.normalize(pooled.float(), dim=-1), functional.normalize(patches.float(), dim=-1)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Unit vectors of texts (N, D)."""
        # attention is causal: columns that are padding in every row change nothing
        length = int((tokens != 0).sum(1).max())
        self.model.text.attn_mask = self._mask[:length, :length].to(tokens.device)
        found: torch.Tensor = self.model.encode_text(tokens[:, :length], normalize=True)
        self.model.text.attn_mask = self._mask
        return found.float()

    def loss(self, items: list[clip_pairs.Item], images: torch.Tensor, tokens: torch.Tensor, kinds: torch.Tensor,
             half: str) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """The loss over images and captions, and that over patches and phrases (`kinds`: (L, K, T) tokens)."""
        with torch.autocast(half, torch.bfloat16):
            pooled, patches = self.see(images)
            texts = self.read(tokens)
            names = [self.read(one) for one in kinds]
        truth = torch.from_numpy(clip_pairs.truth(items, items)).float().to(images.device)
        whole = loss_of(pooled, texts, truth, self.model.logit_scale, self.model.logit_bias)
        shown = torch.from_numpy(clip_pairs.labels(items, GRID)).to(images.device)
        parts = [region_loss(patches, one, shown, self.region_scale, self.nothing) for one in names]
        return whole, torch.stack(parts).mean()


def _steps(model: Any, tokenizer: SimpleTokenizer, plan: Plan) -> Curve:
    learner = _Learner(model).to(plan.device).train()
    decay = [value for value in learner.parameters() if value.ndim >= 2]
    plain = [value for value in learner.parameters() if value.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    kinds = torch.stack([tokenizer(clip_pairs.phrases(language)) for language in LANGUAGES]).to(plan.device)
    curve, losses = Curve(), list[tuple[float, float]]()
    start = time.process_time()
    drawn = DataLoader(_Drawn(plan), batch_size=None, num_workers=1, prefetch_factor=8)
    for step, (items, images) in enumerate(drawn):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _schedule(step, plan.steps)
        tokens = tokenizer([item.text for item in items]).to(plan.device)
        with _float_attention() if plan.device == "cpu" else nullcontext():
            whole, parts = learner.loss(items, images.to(plan.device), tokens, kinds, plan.device)
        optimiser.zero_grad(set_to_none=True)
        (whole + parts).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        losses.append((whole.item(), parts.item()))
        if (step + 1) % 25 == 0 or step + 1 == plan.steps:
            seconds = round(time.process_time() - start, 1)
            over_pictures, over_regions = (round(float(one), 4) for one in np.mean(losses, axis=0))
            curve.points.append((step + 1, seconds, over_pictures, over_regions))
            print(*curve.points[-1], flush=True)
            losses.clear()
    model.visual.output_tokens = False
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
    """Adds what the model does on `number` held-out images a language to training.json, and prints it."""
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
    for name, value in (("seed", 0), ("steps", 3600), ("batch", 64), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=1.0e-3)
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
