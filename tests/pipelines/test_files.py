"""Files are read, listed and written whole or not at all, on the local disk and on S3."""

import errno
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipelines.files import Store, is_local, join
from schemas.errors import InputError, OutputError

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from pipelines.files import Store
from schemas.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with Store().write_atomic(sys.argv[1], sys.argv[2]) as path:
        path.write_bytes(bytes(1_000_000))
except OutputError as error:
    print(error)
"""


def test_a_written_file_appears_whole(tmp_path: Path) -> None:
    """Until the block ends there is no final file; then it has all its bytes, and no other file is left."""
    final = tmp_path / "out" / "deep" / "a.bin"
    with Store().write_atomic(str(final), tmp_path / "tmp") as path:
        path.write_bytes(b"x" * 1000)
        assert not final.exists()
    assert final.read_bytes() == b"x" * 1000
    assert list((tmp_path / "tmp").iterdir()) == []
    assert final.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """When the block fails, the final file is as it was and the temporary one is gone."""
    final = tmp_path / "a.bin"
    final.write_bytes(b"old")
    with pytest.raises(FileExistsError), Store().write_atomic(str(final), tmp_path / "tmp") as path:
        path.touch(exist_ok=path.write_bytes(b"new") != 3)
    assert final.read_bytes() == b"old"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """A write that the system refuses for room names the file and the remedy; nothing half-written stays."""
    final, temporary = tmp_path / "out.bin", tmp_path / "tmp"
    command = [sys.executable, "-c", FULL_DISK, str(final), str(temporary)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("\n") == 1
    assert str(final) in done.stdout
    assert "make room" in done.stdout
    assert not final.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_becomes_an_output_error(tmp_path: Path, code: int) -> None:
    """ENOSPC and EDQUOT from any writer inside the block are OutputErrors; other errors pass."""
    with (
        pytest.raises(OutputError, match="make room"),
        Store().write_atomic(str(tmp_path / "a"), tmp_path / "tmp"),
    ):
        raise OSError(code, os.strerror(code))
    with (
        pytest.raises(OSError, match="elsewhere"),
        Store().write_atomic(str(tmp_path / "a"), tmp_path / "tmp"),
    ):
        raise OSError(errno.EIO, "elsewhere")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_a_file_cannot_be_written_to(tmp_path: Path) -> None:
    """A final path below a file is an OutputError that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/a"):
        Store().write_bytes(str(tmp_path / "file" / "a"), b"", tmp_path / "tmp")


def test_a_missing_file_names_source_file_and_remedy(tmp_path: Path) -> None:
    """Reading what is not there is one sentence with the source, the path and what to check."""
    with pytest.raises(InputError, match=r"source web: .*/none\.tar: it does not exist; check the spelling"):
        Store(source="web").open(str(tmp_path / "none.tar"))
    with pytest.raises(InputError, match="it does not exist"):
        Store().list_files(str(tmp_path / "none"))
    with pytest.raises(InputError, match="it is a folder"):
        Store().read_bytes(str(tmp_path))


def test_a_forbidden_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without the right to read it is an InputError about rights."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"permission denied; check the rights"):
        Store().open(str(tmp_path / "a"))


@pytest.mark.parametrize(
    "path", ["http://host/a.tar", "ftp://host/a", "zip://a.txt::file://b.zip", "ssh://h/a"]
)
def test_other_protocols_are_refused(path: str) -> None:
    """Only stores on the list can be opened, and no chain of protocols."""
    with pytest.raises(InputError, match="only local paths"):
        Store().open(path)


