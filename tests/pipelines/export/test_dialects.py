"""Views in the dialects of other projects: out by the command, and in again by the format that reads the dialect."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.dataset import build as built
from pipelines.datasets.drafts import Shown, finish
from pipelines.datasets.table import DATASETS
from pipelines.export import dialects
from pipelines.export.table import Asked, export
from pipelines.show.inspect import samples
from schemas.dialects.dialogue import LACKS, as_chat
from schemas.dialects.llava import words_apart
from schemas.errors import InputError
from schemas.sample import Example, Image, ImageRef, Phrase, Segment, Text
from tests import needs
from tests.pipelines.building import build
from tests.pipelines.crawls import vlcorpus
from tests.pipelines.sources.test_annotations import SIZE, folder, lines

IMAGES = 100
READ_BY = {
    "llava": ("llava", "train.json"),
    "qwen-vl": ("qwen", "train.json"),
    "qwen3-vl": ("qwen3_vl", "train.json"),
    "paligemma": ("paligemma", "train.jsonl"),
    "kosmos2": ("kosmos2", "train.jsonl"),
}
STEPS = {"llava": 1000, "qwen-vl": 1000, "qwen3-vl": 1000, "paligemma": 1024, "kosmos2": 32, "coco": 10**5}
"""Cells a side of each dialect."""
WORDS = ("red", "block", "一只猫", "far", "left", "bright", "edge", "<ref>", "of", "naïve")


def box(rng: random.Random, across: float = 1, down: float = 1) -> list[float]:
    """A box of at least a tenth of each side."""
    x, y = rng.uniform(0, 0.8), rng.uniform(0, 0.8)
    far = rng.uniform(x + 0.1, 1), rng.uniform(y + 0.1, 1)
    return [round(x * across, 2), round(y * down, 2), round(far[0] * across, 2), round(far[1] * down, 2)]


def said(rng: random.Random) -> str:
    """Some words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))


def tuples(rng: random.Random, number: int) -> dict[str, Any]:
    """A caption with two phrases, in one or two boxes each."""
    first, second = f"one {said(rng)}", f"two {said(rng)}"
    caption = f"{said(rng)}: {first} and {second}."
    phrases = []
    for words in (first, second):
        start = caption.index(words)
        found = [box(rng, *SIZE) for _ in range(rng.randint(1, 2))]
        phrases.append({"text": words, "start": start, "end": start + len(words), "boxes": found})
    shape = {"image": f"{number}.jpg", "width": SIZE[0], "height": SIZE[1]}
    return shape | {"caption": caption, "phrases": phrases}


