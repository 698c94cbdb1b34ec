"""From shards to batches."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model import loader, shards
from model.batch import IGNORE, Batch
from model.images import square
from model.loader import Feed, Loader, PackedStream
from model.store import Store
from pipelines.writers.columns import Item
from schemas.errors import InputError
from schemas.mixture import read
from schemas.sample import Example, Phrase, Text, Turn
from tests.model.corpora import (
    TASKS,
    corpus,
    example,
    examples,
    item,
    items,
    one_of,
    picture,
    tokenizer,
    write,
)

COUNTS = {"caption": 50, "vqa": 90, "referring": 40, "ocr": 30, "text": 45, "chat": 20}


def feed(root: Path, split: str = "train", **given: Any) -> Feed:
    store = Store(str(root))
    settings: dict[str, Any] = {"length": 96, "micro": 4, "side": 16, "queries": 4, "pool": 64}
    return Feed(store, shards.find(store, split), **{**settings, **given})


def keys(batches: list[Batch]) -> Counter[str]:
    return Counter(key for batch in batches for row in batch.keys for key in row)


def same(a: Batch, b: Batch) -> bool:
    names = ("input_ids", "targets", "positions", "groups", "parts", "pixels", "places")
    return a.keys == b.keys and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def some(loader: Loader, count: int) -> list[Batch]:
    batches = iter(loader)
    return [next(batches) for _ in range(count)]


def test_one_pass(tmp_path: Path) -> None:
    """A finite pass gives each sample once; rows hold one task and their own images."""
    corpus(tmp_path, COUNTS)
    batches = list(Loader(feed(tmp_path, endless=False), tokenizer()))
    assert keys(batches) == Counter(
        one.key for task, count in COUNTS.items() for one in examples(task, count)
    )
    for batch in batches:
        for row, task in enumerate(batch.tasks):
            assert {key.split("-")[1] for key in batch.keys[row]} == {task}
        spans = [batch.input_ids[row, start - 1 : start + 5].tolist() for row, start in batch.places.tolist()]
        own = tokenizer()
        opening, closing = own.ids["<img>"], own.ids["</img>"]
        assert all(span == [opening, *[own.pad] * 4, closing] for span in spans)
        assert int((batch.input_ids == own.pad).sum()) == 4 * len(batch.pixels)
        # no place of an image is ever supervised, and none of an image's tokens predicts
        assert not (
            (batch.targets == own.pad) | (batch.targets == opening) | (batch.targets == closing)
        ).any()


def test_tar_and_parquet(tmp_path: Path) -> None:
    """WebDataset and Parquet shards give identical batches."""
    tar = corpus(tmp_path / "tar", COUNTS)
    columns = corpus(tmp_path / "parquet", COUNTS, form="parquet")
    first = some(Loader(feed(tar), tokenizer()), 20)
    second = some(Loader(feed(columns), tokenizer()), 20)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "mixture",
    [{}, {"vqa/*": 3, "caption/s": 1}, {"*/s": {"epochs": 0.7}, "vqa/s": {"epochs": 2, "max_samples": 20}}],
)
def test_resumed(tmp_path: Path, mixture: dict[str, Any]) -> None:
    """A loader restored after any batch gives the very batches that were to come."""
    corpus(tmp_path, COUNTS)
    given = feed(tmp_path, mixture=read(mixture))
    loader = Loader(given, tokenizer())
    batches, states = [], []
    for batch in loader:
        batches.append(batch)
        states.append(json.dumps(loader.state_dict()))
        if len(batches) == 30:
            break
    for at in range(0, 25, 3):
        again = Loader(given, tokenizer())
        again.load_state_dict(json.loads(states[at]))
        following = some(again, 4)
        assert all(same(a, b) for a, b in zip(following, batches[at + 1 :], strict=False))


def test_workers(tmp_path: Path) -> None:
    """Ranks and workers together give each sample once, and a loader with workers resumes to the sample."""
    corpus(tmp_path, {"caption": 150, "vqa": 150})
    given = feed(tmp_path, endless=False)
    first, states = Loader(given, tokenizer(), 0, 2, workers=2), []
    batches = []
    for batch in first:
        batches.append(batch)
        states.append(json.dumps(first.state_dict()))
    other = list(Loader(given, tokenizer(), 1, 2, workers=2))
    expected = {one.key for task in ("caption", "vqa") for one in examples(task, 150)}
    assert keys(batches + other) == Counter(expected)
    again = Loader(given, tokenizer(), 0, 2, workers=2)
    again.load_state_dict(json.loads(states[4]))
    assert len(batches) > 9
    assert all(same(a, b) for a, b in zip(again, batches[5:], strict=True))
    with pytest.raises(InputError, match="rank, world, workers"):
        Loader(given, tokenizer(), 0, 2, workers=1).load_state_dict(json.loads(states[4]))


def test_stateful_data_loader(tmp_path: Path) -> None:
    """The loader's state is what torchdata's StatefulDataLoader may keep for a data set."""
    corpus(tmp_path, {"caption": 60})
    loader = Loader(feed(tmp_path), tokenizer())
    assert callable(loader.state_dict)
    assert callable(loader.load_state_dict)
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()


def test_weights(tmp_path: Path) -> None:
    """Tasks come by their weights, tasks not named stay out."""
    corpus(tmp_path, COUNTS)
    mixture = read({"vqa/*": 3, "text/s": 1})
    batches = some(Loader(feed(tmp_path, mixture=mixture, pack=False, share=False), tokenizer()), 200)
    counts = Counter(task for batch in batches for task in batch.tasks)
    assert set(counts) == {"vqa", "text"}
    assert 2.6 < counts["vqa"] / counts["text"] < 3.4


@pytest.mark.parametrize("consumers", [1, 3])
def test_epochs(tmp_path: Path, consumers: int) -> None:
    """One pass draws each view as often as its stratum's epochs say, by all ranks together."""
    corpus(tmp_path, COUNTS)
    mixture = read(
        {"vqa/*": {"epochs": 2}, "caption/*": {"epochs": 0.5}, "ocr/s": {"epochs": 3, "max_samples": 10}}
    )
    given = feed(tmp_path, mixture=mixture, endless=False)
    found = Counter[str]()
    for rank in range(consumers):
        found += keys(list(Loader(given, tokenizer(), rank, consumers)))
    by_task: dict[str, list[int]] = {}
    for key, times in found.items():
        by_task.setdefault(key.split("-")[1], []).append(times)
    assert by_task == {"vqa": [2] * 90, "caption": [1] * 25, "ocr": [3] * 10}


