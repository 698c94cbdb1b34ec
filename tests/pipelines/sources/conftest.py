"""Fixtures for the readers: shards made of a few bytes."""

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pipelines.sources import InputShard, read
from pipelines.sources.columns import Columns
from schemas.errors import InputError
from schemas.row import RawRow

Members = Iterable[tuple[str, bytes]]
TarWriter = Callable[..., Path]
Sharder = Callable[..., InputShard]
Collector = Callable[..., tuple[list[RawRow], InputError | None]]


@pytest.fixture
def write_tar(tmp_path: Path) -> TarWriter:
    """Writes members to a tar of tmp_path, by tarfile, and gives its path."""

    def write(
        members: Members, name: str = "00000.tar", mode: str = "w", form: int = tarfile.PAX_FORMAT
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode, format=form) as tar:  # type: ignore[call-overload]
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def shard_of() -> Sharder:
    """Makes the InputShard of one file."""

    def make(path: Path | str, kind: str = "webdataset", form: str = "tar") -> InputShard:
        size = Path(path).stat().st_size if Path(path).exists() else 0
        return InputShard("web", Path(path).name.split(".")[0], str(path), kind, form, size)

    return make


@pytest.fixture
def collect() -> Collector:
    """Reads all rows of a shard, and the error that ended it, if one did."""

    def run(shard: InputShard, columns: Columns | None = None) -> tuple[list[RawRow], InputError | None]:
        rows: list[RawRow] = []
        try:
            for row in read(shard, columns or Columns()):
                rows.append(row)
        except InputError as error:
            return rows, error
        return rows, None

    return run
