"""Phase split: the parts of an annotation file together are the file, and each is read by itself."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.datasets.dataset import Built
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.phases.split import Split, split_tasks
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, annotations, input_shards
from schemas.errors import ShardError
from tests.pipelines.building import build, rows
from tests.pipelines.sources.test_annotations import folder, line, lines, recipe


def source_of(form: str, **files: str) -> Source:
    """An annotation source of one file, or of several by their part."""
    paths = {"path": files["path"]} if "path" in files else {"files": files}
    return Source.model_validate({"id": "boxes", "kind": "annotations", "format": form, **paths})


def split(tmp_path: Path, source: Source, size: int) -> tuple[Layout, list[InputShard]]:
    """The parts of about `size` bytes, found in a corpus folder of its own."""
    recipe = Recipe(sources=(source,))
    layout = Layout(str(tmp_path / f"out-{size}"), "test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sources.annotations.BYTES_A_PART", size)
        shards = input_shards(source, recipe.read).shards
    named = {(shard.source, shard.shard): shard for shard in shards}
    for task in split_tasks(recipe, named):
        Split({"recipe": recipe.to_json(), "layout": asdict(layout)}).run(task.body, lambda row: None)
    return layout, list(shards)


def outcomes(source: Source, layout: Layout, shard: InputShard) -> list[Built]:
    """What becomes of a shard's records."""
    return list(annotations.outcomes(source, Store(), shard, layout))


def whole(tmp_path: Path, source: Source) -> list[Built]:
    """What becomes of the records of files that are read as one part."""
    layout, (shard,) = split(tmp_path, source, 1 << 30)
    return outcomes(source, layout, shard)