def test_a_mixture_that_names_what_the_corpus_lacks(tmp_path: Path) -> None:
    """It is refused with what there is."""
    corpus(tmp_path, {"vqa": 9, "text": 4})
    with pytest.raises(InputError, match=r"mixture: colours/\* matches nothing; there is text/s, vqa/s"):
        Loader(feed(tmp_path, mixture=read({"vqa/*": 1, "colours/*": 1})), tokenizer()).__iter__().__next__()


def test_several_questions_share_a_picture(tmp_path: Path) -> None:
    """Questions on one image stand in one sequence, with the image once."""
    corpus(tmp_path, {"vqa": 90})
    batches = list(Loader(feed(tmp_path, endless=False, length=128), tokenizer()))
    shown = sum(len(batch.pixels) for batch in batches)
    assert 30 <= shown <= 34
    apart = list(Loader(feed(tmp_path, endless=False, length=128, share=False), tokenizer()))
    assert sum(len(batch.pixels) for batch in apart) == 90
    assert sum(batch.supervised for batch in batches) == sum(batch.supervised for batch in apart)


@pytest.mark.parametrize("share", [True, False])
def test_an_image_is_decoded_once_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: bool
) -> None:
    """Whatever the views of an image in a batch, their tasks and sequences, its bytes are decoded once for it."""
    views = [("caption", 0), ("vqa", 0), ("vqa", 1), ("vqa", 2), ("referring", 0), ("grounding", 0)]
    made = [
        one_of([example(task, number, ordinal) for task, ordinal in views], (picture(number)[0],))
        for number in range(24)
    ]
    write(tmp_path, made)
    decodes = Counter[bytes]()

    def counted(data: bytes, side: int) -> NDArray[np.uint8]:
        decodes[data] += 1
        return square(data, side)

    monkeypatch.setattr(loader, "square", counted)
    given = feed(tmp_path, endless=False, micro=8, length=128, pool=256, share=share)
    seen = decoded = 0
    for batch in Loader(given, tokenizer()):
        assert max(decodes.values()) == 1
        assert decodes.total() == len(set(batch.names)) == batch.decoded
        by_name: dict[str, torch.Tensor] = {}
        for name, pixels in zip(batch.names, batch.pixels, strict=True):
            assert torch.equal(by_name.setdefault(name, pixels), pixels)
        seen, decoded = seen + sum(map(len, batch.keys)), decoded + decodes.total()
        decodes.clear()
    assert seen == 24 * 6
    assert 24 <= decoded < seen


