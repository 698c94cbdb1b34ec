"""Every format over files that are not its own: of another format, damaged, or encoded in another way."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.datasets.dataset import Built
from pipelines.datasets.table import DATASETS
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.recipe.model import Source
from pipelines.sources.annotations import discover, outcomes
from schemas.errors import ShardError
from tests.pipelines.datasets.made_files import FOLDERS, Made, made_files

FORMATS = [name for name in DATASETS if name not in FOLDERS]
DIALOGUES = [name for name, one in DATASETS.items() if one.tasks == ("chat",)]


class Read(NamedTuple):
    """What became of a file: records, their outcomes, and sentences on damage."""

    built: list[Built]
    damage: list[str]

    @property
    def kept(self) -> int:
        return sum(bool(one.drafts) for one in self.built)

    @property
    def sentences(self) -> list[str]:
        return [*self.damage, *(one.refusal.text for one in self.built if one.refusal)]


def read(form: str, *paths: Path) -> Read:
    """What a format makes of its files; of one for all parts where it is read from several."""
    parts = DATASETS[form].parts
    named = [str(path) for path in paths]
    where = (
        {"path": named} if len(parts) == 1 else {"files": dict(zip(parts, named * len(parts), strict=False))}
    )
    source = Source.model_validate({"id": "s", "kind": "annotations", "format": form, **where})
    store = Store()
    (shard,) = discover(source, store).shards
    found: list[Built] = []
    try:
        found.extend(_collected(outcomes(source, store, shard, Layout("nowhere", "test")), found))
    except ShardError as error:
        return Read(found, list(error.args))
    return Read(found, [])


def _collected(built: Iterator[Built], found: list[Built]) -> list[Built]:
    for one in built:
        found.append(one)
    return []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_files(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("form", FORMATS)
def test_each_pair_of_formats(form: str, made: Made) -> None:
    """A format that does not fit a file says which does; it reads the file alone where the two are alike."""
    for other, files in made.items():
        if other == form:
            continue
        found = read(form, next(iter(files.values())))
        if found.kept and not found.sentences:
            alike = {form, other} == {"grit", "grit_greedy"}
            assert alike or {form, other} <= {*DIALOGUES}, other
            continue
        named = " ".join(one.partition("format: ")[2] for one in found.sentences)
        assert ("grit" if other == "grit_greedy" else other) in named.replace(")", " ").split(), (
            other,
            found.sentences[:2],
        )


def as_json(made: Made) -> dict[str, Path]:
    """The formats of one file of JSON that a made file shows."""
    single = {form: next(iter(files.values())) for form, files in made.items() if len(files) == 1}
    return {form: path for form, path in single.items() if path.suffix in (".json", ".jsonl")}


ENCODINGS = {
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-le": b"",
    "utf-16-be": b"",
    "utf-32": b"",
    "utf-32-le": b"",
    "UTF-16 with the other mark": codecs.BOM_UTF16_BE,
}
"""Encodings of JSON by name, and the mark to write first where the codec writes none."""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_read_in_every_encoding_of_unicode(encoding: str, made: Made, tmp_path: Path) -> None:
    """UTF-16 and UTF-32, with a mark at the start and without, are read as UTF-8 is."""
    mark = ENCODINGS[encoding]
    for form, path in as_json(made).items():
        again = tmp_path / path.name
        again.write_bytes(mark + path.read_text().encode("utf-16-be" if mark else encoding))
        found, expected = read(form, again), read(form, path)
        assert (found.built, found.damage) == (expected.built, []), form
        assert found.kept, form


DAMAGES = {
    "cut": lambda data: data[: len(data) * 2 // 3],
    "empty": lambda data: b"",
    "followed": lambda data: data + b"\n}",
    "gb18030": lambda data: data.replace(b'"', b'"\xb9\xb7', 1),
    "packed": lambda data: b"\x1f\x8b\x08\x00" + data,
    "zeros": lambda data: bytes(len(data)),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_with_its_file(damage: str, made: Made, tmp_path: Path) -> None:
    """A damaged file ends in a sentence that has its path and one remedy, or in records that are refused by reason."""
    for form, path in as_json(made).items():
        again = tmp_path / path.name
        again.write_bytes(DAMAGES[damage](path.read_bytes()))
        found = read(form, again)
        # lines may be none
        assert found.sentences or (damage, found.built) == ("empty", []), form
        for sentence in found.damage:
            assert sentence.startswith(f"{again} "), (form, sentence)
            assert sentence.count(";") + sentence.count("looks like format") == 1, (form, sentence)
            assert "records" not in sentence, (form, sentence)


def test_values_over_many_lines_are_read(made: Made, tmp_path: Path) -> None:
    """Records that are printed over many lines, in a list or one after another, are those of the list."""
    for form in [*DIALOGUES, "paligemma", "kosmos2"]:
        values = json.loads(made[form]["records"].read_text()) if form != "conversations_lines" else []
        if not values or DATASETS[form].records is None:
            continue
        written = {
            "list.json": json.dumps(values, indent=1),
            "one.json": "\n".join(json.dumps(one, indent=2) for one in values),
            "half.jsonl": "\n".join(json.dumps(one).replace(", ", ",\n", 1) for one in values),
            "lists.json": f"{json.dumps(values[:3])}\n{json.dumps(values[3:])}",
        }
        expected = read(form, made[form]["records"])
        for name, text in written.items():
            (tmp_path / name).write_text(text)
            found = read(form, tmp_path / name)
            assert (found.built, found.damage) == (expected.built, []), (form, name)


def test_a_document_that_is_cut_keeps_its_whole_records(made: Made, tmp_path: Path) -> None:
    """Wherever JSON is cut, records before the cut are what they are in the whole file, which has a row and a sentence.

    Of COCO's boxes none is kept: the rest of the file may have named more objects of any image.
    """
    documents = {form: files for form, files in made.items() if next(iter(files.values())).suffix == ".json"}
    assert len(documents) > 15
    for form, files in documents.items():
        ordered = {part: files[part] for part in DATASETS[form].parts}
        outcome = {one.member: one.drafts for one in read(form, *ordered.values()).built}
        for part, path in ordered.items():
            data = path.read_bytes().rstrip()
            most = 0
            for place in range(1, len(data), max(1, len(data) // 12)):
                cut = tmp_path / path.name
                cut.write_bytes(data[:place])
                found = read(form, *{**ordered, part: cut}.values())
                kept = [one for one in found.built if one.drafts]
                assert all(outcome[one.member] == one.drafts for one in kept), (form, place)
                assert any(sentence.startswith(f"{cut} is not JSON") for sentence in found.damage), (
                    form,
                    place,
                )
                assert (cut.name, "damaged_file") in [
                    (one.member, one.refusal and one.refusal.reason) for one in found.built
                ]
                most = max(most, len(kept))
            nothing = len(outcome) == 1 or form in ("coco_instances", "refcoco") or part == "images"
            assert nothing or most, (form, part)


@pytest.mark.parametrize("form", [name for name, one in DATASETS.items() if one.many and one.records])
def test_one_broken_file_costs_no_other(form: str, made: Made, tmp_path: Path) -> None:
    """Of a folder all other files are read; the broken one has a row under its name, and a sentence."""
    path = made[form]["records"]
    data = path.read_bytes()
    suffix = path.suffix
    for number, name in enumerate(("a", "b", "c")):
        text = data.replace(b"0.jpg-", f"{number}.jpg-".encode()).replace(b'"0-0"', f'"{number}-0"'.encode())
        (tmp_path / f"{name}{suffix}").write_bytes(text if name != "b" else data[: len(data) // 2] + b"\xff")
    (tmp_path / f"b{suffix}").write_bytes(b'[{"broken' if suffix != ".parquet" else data[:-9])
    alone = read(form, path)
    found = read(form, tmp_path)
    assert found.kept == 2 * alone.kept
    (sentence,) = found.damage
    assert sentence.startswith(f"{tmp_path}/b{suffix} ")
    (lost,) = [one for one in found.built if one.refusal]
    assert lost.refusal is not None
    assert (lost.member, lost.refusal.reason) == (f"b{suffix}", "damaged_file")


def test_files_of_one_name_in_two_folders_are_both_read(made: Made, tmp_path: Path) -> None:
    """Records are told apart by what follows the folder that all files lie in."""
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_bytes(made["conversations"]["records"].read_bytes())
    found = read("conversations", tmp_path / "x/a.json", tmp_path / "y/a.json")
    assert (found.kept, len(found.built)) == (20, 20)
    assert {one.member.partition(":")[0] for one in found.built} == {"x/a.json", "y/a.json"}


def test_a_list_inside_an_object_is_named(tmp_path: Path, made: Made) -> None:
    """A wrapper around the records is said with the remedy."""
    values = json.loads(made["conversations"]["records"].read_text())
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "data": values}))
    found = read("conversations", tmp_path / "a.json")
    path = tmp_path / "a.json"
    assert found.damage == [
        f"{path} has no list at the top, but at data; take it out (jq .data FILE > NEW.json)"
    ]


def test_a_list_of_dialogues_is_not_read_as_lines(tmp_path: Path, made: Made) -> None:
    """The format of the same records in another form is the one remedy, whatever one dialogue of many holds."""
    values = json.loads(made["conversations"]["records"].read_text())
    values[3]["conversations"][1]["value"] = "[0.100, 0.200, 0.300, 0.400]"
    for text in (json.dumps(values), "\n".join(json.dumps(one, indent=1) for one in values)):
        (tmp_path / "a.json").write_text(text)
        (sentence,) = read("conversations_lines", tmp_path / "a.json").damage
        assert sentence.endswith(", not a record a line; say format: conversations")