@given(
    told=st.lists(
        st.sampled_from(["", " ", "{", json.dumps(line(1)), json.dumps(line(2)) + "\r"]), max_size=20
    ),
    end=st.sampled_from(["", "\n"]),
    size=st.integers(20, 2000),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_are_cut_at_their_ends(tmp_path: Path, told: list[str], end: str, size: int) -> None:
    """The parts of JSON lines one after another are the whole: numbers, records, and lines that are none."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(("\n".join([json.dumps(line(0)), *told]) + end).encode())
    source = source_of("grounding", path=str(path))
    layout, shards = split(tmp_path, source, size)
    assert sum(shard.size for shard in shards) == path.stat().st_size
    assert [one for shard in shards for one in outcomes(source, layout, shard)] == whole(tmp_path, source)


def test_a_part_of_lines_reads_no_others(tmp_path: Path) -> None:
    """Bytes outside a part may change without a change in what is read of it."""
    path = lines(tmp_path / "a.jsonl", [line(n) for n in range(9)])
    source = source_of("grounding", path=str(path))
    layout, shards = split(tmp_path, source, 1000)
    assert len(shards) > 2
    before = outcomes(source, layout, shards[1])
    first = json.loads(Path(layout.path("parts", "boxes", shards[1].shard)).read_bytes().splitlines()[0])
    data = path.read_bytes()
    path.write_bytes(b"x" * first["start"] + data[first["start"] : first["stop"]] + b"x" * 99)
    assert outcomes(source, layout, shards[1]) == before


def instances(count: int) -> dict[str, Any]:
    """A COCO file of objects, some of whose pictures share an id."""
    images = [{"id": n % 7, "file_name": f"{n}.jpg", "width": 256, "height": 224} for n in range(count)]
    boxes = [[10, 20, 50.5, 60], [1, 2, 30, 40]]
    objects = [
        {"id": n, "image_id": n % 8, "bbox": boxes[n % 2], "category_id": n % 3} for n in range(2 * count)
    ]
    names = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": "2", "name": "no number"}]
    return {"images": images, "annotations": objects, "categories": names}


def questions(count: int) -> dict[str, Any]:
    """The two files of VQAv2."""
    asked = [{"question_id": n, "image_id": n, "question": f"what is {n}?"} for n in range(count)]
    answers = [{"answer": "it", "answer_confidence": "yes"}] * 3
    told = [{"question_id": n, "answers": answers} for n in range(1, count + 2)]
    return {"questions": {"questions": asked}, "annotations": {"annotations": told}}


def talks(count: int) -> list[Any]:
    """Conversations, of which some are broken or share an id."""
    said = [{"from": "human", "value": "<image>\nWhat?\ud800"}, {"from": "gpt", "value": "A thing."}]
    good = [{"id": n % 5, "image": f"{n}.jpg", "conversations": said} for n in range(count)]
    return [*good, 3, {"id": "0~2", "image": "a.jpg"}, *good]


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize(
    ("form", "made"),
    [
        ("coco_instances", {"records": instances(20)}),
        ("conversations", {"records": talks(20)}),
        ("vqav2", questions(20)),
    ],
)
def test_a_part_of_documents_has_the_records_of_its_images(
    tmp_path: Path, parts: int, form: str, made: Any
) -> None:
    """Records joined over the files, with repeated ids, are those of the whole, and the files are read no more; those
    of one image are in one part.
    """
    paths = {part: tmp_path / f"{part}.json" for part in made}
    for part, path in paths.items():
        path.write_text(json.dumps(made[part]))
    source = source_of(form, **{part: str(path) for part, path in paths.items()})
    expected = whole(tmp_path, source)
    size = sum(path.stat().st_size for path in paths.values())
    layout, shards = split(tmp_path, source, -(-size // parts))
    for path in paths.values():
        path.unlink()
    found = [outcomes(source, layout, shard) for shard in shards]
    order = [one.member for one in expected]
    for part in found:
        assert [one.member for one in part] == sorted((one.member for one in part), key=order.index)
    every = {one.member: one for part in found for one in part}
    assert every == {one.member: one for one in expected}
    assert sum(map(len, found)) == len(expected)
    images = [{draft.images[0].name for one in part for draft in one.drafts} for part in found]
    assert sum(map(len, images)) == len(set().union(*images))
    assert sum(shard.size for shard in shards) == size


@pytest.mark.parametrize(
    ("form", "text"), [("conversations", "[" + "{}, " * 9 + "{}] }"), ("grounding", "[{},\n{}]\n")]
)
def test_a_damaged_file_damages_one_part(tmp_path: Path, form: str, text: str) -> None:
    """The first part says what is wrong with the file, once; what could be read of it is in its parts."""
    (tmp_path / "a").write_text(text)
    source = source_of(form, path=str(tmp_path / "a"))
    layout, shards = split(tmp_path, source, 4)
    assert len(shards) > 1
    with pytest.raises(ShardError, match="JSON"):
        outcomes(source, layout, shards[0])
    others = [one for shard in shards[1:] for one in outcomes(source, layout, shard)]
    assert bool(others) == (form == "conversations")


def test_the_parts_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run finds no parts; a source read whole again leaves none behind, and grown files have new ones."""
    monkeypatch.setattr("pipelines.sources.annotations.BYTES_A_PART", 600)
    told = recipe(lines(tmp_path / "a.jsonl", [line(n) for n in range(7)]), folder(tmp_path / "images", 8))
    _, first = build(told, tmp_path / "out")
    _, second = build(told, tmp_path / "out")
    assert (first.ran["split"], second.ran["split"]) == (1, 0)
    lines(tmp_path / "a.jsonl", [line(n) for n in range(8)])
    _, third = build(told, tmp_path / "out")
    assert third.ran["split"] == 1
    assert sorted(row["member"] for row in rows(tmp_path / "out", "decisions")) == [str(n) for n in range(8)]
    monkeypatch.setattr("pipelines.sources.annotations.BYTES_A_PART", 60_000)
    build(told, tmp_path / "out")
    assert not [*(tmp_path / "out" / "work" / "parts").rglob("*.jsonl")]