def test_a_sample_of_several_tasks_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The questions on an image come one after the other, and its record and bytes are read once for all of them."""
    corpus(tmp_path, {"vqa": 90})
    read_of = Store.read
    calls: list[str] = []

    def counted(self: Store, path: str, offset: int, size: int) -> bytes:
        calls.append(path)
        return read_of(self, path, offset, size)

    monkeypatch.setattr(Store, "read", counted)
    assert len(keys(list(Loader(feed(tmp_path, endless=False), tokenizer())))) == 90
    assert len(calls) <= 34


def test_blind(tmp_path: Path) -> None:
    """A blind feed has the words as they stand beside images, and shows none."""
    corpus(tmp_path, {"caption": 20})
    seeing = list(Loader(feed(tmp_path, endless=False), tokenizer()))
    unseeing = list(Loader(feed(tmp_path, endless=False, blind=True), tokenizer()))
    for batch, other in zip(seeing, unseeing, strict=True):
        assert len(batch.pixels) == len(batch.places) > 0
        assert len(other.pixels) == 0
        assert (other.places == batch.places).all()
        assert other.names == batch.names
        assert other.supervised > 0
        assert (batch.input_ids == other.input_ids).all()
        assert (batch.targets == other.targets).all()


def test_loss_where_the_sample_says(tmp_path: Path) -> None:
    """What is supervised is, for each task, the template's target and nothing else."""
    own = tokenizer()
    wanted = {
        "caption": " a red circle is here<|endoftext|>",
        "vqa": " red<|endoftext|>",
        "referring": "<box>(62,83),(312,416)</box><|endoftext|>",
        "grounded_caption": " red circle<|endoftext|>",
        "grounding": " a<ref> red circle</ref><box>(62,83),(312,416)</box><|endoftext|>",
        "ocr": " <ref>line 0</ref><quad>(15,20),(468,20),(468,187),(15,187)</quad><|endoftext|>",
        # nothing stands before its first token, so that is not supervised
        "text": None,
        "chat": None,
    }
    for task in TASKS:
        write(tmp_path / task, [item(task, 0)])
        (batch,) = Loader(feed(tmp_path / task, endless=False), own)
        told = own.decode([number for number in batch.targets[0].tolist() if number != IGNORE])
        if wanted[task] is not None:
            assert told == wanted[task], task
        elif task == "chat":
            assert told == "<|im_end|>\n<|im_start|><|im_end|>\n<|im_start|>A red circle.<|im_end|>\n"
        else:
            whole = own.decode(batch.input_ids[0].tolist()).split("<|endoftext|>")[0] + "<|endoftext|>"
            assert whole.endswith(told)
            assert len(whole) - len(told) <= len("Number")


