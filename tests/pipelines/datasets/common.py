"""What the tests of builders share."""

import io
import json
from collections.abc import Iterable
from typing import Any

from pipelines.datasets.dataset import Built, Dataset, Record, build
from pipelines.datasets.drafts import Draft
from pipelines.datasets.reasons import REASONS
from schemas.markup import render
from schemas.sample import Example, Image, Phrase, Sample, Segment

BOX = [10, 20, 30, 40]


def records(*values: Any) -> list[Record]:
    return [Record(str(number), value) for number, value in enumerate(values)]


def read(dataset: Dataset, **files: object) -> list[Built]:
    """The outcomes of a dataset of JSON files, each given by its part: bytes, or what the JSON holds."""
    assert dataset.records is not None
    assert set(files) == set(dataset.parts)
    opened = {
        part: io.BytesIO(value if isinstance(value, bytes) else json.dumps(value).encode())
        for part, value in files.items()
    }
    return list(build(dataset.records(opened), dataset))


def one(built: Iterable[Built]) -> Built:
    (only,) = built
    assert (only.refusal is None) == bool(only.drafts)
    assert all(refusal.reason in REASONS for refusal in only.lost)
    return only


def reason(built: Iterable[Built]) -> str:
    """Why the one record was refused; its sentence must say something."""
    refusal = one(built).refusal
    assert refusal is not None
    assert refusal.text
    assert refusal.reason in REASONS
    return refusal.reason


def segments(draft: Draft) -> tuple[Segment, ...]:
    return tuple(segment for turn in draft.turns for segment in turn.segments)


def phrases(draft: Draft) -> list[tuple[str, list[list[float]]]]:
    return [(s.phrase, json.loads(json.dumps(s.boxes))) for s in segments(draft) if isinstance(s, Phrase)]


def as_sample(draft: Draft, size: tuple[int, int] = (640, 480)) -> Example:
    """The draft as a sample with pictures of the stated size, which must be writable as markup."""
    images = tuple(Image("JPEG", p.width or size[0], p.height or size[1], "0" * 64) for p in draft.images)
    example = Example("k", draft.task, "train", draft.language, "s", "l", images, draft.turns)
    assert render(example).text
    sample = Sample.of("k", [example])
    assert Sample.from_json(sample.to_json()) == sample
    return example


def said(draft: Draft) -> list[tuple[str, str]]:
    """Question and answer, or every turn: its role and words."""
    return [
        (turn.role, "".join(getattr(s, "text", getattr(s, "phrase", "<image>")) for s in turn.segments))
        for turn in draft.turns
    ]


def loss(built: Iterable[Built]) -> str:
    """Why the one record, or the first annotation of it that is lost, is not used."""
    only = one(built)
    found = next((each.refusal for each in only.annotations if each.refusal), only.refusal)
    assert found is not None
    assert found.text
    return found.reason