def talk(rng: random.Random, number: int) -> dict[str, Any]:
    """A dialogue of up to three rounds, some answers of which are boxes."""
    turns = []
    for at in range(rng.randint(1, 3)):
        shares = ", ".join(f"{value:.3f}" for value in box(rng))
        answer = f"[{shares}]" if rng.random() < 0.4 else said(rng)
        turns += [{"from": "human", "value": ("<image>\n" if at == 0 else "") + said(rng)}]
        turns += [{"from": "gpt", "value": answer}]
    return {"image": f"{number}.jpg", "conversations": turns}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 views of every task that a dialect can say, drawn at random."""
    rng, place = random.Random(7), tmp_path_factory.mktemp("dialects")
    numbers = range(IMAGES)
    images = [{"id": n, "file_name": f"{n}.jpg", "width": SIZE[0], "height": SIZE[1]} for n in numbers]
    captions = [{"id": n, "image_id": n % IMAGES, "caption": f"{n} {said(rng)}"} for n in range(2 * IMAGES)]
    questions = {
        str(n): {"imageId": str(n % IMAGES), "question": f"{said(rng)}?", "answer": said(rng)}
        for n in range(2 * IMAGES)
    }
    folder(place / "images", IMAGES)
    (place / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    (place / "questions.json").write_text(json.dumps(questions))
    lines(place / "tuples.jsonl", [tuples(rng, n) for n in numbers])
    (place / "talk.json").write_text(json.dumps([talk(rng, n) for n in numbers]))
    sets = {
        "coco_captions": "captions.json",
        "gqa": "questions.json",
        "grounding": "tuples.jsonl",
        "llava": "talk.json",
    }
    sources = [
        {"id": form.replace("_", "-"), "kind": "annotations", "format": form, "path": str(place / name)}
        | {"images": str(place / "images")}
        for form, name in sets.items()
    ]
    build({"sources": sources}, place / "out")
    return place / "out"


def views(corpus: Path) -> dict[str, Example]:
    """The views of the corpus by key."""
    shards = [path for path in corpus.rglob("shards/**/*") if path.suffix in (".tar", ".parquet")]
    return {
        view.key: view
        for path in sorted(shards)
        for shown in samples(str(path), None)
        if shown.sample is not None
        for view in shown.sample.examples
    }


def parts(segments: list[Segment], target: str) -> list[object]:
    """Words as runs, each box with its phrase, as far as the dialect has words for it."""
    told = words_apart(segments) if target == "llava" else tuple(segments)
    out: list[object] = []
    for one in told:
        if isinstance(one, Phrase) and one.boxes:
            out += [(one.phrase, found) for found in one.boxes]
        elif isinstance(one, ImageRef):
            out.append("<image>")
        elif words := one.text if isinstance(one, Text) else one.phrase:
            joined = out[-1] + words if out and isinstance(out[-1], str) and out[-1] != "<image>" else words
            out[-1:] = [joined] if joined != words else [*out[-1:], words]
    return out


def alike(one: list[object], two: list[object], steps: int) -> bool:
    """Whether words are the same, and boxes up to one cell of the grid."""
    if len(one) != len(two):
        return False
    reach = [side / steps + 0.011 for side in SIZE * 2]
    for a, b in zip(one, two, strict=True):
        if isinstance(a, tuple) and isinstance(b, tuple):
            near = all(abs(p - q) <= r for p, q, r in zip(a[1], b[1], reach, strict=True))
            if a[0] != b[0] or not near:
                return False
        elif a != b:
            return False
    return True


def read_back(path: Path, form: str) -> list[Example]:
    """What the format makes of a file, on the images as stored."""
    dataset, image = DATASETS[form], Image("JPEG", *SIZE, "0" * 64)
    assert dataset.records is not None
    found = []
    with path.open("rb") as file:
        for one in built(dataset.records({dataset.parts[0]: file}), dataset):
            assert one.refusal is None, one
            assert not one.lost
            for draft in one.drafts:
                stored = [Shown(image)] * len(draft.images)
                found.append(finish(draft, "k", stored, split="train", source="s", licence="l"))
    return found


@pytest.mark.parametrize("target", READ_BY)
def test_every_view_comes_back(corpus: Path, tmp_path: Path, target: str) -> None:
    """Each view that a dialect can say is read back to the dialect's grid; the others are counted, and none is lost."""
    export(str(corpus), target, str(tmp_path / "out"))
    ledger = json.loads((tmp_path / "out/ledger.json").read_bytes())
    own = views(corpus)
    assert (ledger["in"], len(own)) == (1000, 1000)
    assert ledger["in"] == ledger["out"] + sum(one["views"] for one in ledger["refused"].values())
    refused = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert Counter(one["reason"] for one in refused) == {
        name: one["views"] for name, one in ledger["refused"].items()
    }
    form, name = READ_BY[target]
    text = (tmp_path / "out" / name).read_text()
    keys = [
        one["id"]
        for one in (json.loads(text) if name.endswith("json") else map(json.loads, text.splitlines()))
    ]
    assert {*keys} | {one["view"] for one in refused} == {*own}
    assert len(keys) == ledger["out"] >= 200
    found: dict[str | None, list[Example]] = {}
    for one in read_back(tmp_path / "out" / name, form):
        found.setdefault(one.id, []).append(one)
    for key in keys:
        wanted = own[key] if target in ("paligemma", "kosmos2") else as_chat(own[key])
        expected = [parts(list(turn.segments), target) for turn in wanted.turns]
        got = [[parts(list(turn.segments), target) for turn in one.turns] for one in found[key]]
        tasks = [one.task for one in found[key]]
        assert any(
            len(one) == len(expected)
            and all(alike(a, b, STEPS[target]) for a, b in zip(one, expected, strict=True))
            for one in got
        ), (expected, got)
        assert (own[key].task if target in ("paligemma", "kosmos2") else "chat") in tasks


def test_coco_comes_back(corpus: Path, tmp_path: Path) -> None:
    """Captions and the boxes of each phrase are read back from COCO's two files, to a hundredth of a pixel."""
    export(str(corpus), "coco", str(tmp_path / "out"))
    ledger = json.loads((tmp_path / "out/ledger.json").read_bytes())
    assert ledger["out"] == 600
    own = [one for one in views(corpus).values() if one.task in ("caption", "referring", "grounded_caption")]
    out = tmp_path / "out"
    again = read_back(out / "captions_train.json", "coco_captions")
    again += read_back(out / "instances_train.json", "coco_instances")
    assert len(again) == len(own) == 600
    for a, b in zip(sorted(again, key=_place), sorted(own, key=_place), strict=True):
        found, wanted = parts(list(a.segments), "coco"), parts(list(b.segments), "coco")
        assert (a.task, alike(found, wanted, STEPS["coco"])) == (b.task, True), (found, wanted)


def _place(view: Example) -> tuple[object, ...]:
    """Orders views by task, words and boxes."""
    return view.task, view.text, [box for one in view.phrases for box in one.boxes]