def test_unknown_task(tmp_path: Path) -> None:
    """Shards of a task without a template are refused by name."""
    made = item("caption", 0)
    write(tmp_path, [one_of([replace(made.sample.example(0), task="depth")], made.images)])
    with pytest.raises(InputError, match=r"depth.*no template"):
        feed(tmp_path)


def test_image_out_of_range(tmp_path: Path) -> None:
    """A record whose image index is out of range is refused with shard and row."""
    import pyarrow.parquet as pq

    path = write(tmp_path, items("caption", 3))
    table = pq.ParquetFile(path).read()
    line = table["sample"][1].as_py().replace('"image":0', '"image":7')
    changed = [table["sample"][0].as_py(), line, table["sample"][2].as_py()]
    at = table.schema.get_field_index("sample")
    pq.write_table(table.set_column(at, "sample", [changed]), path)
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"00000\.parquet, row 1.*image 7") as caught:
            list(Loader(feed(tmp_path, endless=False), tokenizer(), workers=workers))
        assert "Traceback" not in str(caught.value)


def _text(number: int, words: str) -> Item:
    key = f"{number:08x}-text-0"
    return one_of(
        [Example(key, "text", "train", "en", "s", "", (), (Turn("document", (Text(words, True),)),))]
    )


def test_too_long(tmp_path: Path) -> None:
    """A sample longer than the context is dropped and counted, or refused by its key, as is wished."""
    write(tmp_path, [_text(0, "short"), _text(1, "long " * 300), _text(2, "short too")])
    loader = Loader(feed(tmp_path, endless=False), tokenizer())
    assert keys(list(loader)) == Counter(["00000000-text-0", "00000002-text-0"])
    assert loader.drops == {"too_long": 1}
    with pytest.raises(InputError, match=r"00000001-text-0 has \d+ tokens"):
        list(Loader(feed(tmp_path, endless=False, too_long="refuse"), tokenizer()))


def test_unfit_sample(tmp_path: Path) -> None:
    """A sample that does not fit its template is dropped and counted."""
    bad = item("referring", 0)
    turns = (Turn("document", (Phrase("x", ((5, 5, 5, 9),), supervised=True),)),)
    flat = replace(bad.sample.example(0), turns=turns)
    write(tmp_path, [one_of([flat], bad.images), item("referring", 1)])
    loader = Loader(feed(tmp_path, endless=False), tokenizer())
    assert len(keys(list(loader))) == 1
    assert loader.drops == {"markup": 1}


def _broken(whole: Item) -> Item:
    data = whole.images[0][:40]
    image = replace(whole.sample.images[0], sha256=hashlib.sha256(data).hexdigest())
    return Item(replace(whole.sample, images=(image,)), (data,))


def test_broken_picture(tmp_path: Path) -> None:
    """An image that cannot be decoded teaches nothing, is counted, and stops nobody else."""
    good = item("caption", 1)
    write(tmp_path, [_broken(item("caption", 0)), good])
    loader = Loader(feed(tmp_path, endless=False, length=48), tokenizer())
    batches = list(loader)
    alone = tmp_path / "alone"
    write(alone, [good])
    (only,) = Loader(feed(alone, endless=False), tokenizer())
    assert sum(batch.supervised for batch in batches) == only.supervised
    assert loader.drops == {"picture": 1}


def test_broken_pictures_are_counted_on(tmp_path: Path) -> None:
    """A loader restored after any batch goes on counting the images that it could not decode."""
    made = [item("caption", at) for at in range(40)]
    write(tmp_path, [_broken(one) if at % 5 == 0 else one for at, one in enumerate(made)])
    given = feed(tmp_path, pool=16)
    loader = Loader(given, tokenizer())
    states, counts = [], []
    for _, _ in zip(range(12), loader, strict=False):
        states.append(json.dumps(loader.state_dict()))
        counts.append(loader.drops["picture"])
    assert counts[-1] > counts[3] > 0
    for at, state in enumerate(states[:-1]):
        again = Loader(given, tokenizer())
        again.load_state_dict(json.loads(state))
        some(again, 1)
        assert again.drops["picture"] == counts[at + 1]


