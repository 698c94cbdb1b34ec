"""Texts to set and pictures to set them on come from files, folders, globs and shards."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.files import Store
from pipelines.generators.inputs import pictures, texts
from schemas.errors import InputError
from schemas.sample import Image, Sample, caption_example

STORE = Store(None, "made")


def tar(path: Path, **members: bytes) -> Path:
    """A tar of members; `_` in a name stands for a dot."""
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def test_text_files_by_name_folder_and_glob(tmp_path: Path) -> None:
    """Paragraphs come in order of path and name, each file in its own encoding; hidden files are none."""
    (tmp_path / "b.txt").write_text("two lines\nof text", "utf-16")
    (tmp_path / "a.txt").write_bytes("café".encode("cp1252"))
    (tmp_path / ".c.txt").write_text("hidden")
    wanted = ("café", "two lines", "of text")
    assert texts(STORE, [str(tmp_path)], "fr") == wanted
    assert texts(STORE, [str(tmp_path / "*.txt")], "fr") == wanted
    assert texts(STORE, [str(tmp_path / "b.txt"), str(tmp_path / "a.txt")], "fr") == (*wanted[1:], wanted[0])
    assert texts(STORE, [], "fr") == ()


def test_captions_of_raw_shards(tmp_path: Path) -> None:
    """`.txt` members and captions in `.json` members or a column are texts; other members are not."""
    first = tar(tmp_path / "1.tar", a_txt=b"one caption", a_jpg=b"\xff\xd8", b_json=b'{"caption": "another"}')
    tar(
        tmp_path / "1.tar",
        a_txt=b"one caption",
        a_jpg=b"\xff\xd8",
        b_json=b'{"caption": "another"}',
        c_json=b"{",
    )
    pq.write_table(pa.table({"TEXT": ["third", None, "fourth"]}), tmp_path / "2.parquet")
    assert texts(STORE, [str(first)], "en") == ("one caption", "another")
    assert texts(STORE, [str(tmp_path / "2.parquet")], "en") == ("third", "fourth")


def test_captions_of_a_corpus(tmp_path: Path) -> None:
    """The words of samples are texts, from a shard and from its index alike."""
    image = Image("JPEG", 1, 1, "0" * 64)
    facts = {"split": "train", "language": "en", "source": "s", "licence": "l"}
    sample = Sample.of("k", [caption_example("k", "a red kite over the hill", image, **facts)]).to_json()
    shard = tar(tmp_path / "0.tar", k_json=sample.encode(), k_jpg=b"\xff\xd8")
    pq.write_table(pa.table({"key": ["k"], "sample": [sample]}), tmp_path / "0.parquet")
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8")
    for path in (shard, tmp_path / "0.parquet", tmp_path):
        assert texts(STORE, [str(path)], "en") == ("a red kite over the hill",)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"\x00\x01\x02" * 400, "source made: .*a.txt: no text of language en"),
        ("a.txt", b"\n \n", "source made: there is no text in .*a.txt"),
        ("a.tar", b"no tar at all" * 60, "source made: .*a.tar is no whole tar"),
        ("a.parquet", b"PAR1 or not", "source made: .*a.parquet is no sound Parquet file"),
    ],
)
def test_what_holds_no_text_is_one_sentence(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """Binary data, blank files and damaged shards are refused by name."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        texts(STORE, [str(tmp_path / name)], "en")


def test_a_folder_without_texts_is_one_sentence(tmp_path: Path) -> None:
    """What would be text is named by suffix."""
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(InputError, match=r"source made: no text \(.txt, .md, .parquet, .tar\) in"):
        texts(STORE, [str(tmp_path)], "en")


def test_a_parquet_file_without_captions_is_one_sentence(tmp_path: Path) -> None:
    """The columns that were looked for are named."""
    pq.write_table(pa.table({"number": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="none of the columns sample, caption, text, TEXT"):
        texts(STORE, [str(tmp_path / "a.parquet")], "en")


def test_pictures_of_folders_and_shards(tmp_path: Path) -> None:
    """Pictures are read when they are asked for, from files and from inside tars; other files are none."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.PNG").write_bytes(b"second")
    (tmp_path / "in" / "a.jpg").write_bytes(b"first")
    (tmp_path / "in" / "notes.txt").write_bytes(b"none")
    tar(tmp_path / "in" / "c.tar", k_json=b"{}", k_jpg=b"third", l_png=b"fourth")
    found = pictures(STORE, [str(tmp_path / "in")])
    assert [found[at] for at in range(len(found))] == [b"first", b"second", b"third", b"fourth"]
    with pytest.raises(InputError, match=r"source made: no picture .* in .*notes.txt"):
        pictures(STORE, [str(tmp_path / "in" / "notes.txt")])
    with pytest.raises(InputError, match="missing"):
        pictures(STORE, [str(tmp_path / "missing")])