def test_the_ecosystem_s_own_readers_read_the_files(corpus: Path, tmp_path: Path) -> None:
    """transformers' Kosmos-2 processor finds the boxes, and datasets the records, that were written."""
    kosmos = needs.package("transformers.models.kosmos2.processing_kosmos2")
    datasets = needs.package("datasets")
    for target in ("kosmos2", "qwen3-vl"):
        export(str(corpus), target, str(tmp_path / target), asked=Asked(split="train"))
    own = views(corpus)
    for line in (tmp_path / "kosmos2/train.jsonl").read_text().splitlines():
        record = json.loads(line)
        _, found = kosmos.clean_text_and_extract_entities_with_bboxes(record["text"])
        boxes = [
            [value * side for value, side in zip(one, SIZE * 2, strict=True)]
            for *_, many in found
            for one in many
        ]
        wanted = [one for phrase in own[record["id"]].phrases for one in phrase.boxes]
        for got, given in zip(boxes, wanted, strict=True):
            assert got == pytest.approx(given, abs=max(SIZE) / 32 + 0.01)
    options = {"data_files": str(tmp_path / "qwen3-vl/train.json"), "cache_dir": str(tmp_path / "cache")}
    table = datasets.load_dataset("json", split="train", **options)
    ledger = json.loads((tmp_path / "qwen3-vl/ledger.json").read_bytes())
    assert table.num_rows == ledger["out"]
    for one in table:
        # what Qwen's fine-tuning script asks for: roles by turns, a file for each <image>, and none in an answer
        assert [turn["from"] for turn in one["conversations"]] == ["human", "gpt"] * (
            len(one["conversations"]) // 2
        )
        assert sum(turn["value"].count("<image>") for turn in one["conversations"][::2]) == 1
        assert (tmp_path / "qwen3-vl" / one["image"]).is_file()


def test_the_command_writes_what_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    """--task and --source choose views; the images lie beside the file that names them, whole and once."""
    run = vlcorpus(
        "export", corpus, "--to", "qwen3-vl", "--out", tmp_path / "out", "--task", "vqa", "--split", "train"
    )
    assert run.returncode == 0, run.stderr
    assert "200 of 200 views in train.json" in run.stdout
    records = json.loads((tmp_path / "out/train.json").read_bytes())
    assert len(records) == 200
    assert all((tmp_path / "out" / one["image"]).read_bytes()[:2] == b"\xff\xd8" for one in records)
    assert (
        len([*(tmp_path / "out/images").rglob("*.jpg")]) == len({one["image"] for one in records}) == IMAGES
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("images", "train.json", "ledger.json", "refused.jsonl")
    }


def test_images_are_linked_where_a_folder_has_them(corpus: Path, tmp_path: Path) -> None:
    """--images links to the files that hold an image byte for byte, and writes it where none does."""
    own = tmp_path / "own"
    shutil.copytree(corpus.parent / "images", own)
    gone = [own / f"{number}.jpg" for number in range(3)]
    gone[0].unlink()
    gone[1].write_bytes(gone[1].read_bytes()[:-1])
    gone[2].write_bytes(bytes(len(gone[2].read_bytes())))
    said = export(str(corpus), "llava", str(tmp_path / "out"), asked=Asked(images=str(own)))
    assert f"{IMAGES - 3} images are links into {own}" in said[1]
    assert "3 are not there byte for byte" in said[1]
    export(str(corpus), "llava", str(tmp_path / "copy"))
    found = sorted(path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*.*"))
    for name in found:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()
    links = [path for path in (tmp_path / "out/images").rglob("*.jpg") if path.is_symlink()]
    assert len(links) == IMAGES - 3
    # an export has the images of another one
    assert (
        f"{IMAGES} images are links"
        in export(
            str(corpus),
            "kosmos2",
            str(tmp_path / "again"),
            asked=Asked(images=str(tmp_path / "copy"), split="train"),
        )[1]
    )


@pytest.mark.parametrize(
    ("target", "images", "sentence"),
    [
        ("llava", "nowhere", "there is no folder .*nowhere: give --images the folder"),
        ("llava", "s3://bucket/images", "this machine only"),
        ("energon", ".", "leave out --images"),
    ],
)
def test_images_that_cannot_be_linked_are_one_sentence(
    corpus: Path, tmp_path: Path, target: str, images: str, sentence: str
) -> None:
    """A folder that is not there or on another machine, and whole tars, are refused before anything is written."""
    with pytest.raises(InputError, match=sentence):
        export(str(corpus), target, str(tmp_path / "out"), asked=Asked(images=images))
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_one_sentence(corpus: Path, tmp_path: Path) -> None:
    """A source that is not there, and a choice of views for whole tars, say so."""
    with pytest.raises(InputError, match="has no view of that split, task and source"):
        export(str(corpus), "llava", str(tmp_path / "a"), asked=Asked(source="gone"))
    with pytest.raises(InputError, match="leave out --split, --task and --source"):
        export(str(corpus), "energon", str(tmp_path / "b"), asked=Asked(task="vqa"))


def test_every_reason_has_a_meaning(corpus: Path, tmp_path: Path) -> None:
    """The reasons of a ledger are those of LACKS, whatever the dialect; docs/output.md lists them in its words."""
    page = (Path(__file__).parents[3] / "docs/output.md").read_text()
    assert all(f"| `{name}` | {meaning} |\n" in page for name, meaning in LACKS.items())
    found = set()
    for target in (*dialects.WRITERS, "coco"):
        export(str(corpus), target, str(tmp_path / target), asked=Asked(task="grounding"))
        found |= json.loads((tmp_path / target / "ledger.json").read_bytes())["refused"].keys()
    assert found
    assert found <= LACKS.keys()
