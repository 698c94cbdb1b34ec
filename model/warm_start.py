"""What a stage of a training run starts from: its tokenizer, its oracle and the weights of a warm start."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch

from model import checkpoint, convert, initialise, parallel, shards
from model import tokenizer as tokenizers
from model.config import preset_document
from model.loader import Feed, Loader
from model.oracle import GROUNDED, SAMPLES, Oracle, regions
from model.qwen_vl import QwenVL, build
from model.settings import Place, TrainConfig
from model.stages import ORDER, StageConfig, title
from model.store import Store
from model.tokenizer import TagTokenizer
from schemas.errors import RecipeError

_VOCABULARY_SAMPLES = 20_000

Say = Callable[[str], None]


def tokenizer_of(place: Place) -> TagTokenizer:
    """Returns the tokenizer of this run: given, left by an earlier stage, or learned from the corpus's words."""
    init = place.config.init
    given = init.get("tokenizer")
    if given is None and "model" in init and (Path(init["model"]) / "tokenizer.json").is_file():
        given = init["model"]
    if given is not None:
        found = tokenizers.load(Path(given))
    else:
        folder = place.config.folder / "tokenizer"
        if place.rank == 0 and not folder.is_dir():
            learn_tokenizer(place.config, [place.config.corpus], folder)
        parallel.barrier(place.world)
        found = tokenizers.load(folder)
    if found.size > place.model.language.vocab:
        raise RecipeError(
            f"the tokenizer has {found.size} tokens, but preset {place.config.preset} has room for "
            f"{place.model.language.vocab}"
        )
    return found


def learn_tokenizer(config: TrainConfig, corpora: Sequence[str], folder: Path) -> None:
    """Learns a tokenizer from some 20,000 samples of the corpora, which take turns, and saves it in `folder`."""
    numbers = preset_document(config.preset).get("tokenizer", {})
    listed = [_texts(Store(one, config.storage_options), config.split, len(corpora)) for one in corpora]
    texts = (text for text in chain.from_iterable(zip_longest(*listed)) if text is not None)
    trained = tokenizers.train(texts, int(numbers["base"]), int(numbers["extras"]))
    scratch = folder.with_name(".tokenizer.tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    trained.save(scratch)
    checkpoint.replace_folder(scratch, folder)


def _texts(store: Store, split: str, corpora: int) -> Iterator[str]:
    strata = shards.find(store, split)
    each = max(_VOCABULARY_SAMPLES // (corpora * len(strata)), 1)
    return (sample.text for sample in shards.examples(store, strata, each))


def oracle_of(place: Place, tokenizer: TagTokenizer) -> Oracle:
    """Returns the oracle of the corpus's images, from `SAMPLES` grounded samples at most."""
    strata = shards.find(place.store, place.config.split)
    grounded = tuple(one for one in strata if one.task in GROUNDED)
    each = max(SAMPLES // max(len(grounded), 1), 1)
    known = regions(shards.examples(place.store, grounded, each)) if grounded else {}
    shape = place.model
    return Oracle(known, tokenizer, shape.adapter.queries, shape.language.hidden)


def model_of(
    place: Place, stage: StageConfig, feed: Feed, tokenizer: TagTokenizer, oracle: Oracle | None, say: Say
) -> QwenVL:
    """Returns the model that a stage starts from: the stage before it, else what `init` names, else at random."""
    model = build(place.model, place.config.seed)
    earlier = [one for one in ORDER[: ORDER.index(stage.name)] if _is_done(place, one)]
    if earlier:
        folder = place.config.folder / title(earlier[-1])
        checkpoint.load_weights(model, checkpoint.read_weights(folder / checkpoint.WEIGHTS), str(folder))
        say(f"{stage.title} starts from {folder}")
    else:
        if not {"language", "model"} & place.config.init.keys():
            initialise.copying(model, tokenizer, place.config.seed)
        for part, path in sorted(place.config.init.items()):
            if part != "tokenizer":
                convert.load_part(model, part, Path(path))
                say(f"{stage.title} starts with {part} from {path}")
    sees_first = stage.pictures != "told" and not set(earlier) - {"primer", "language"}
    if sees_first and "vision" in place.config.init and "model" not in place.config.init:
        _adapt(model, Path(place.config.init["vision"]), feed, tokenizer, oracle)
    return model


def _is_done(place: Place, name: str) -> bool:
    return (place.config.folder / title(name) / "config.json").is_file()


def _adapt(model: QwenVL, clip: Path, feed: Feed, tokenizer: TagTokenizer, oracle: Oracle | None) -> None:
    """Returns the adapter's first weights beside the encoder of a CLIP, the same on every rank."""
    projection = initialise.shared_space(clip)
    if projection is None:
        return
    initialise.align(model.adapter, projection)
    wanted = initialise.MATCHED if oracle else initialise.IMAGES
    taken: list[torch.Tensor] = []
    names: list[str] = []
    for batch in Loader(replace(feed, endless=False), tokenizer):
        taken.append(batch.pixels)
        names += batch.names
        if len(names) >= wanted:
            break
    if not names:
        return
    pixels = torch.cat(taken)[:wanted]
    words: Any = model.language.get_input_embeddings().weight
    known = [at for at, name in enumerate(names[:wanted]) if oracle and name in oracle]
    features = None
    if oracle and known:
        features = pixels[known], oracle.features([names[at] for at in known], words.detach())
    initialise.centre(model, pixels[: initialise.IMAGES], words[tokenizer.pad].detach(), features)