def test_a_listing_is_recursive_sorted_and_finite(tmp_path: Path) -> None:
    """All files with sizes, by name; a link to a folder above is no endless loop; a dead link shows."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"12")
    (tmp_path / "a.tar").write_bytes(b"1")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    found = Store().list_files(str(tmp_path))
    assert [(info.name, info.size) for info in found] == [("a.tar", 1), ("b/x", 2), ("dead", -1)]
    assert Store().list_names(str(tmp_path)) == [info.name for info in found]
    assert Store().names_in(str(tmp_path)) == {"a.tar", "b", "dead"}
    assert all(Path(info.path).is_symlink() or Path(info.path).is_file() for info in found)


def test_a_listing_of_names_holds_names_alone(tmp_path: Path) -> None:
    """Of each file its name is held and no more: a corpus has many."""
    for number in range(2_000):
        (tmp_path / f"{number:016d}").touch()
    peaks = []
    for listing in (Store().list_files, Store().list_names):
        tracemalloc.start()
        listing(str(tmp_path))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2_000 * 150 < peaks[0] / 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A read with a limit, which needs the file's size, refuses a pipe with a sentence."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is a pipe, a socket or a device"):
        Store().read_bytes(str(tmp_path / "pipe"), 10)


def test_identity_is_of_the_content_alone(tmp_path: Path) -> None:
    """A copy has the same identity, whatever its name and time; a changed byte at either end changes it."""
    data = bytes(3 * 1024 * 1024)
    names = {"a": data, "b": data, "c": b"1" + data[1:], "d": data[:-1] + b"1", "e": data + b"1"}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    os.utime(tmp_path / "b", (1, 1))
    a, b, *others = (Store().identity(str(tmp_path / name)) for name in names)
    assert a == b
    assert len({a, *others}) == 4


def test_paths_join_and_know_their_place() -> None:
    """Joined paths keep their protocol; only paths without a foreign protocol are local."""
    assert join("s3://bucket/", "a", "b") == "s3://bucket/a/b"
    assert join("/", "a") == "/a"
    assert join("", "a") == "a"
    assert is_local("/a/b")
    assert is_local("file:///a")
    assert not is_local("s3://a/b")


def test_the_store_in_memory_is_a_store() -> None:
    """memory:// lists, globs, reads and writes as the others do."""
    store = Store()
    store.write_bytes("memory://files-test/b.txt", b"b", "memory://files-test/tmp")
    store.write_bytes("memory://files-test/sub/a.txt", b"a", "memory://files-test/tmp")
    assert [info.name for info in store.list_files("memory://files-test")] == ["b.txt", "sub/a.txt"]
    assert store.list_names("memory://files-test") == ["b.txt", "sub/a.txt"]
    assert store.names_in("memory://files-test") == {"b.txt", "sub"}
    assert store.names_in("memory://files-test/none") == set()
    assert [one.info.path for one in store.glob("memory://files-test/*.txt")] == ["memory://files-test/b.txt"]
    assert store.read_bytes("memory://files-test/sub/a.txt") == b"a"
    store.remove_folder("memory://files-test")
    assert not store.exists("memory://files-test/b.txt")


def test_s3_is_a_store(s3_options: dict[str, Any]) -> None:
    """On S3 a file is put once and whole, listed, read by seek, identified by the store's own checksum."""
    store = Store(s3_options)
    store.write_bytes("s3://bucket/files/sub/a.bin", b"0123456789", "s3://bucket/tmp")
    store.write_bytes("s3://bucket/files/b.bin", b"b", "s3://bucket/tmp")
    found = store.list_files("s3://bucket/files")
    assert [(info.name, info.size) for info in found] == [("b.bin", 1), ("sub/a.bin", 10)]
    with store.open(found[1].path) as file:
        file.seek(7)
        assert file.read() == b"789"
    assert store.names_in("s3://bucket/files") == {"b.bin", "sub"}
    assert [one.info.path for one in store.glob("s3://bucket/files/*.bin")] == ["s3://bucket/files/b.bin"]
    assert store.is_folder("s3://bucket/files")
    before = store.identity("s3://bucket/files/b.bin")
    store.write_bytes("s3://bucket/files/b.bin", b"c", "s3://bucket/tmp")
    assert store.identity("s3://bucket/files/b.bin") != before
    store.remove("s3://bucket/files/b.bin")
    store.remove("s3://bucket/files/b.bin")
    assert not store.exists("s3://bucket/files/b.bin")


def test_s3_failures_are_sentences_without_secrets(
    s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing objects, buckets, credentials, dead endpoints, wrong options: sentences that tell no secret."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    endpoint = s3_options["client_kwargs"]
    dead = {
        **s3_options,
        "client_kwargs": {**endpoint, "endpoint_url": "http://127.0.0.1:1"},
        "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 2},
    }
    cases = {
        "does not exist": (s3_options, "s3://bucket/none.tar"),
        "exist": (s3_options, "s3://no-such-bucket/a.tar"),
        "no credentials": ({"client_kwargs": endpoint}, "s3://bucket/a.tar"),
        "cannot be reached": (dead, "s3://bucket/a.tar"),
        "storage_options do not suit": ({**s3_options, "bogus": "s3cr3t"}, "s3://bucket/a.tar"),
    }
    for words, (options, path) in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            Store(options, "web").read_bytes(path)
        assert path in str(caught.value)
        assert "s3cr3t" not in str(caught.value) + repr(Store(options, "web"))
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="no-such-bucket"):
        Store(s3_options).write_bytes("s3://no-such-bucket/a", b"", "/tmp")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose package is not installed says what to install."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(
        InputError,
        match="gs://bucket/a needs gcsfs: run `make install` in the checkout, or pip install gcsfs",
    ):
        Store().open("gs://bucket/a")