def test_no_batch_waits_for_a_whole_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first batch, the samples that a round needs are read a few with each batch of the round before."""
    corpus(tmp_path, {"text": 300})
    drawn: list[shards.Place] = []
    view = shards.Reader.view

    def counted(self: shards.Reader, shard: shards.Shard, place: shards.Place) -> shards.Row:
        drawn.append(place)
        return view(self, shard, place)

    monkeypatch.setattr(shards.Reader, "view", counted)
    stream = PackedStream(feed(tmp_path, pool=64, micro=1), tokenizer(), 0, 1)
    before, most = 0, 0
    for count, _ in enumerate(stream):
        most = max(most, len(drawn) - before) if count else most
        before = len(drawn)
        if count == 60:
            break
    assert len(drawn) > 3 * 64
    assert 0 < most <= 8


def test_nothing_usable(tmp_path: Path) -> None:
    """Where nothing can be used, an endless loader stops with a sentence."""
    write(tmp_path, [_text(at, "long " * 300) for at in range(5)])
    with pytest.raises(InputError, match="cannot be used"):
        some(Loader(feed(tmp_path), tokenizer()), 1)


def test_no_shards(tmp_path: Path) -> None:
    """A folder without shards, or without the split, is refused."""
    with pytest.raises(InputError, match="no train shards"):
        feed(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        feed(tmp_path / "nowhere")


def test_cut_tar(tmp_path: Path) -> None:
    """A tar shorter than its index says is refused by name."""
    path = write(tmp_path, items("caption", 5)).with_suffix(".tar")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"00000\.tar ends before"):
        list(Loader(feed(tmp_path, endless=False), tokenizer()))


def test_an_index_without_its_tar(tmp_path: Path) -> None:
    """An index whose tar is gone is named before the first batch; so is a tar whose index is gone."""
    write(tmp_path, items("caption", 5), 0)
    other = write(tmp_path, items("caption", 10)[5:], 1)
    other.with_suffix(".tar").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"00001\.parquet is the index of .*00001\.tar, which is missing"):
        feed(tmp_path)
    (tmp_path / "away").rename(other.with_suffix(".tar"))
    other.unlink()
    with pytest.raises(InputError, match=r"00001\.tar has no index: .*00001\.parquet is missing"):
        feed(tmp_path)


def test_a_damaged_index(tmp_path: Path) -> None:
    """An index that is cut, or damaged inside, is named in one sentence."""
    path = write(tmp_path, items("caption", 5))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"00000\.parquet is damaged.*copy it again"):
        feed(tmp_path)
    path.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[len(whole) // 2 + 4 :])
    with pytest.raises(InputError, match=r"00000\.parquet is damaged.*copy it again"):
        list(Loader(feed(tmp_path, endless=False), tokenizer()))


@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_a_shard_of_another_form(tmp_path: Path, form: str) -> None:
    """A shard that an earlier version wrote is named, not read; a file that is none is named as that."""
    import pyarrow.parquet as pq

    path = write(tmp_path, items("caption", 5), form=form)
    table = pq.read_table(path)
    for metadata in (None, {"vlcorpus": "2"}):
        pq.write_table(table.replace_schema_metadata(metadata), path)
        with pytest.raises(
            InputError, match=r"00000\.parquet is a shard of another form.*build the corpus again"
        ):
            feed(tmp_path)
    pq.write_table(table.replace_schema_metadata({"vlcorpus": "3"}), path)
    with pytest.raises(InputError, match=r"00000\.parquet does not say how many views it holds"):
        feed(tmp_path)
    pq.write_table(table.select(["key", "language"]).replace_schema_metadata(None), path)
    with pytest.raises(InputError, match="it has no column sample"):
        feed(tmp_path)
