"""Records a second of one core through each builder of JSON sources, reading included.

    python -m benchmarks.builders [--seconds 1] [--names grit,gqa]

The records are made here, of the size and shape of the published ones. The floor is 20,000 a second.
"""

import argparse
import io
import json
import pickle
import random
import time
from collections.abc import Callable
from typing import Any

from pipelines.datasets.dataset import build
from pipelines.datasets.table import DATASETS

FLOOR = 20_000
RECORDS = 20_000
TEXT = "a man in the red coat rides his old bicycle along a wet street past two small dogs and their owner"
WORDS = TEXT.split()

Made = dict[str, bytes]


def sentence(rng: random.Random, least: int, most: int) -> str:
    """Some words."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(least, most)))


def corners(rng: random.Random) -> list[float]:
    """A box as two corners, two decimals, in an image of 640 x 480."""
    x, y = rng.uniform(0, 500), rng.uniform(0, 400)
    return [round(one, 2) for one in (x, y, x + rng.uniform(9, 130), y + rng.uniform(9, 70))]


def sized(rng: random.Random) -> list[float]:
    """A box as corner and size."""
    x1, y1, x2, y2 = corners(rng)
    return [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]


def lines(make: Callable[[random.Random, int], dict[str, Any]]) -> Made:
    """A file of JSON lines."""
    rng = random.Random(0)
    return {"records": b"".join(json.dumps(make(rng, n)).encode() + b"\n" for n in range(RECORDS))}


def whole(value: Any, part: str = "records") -> Made:
    """A file of one JSON value."""
    return {part: json.dumps(value).encode()}


def grounding(rng: random.Random, number: int) -> dict[str, Any]:
    """A tuple of a caption of about twelve words and one to three phrases."""
    parts, phrases, at = [], [], 0
    for _ in range(rng.randint(1, 3)):
        before, text = sentence(rng, 1, 4) + " ", sentence(rng, 1, 3)
        start = at + len(before)
        boxes = [corners(rng) for _ in range(rng.randint(1, 2))]
        phrases.append({"text": text, "start": start, "end": start + len(text), "boxes": boxes})
        parts += [before, text, " "]
        at = start + len(text) + 1
    name = f"{number:08d}.jpg"
    return {
        "file": name,
        "width": 640,
        "height": 480,
        "caption": "".join(parts),
        "phrases": phrases,
        "lang": "en",
    }


def grit(rng: random.Random, number: int) -> dict[str, Any]:
    """A GRIT record: one noun chunk or two, each copied into ref_exps, and in some an expression over all."""
    one = grounding(rng, number)
    chunks = [
        [p["start"], p["end"], *[v / 700 for v in box], 0.8]
        for p in one["phrases"][:2]
        for box in p["boxes"][:1]
    ]
    over = [[chunks[0][0], chunks[-1][1], *chunks[0][2:]]] if number % 3 == 0 else []
    return {
        "id": number,
        "caption": one["caption"],
        "url": f"https://example.org/{number}.jpg",
        "width": 640,
        "height": 480,
        "noun_chunks": chunks,
        "ref_exps": [*chunks, *over],
    }


def conversation(rng: random.Random, number: int) -> dict[str, Any]:
    """A LLaVA conversation of two rounds."""
    said = []
    for turn in range(4):
        picture = "<image>\n" if turn == 0 else ""
        said.append({"from": "gpt" if turn % 2 else "human", "value": picture + sentence(rng, 8, 40)})
    return {"id": str(number), "image": f"{number}.jpg", "conversations": said}


def obelics(rng: random.Random, number: int) -> dict[str, Any]:
    """An OBELICS document of three images and four paragraphs."""
    images = [None, f"https://example.org/{number}/1.jpg", None, f"https://example.org/{number}/2.jpg", None]
    return {"images": images, "texts": [None if one else sentence(rng, 20, 80) for one in images]}


def mmc4(rng: random.Random, number: int) -> dict[str, Any]:
    """An MMC4 document of two images and eight sentences."""
    info = [{"image_name": f"{number}-{n}.jpg", "matched_text_index": n * 3} for n in range(2)]
    return {"text_list": [sentence(rng, 8, 20) for _ in range(8)], "image_info": info}


def image(number: int) -> int:
    """The id of the image that a record is about; each has five records."""
    return number % (RECORDS // 5)


def coco(rng: random.Random) -> tuple[Made, Made, Made]:
    """The files of COCO's captions, of its objects, and of RefCOCO."""
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 480} for n in range(RECORDS // 5)]
    captions = [{"id": n, "image_id": image(n), "caption": sentence(rng, 8, 14)} for n in range(RECORDS)]
    names = [{"id": n, "name": f"thing {n}"} for n in range(80)]
    objects = [
        {"id": n, "image_id": image(n), "category_id": rng.randrange(80), "bbox": sized(rng), "iscrowd": 0}
        for n in range(RECORDS)
    ]
    refs = [
        {
            "ref_id": n,
            "ann_id": n,
            "image_id": image(n),
            "split": "train",
            "sentences": [{"sent": sentence(rng, 2, 5), "sent_id": n}],
        }
        for n in range(RECORDS)
    ]
    instances = {"images": images, "annotations": objects, "categories": names}
    return (
        whole({"images": images, "annotations": captions}),
        whole(instances),
        {"refs": pickle.dumps(refs, 2)} | whole(instances, "instances"),
    )


def questions(rng: random.Random) -> dict[str, Made]:
    """The files of the sets of questions that are one list or one object of them."""
    asked = [
        {"question_id": n, "image_id": image(n), "question": sentence(rng, 5, 9), "answer": "red"}
        for n in range(RECORDS)
    ]
    answers = [{"answer": rng.choice(["red", "blue"]), "answer_confidence": "yes"} for _ in range(10)]
    told = [one | {"answers": ["red"] * 10, "image": "a.png", "image_id": "abc"} for one in asked]
    gqa = {
        str(n): {"question": one["question"], "answer": "red", "imageId": "1"} for n, one in enumerate(asked)
    }
    return {
        "vqav2": whole({"questions": asked}, "questions")
        | whole(
            {"annotations": [{"question_id": n, "answers": answers} for n in range(RECORDS)]}, "annotations"
        ),
        "vgqa": whole(
            [{"id": 0, "qas": [{"qa_id": one["question_id"], **one} for one in asked]}], "questions"
        )
        | described(),
        "gqa": whole(gqa),
        "docvqa": whole({"data": told}),
        "textvqa": whole({"data": told}),
        "chartqa": whole([{"imgname": "1.png", "query": one["question"], "label": "7"} for one in asked]),
        "dvqa": whole(told),
        "ocrvqa": whole(covers()),
        "ai2d": whole(diagram()),
    }


def described() -> Made:
    """Visual Genome's file of images."""
    about = {"width": 640, "height": 480, "url": "https://x/VG_100K/1.jpg"}
    return whole([{"image_id": n, **about} for n in range(RECORDS // 5)], "images")


def regions(rng: random.Random) -> Made:
    """The files of Visual Genome's regions."""
    found = [
        {"region_id": n, "image_id": image(n), "phrase": sentence(rng, 3, 6)}
        | dict(zip(("x", "y", "width", "height"), sized(rng), strict=True))
        for n in range(RECORDS)
    ]
    return whole([{"id": 0, "regions": found}], "regions") | described()


def covers() -> dict[str, Any]:
    """OCR-VQA's book covers, each with five questions."""
    one = {
        "imageURL": "https://x/1.jpg",
        "questions": ["who wrote this?"] * 5,
        "answers": ["she"] * 5,
        "split": 1,
    }
    return {str(n): one for n in range(RECORDS // 5)}


def diagram() -> dict[str, Any]:
    """AI2D's one diagram with all questions."""
    about = {"answerTexts": ["a", "b"], "correctAnswer": 1, "abcLabel": False}
    asked = {f"what is {n}?": {"questionId": f"0-{n}", **about} for n in range(RECORDS)}
    return {"imageName": "0.png", "questions": asked}


def sources() -> dict[str, tuple[Made, int]]:
    """The files of each dataset, and how many records they hold."""
    rng = random.Random(0)
    captions, instances, refs = coco(rng)
    many = {
        "grounding": lines(grounding),
        "grit": lines(grit),
        "visual_genome": regions(rng),
        "refcoco": refs,
        "coco_captions": captions,
        **questions(rng),
        "conversations": whole([conversation(rng, n) for n in range(RECORDS)]),
        "obelics": lines(obelics),
        "mmc4": lines(mmc4),
    }
    counted = {name: (files, RECORDS) for name, files in many.items()}
    # an image with its objects is one outcome; the file's records are the objects
    return counted | {"coco_instances": (instances, RECORDS // 5)}


def rate(name: str, files: Made, expected: int, seconds: float) -> tuple[float, float]:
    """Records a second of processor time, and samples a record; every record must be built."""
    records = samples = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < seconds:
        outcomes = 0
        dataset = DATASETS[name]
        assert dataset.records is not None, f"{name} is read from a folder"
        opened = {part: io.BytesIO(data) for part, data in files.items()}
        for one in build(dataset.records(opened), dataset):
            assert one.refusal is None, (name, one.refusal)
            outcomes += 1
            samples += len(one.drafts)
        assert outcomes == expected, (name, outcomes)
        records += RECORDS
    return records / spent, samples / records


def main() -> None:
    """Prints one line a builder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--names", default="")
    options = parser.parse_args()
    wanted = options.names.split(",") if options.names else None
    for name, (files, expected) in sources().items():
        if wanted is None or name in wanted:
            speed, samples = rate(name, files, expected, options.seconds)
            note = "" if speed >= FLOOR else f"  below {FLOOR}"
            print(f"{name:16s} {speed:10,.0f} records/s  {samples:.1f} samples a record{note}")


if __name__ == "__main__":
    main()
