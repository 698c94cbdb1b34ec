"""Downloads beside img2dataset: the same local server, files, concurrency, timeout and retries, one after the other.

    python -m benchmarks.fetch [--img2dataset PYTHON] [--rows N]
    python -m benchmarks.fetch --list FILE              a list judged by its columns, beside a bare loop of fastText
    python -m benchmarks.fetch --memory N               peak memory of a list of N rows, none of which is downloaded

PYTHON is an interpreter of an environment of its own with img2dataset; without it only ours is measured. CPU seconds
are those of the whole command with its children; `net` leaves out what a list of one URL takes. Both run from bytecode,
as installed packages do: the list of one URL, which comes first, compiles what is not compiled yet.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.inputs import pictures
from benchmarks.usage import cpu_of_children
from filters.language import model_of_the_wheel
from filters.table import RuleSettings
from pipelines.fetch.lists import ColumnMap, range_of
from pipelines.fetch.rules import ListRules
from pipelines.files import Store
from pipelines.recipe.model import Recipe
from pipelines.sources.shard import InputShard

CONCURRENCY = 256
TIMEOUT = 5
SHARD = 1000
FILES = 200
QUICK_HOSTS = [f"127.0.1.{number}" for number in range(1, 201)]
SLOW_HOSTS = [f"127.0.9.{number}" for number in range(1, 21)]
SLOW_EVERY = 20
_OFF: dict[str, object] = {rule.name: False for rule in RuleSettings.table if rule.on and not rule.always}


async def _serve(files: Sequence[bytes], port: "multiprocessing.queues.Queue[int]") -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(file) + file
        for file in files
    ]
    nothing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow = writer.get_extra_info("sockname")[0] in SLOW_HOSTS
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                name = head.split(b" ", 2)[1].rsplit(b"/", 1)[1].removesuffix(b".jpg")
                if slow:
                    await asyncio.sleep(10 * TIMEOUT)
                writer.write(answers[int(name) % len(answers)] if name.isdigit() else nothing)
                await writer.drain()
                if b"connection: close" in head.lower():
                    break
        writer.close()

    server = await asyncio.start_server(one, "0.0.0.0", 0, backlog=4096)
    port.put(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _server(files: Sequence[bytes], port: "multiprocessing.queues.Queue[int]") -> None:
    asyncio.run(_serve(files, port))


@contextmanager
def serving(files: Sequence[bytes]) -> Iterator[int]:
    """A server in a process of its own; its port."""
    queue: multiprocessing.queues.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_server, args=(files, queue), daemon=True)
    process.start()
    try:
        yield queue.get()
    finally:
        process.kill()
        process.join()


def _files() -> tuple[list[bytes], str]:
    """The images that are served, and where they are from."""
    with tempfile.TemporaryDirectory() as name:
        said = pictures(Path(name), FILES, FILES)
        with tarfile.open(Path(name) / "00000.tar") as tar:
            found = [tar.extractfile(member) for member in tar if member.name.endswith(".jpg")]
            return [file.read() for file in found if file is not None], said


def _listed(path: Path, port: int, rows: int, slow: bool) -> Path:
    urls = []
    for number in range(rows):
        hosts = SLOW_HOSTS if slow and number % SLOW_EVERY == 0 else QUICK_HOSTS
        urls.append(f"http://{hosts[number // SLOW_EVERY % len(hosts)]}:{port}/{number}.jpg")
    pq.write_table(
        pa.table({"url": urls, "caption": [f"a thing, number {number}" for number in range(rows)]}), path
    )
    return path


@dataclass
class Figures:
    """What a command took, and how many images it got."""

    seconds: float
    cpu: float
    images: int


def _timed(command: Sequence[str], folder: Path) -> Figures:
    # a checkout that may not keep its bytecode would compile all its modules in each run
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment.setdefault("PYTHONPYCACHEPREFIX", str(folder.parent / "bytecode"))
    before, begun = cpu_of_children(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return Figures(seconds, cpu_of_children() - before, _count(folder))


def _count(folder: Path) -> int:
    tars = subprocess.run(
        ["bash", "-c", f"for t in {folder}/*.tar; do tar tf $t; done | grep -c jpg"],
        capture_output=True,
        text=True,
    )
    return int(tars.stdout or 0)


def ours(listed: Path, folder: Path, resize: bool, careful: bool) -> Figures:
    """One run of ours with one worker."""
    settings: dict[str, object] = {
        "raw": str(folder),
        "shard_rows": SHARD,
        "concurrency": CONCURRENCY,
        "per_host": CONCURRENCY,
        "deadline": TIMEOUT,
        "connect_deadline": TIMEOUT,
        "read_deadline": TIMEOUT,
        "retries": 0,
        "robots": careful,
        "tdmrep": careful,
        "content_usage": careful,
        "check_addresses": careful,
        "allow_addresses": ["127.0.0.0/8"],
        "resize": {"min_side": 256} if resize else None,
    }
    if not careful:
        settings["ports"] = [int(pq.read_table(listed)["url"][0].as_py().split(":")[2].split("/")[0])]
    source = {"id": "one", "kind": "urls", "path": str(listed), "captions": "none", "fetch": settings}
    source["rules"] = _OFF
    recipe = listed.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump({"sources": [source], "out": str(folder / "work")}))
    command = [sys.executable, "-m", "pipelines", "fetch", str(recipe), "--engine", "inline"]
    return _timed(command, folder)


def theirs(python: str, listed: Path, folder: Path, resize: bool) -> Figures:
    """One run of img2dataset with one process."""
    given = {
        "url_list": str(listed),
        "output_folder": str(folder),
        "processes_count": 1,
        "thread_count": CONCURRENCY,
        "input_format": "parquet",
        "output_format": "webdataset",
        "url_col": "url",
        "caption_col": "caption",
        "number_sample_per_shard": SHARD,
        "timeout": TIMEOUT,
        "retries": 0,
        "image_size": 256,
        "resize_mode": "keep_ratio" if resize else "no",
        "resize_only_if_bigger": True,
        "disable_all_reencoding": not resize,
    }
    program = f"from img2dataset import download\nif __name__ == '__main__': download(**{given!r})"
    script = listed.with_suffix(".py")
    script.write_text(program)
    return _timed([python, str(script)], folder)


Run = tuple[str, bool, Figures, Figures]


@dataclass(frozen=True)
class Case:
    """One comparison, and the images a second that one socket gets where nothing is done with them."""

    slow: bool
    resize: bool
    loopback: float


def _runs(case: Case, port: int, top: Path, rows: int, python: str | None) -> Iterator[Run]:
    """Yields who, with which checks, what a list of one URL took and what the whole list took."""
    one = _listed(top / "one.parquet", port, 1, slow=False)
    listed = _listed(top / "list.parquet", port, rows, case.slow)
    for careful in (False, True):
        names = (top / f"{kind}-{case.slow}-{case.resize}-{careful}" for kind in ("one", "all"))
        yield "ours", careful, *(ours(path, next(names), case.resize, careful) for path in (one, listed))
    if python is not None:
        names = (top / f"{kind}-{case.slow}-{case.resize}" for kind in ("theirs-one", "theirs-all"))
        yield (
            "img2dataset",
            False,
            *(theirs(python, path, next(names), case.resize) for path in (one, listed)),
        )


def judged(listed: Path) -> Iterator[dict[str, object]]:
    """Yields the CPU seconds of the language model, called once a caption, and of reading and judging the list.

    They take turns, so that what else the machine does falls on all; the least of each counts.
    """
    captions = pq.read_table(listed, columns=["TEXT"])["TEXT"].to_pylist()
    model = fasttext.load_model(str(model_of_the_wheel()))
    works: dict[str, Callable[[], object]] = {
        "bare loop": lambda: [model.predict((text or "").replace("\n", " ")) for text in captions],
        "language alone": _judging(listed, len(captions), {**_OFF, "language": {}}),
        "default rules": _judging(listed, len(captions), {}),
    }
    took = {name: min(times) for name, times in _in_turns(works).items()}
    yield {"bare loop": round(took["bare loop"], 3), "captions": len(captions)}
    for name in ("language alone", "default rules"):
        rate = round(took["bare loop"] / took[name], 2)
        yield {"rules": name, "CPU seconds": round(took[name], 3), "rate beside the loop": rate}


def _judging(listed: Path, rows: int, rules: dict[str, object]) -> Callable[[], object]:
    given = {"sources": [{"id": "one", "kind": "urls", "path": str(listed)}], "languages": ["en", "zh"]}
    recipe = Recipe.model_validate({**given, "rules": rules})
    (source,) = recipe.sources
    judge, mapped = ListRules(recipe, source), ColumnMap.of_source(source)
    shard = InputShard(source.id, listed.stem, str(listed), source.kind, "parquet", listed.stat().st_size)
    return lambda: judge.reasons(range_of(shard, Store(None), mapped, 0, rows))


def _in_turns(works: dict[str, Callable[[], object]], times: int = 9) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            begun = time.process_time()
            work()
            found[name].append(time.process_time() - begun)
    return found


def memory(rows: int) -> dict[str, object]:
    """Returns the most that the driver, and any worker, holds while a list is fetched whose rows fall by their size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = {"id": "one", "kind": "urls", "path": _falling(folder / "list.parquet", rows)}
        recipe = {
            "sources": [source],
            "rules": {**_OFF, "min_side": {"pixels": 200}},
            "out": str(folder / "corpus"),
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        command = [sys.executable, "-m", "pipelines", "fetch", str(folder / "recipe.yaml"), "--workers", "1"]
        begun, most = time.monotonic(), dict[int, int]()
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while running.poll() is None:
            for number in _family(running.pid):
                most[number] = max(most.get(number, 0), _resident(number))
            time.sleep(0.2)
        if running.returncode:
            sys.exit(f"the fetch ended with {running.returncode}")
        driver, seconds = most.pop(running.pid), round(time.monotonic() - begun)
        return {
            "rows": rows,
            "driver MB": driver >> 10,
            "worker MB": max(most.values()) >> 10,
            "seconds": seconds,
        }


def _falling(path: Path, rows: int) -> str:
    """Writes a list of images that are all too small; returns its path."""
    schema = pa.schema([("url", pa.string()), ("caption", pa.string()), ("width", pa.int64())])
    schema = schema.append(pa.field("height", pa.int64()))
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 100_000):
            numbers = range(first, min(first + 100_000, rows))
            urls = [f"https://host{number % 5003}.example/{number}.jpg" for number in numbers]
            texts = [f"a thing on a table, number {number}" for number in numbers]
            sides = [100] * len(numbers)
            writer.write_table(pa.table([urls, texts, sides, sides], schema=schema))
    return str(path)


def _family(number: int) -> list[int]:
    """A process and those below it."""
    found = [number]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _resident(number: int) -> int:
    """The KiB of memory that a process holds; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--img2dataset", metavar="PYTHON")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--list", metavar="FILE", type=Path)
    parser.add_argument("--memory", metavar="N", type=int)
    given = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "NO_ALBUMENTATIONS_UPDATE"), "1"))
    if given.list is not None:
        for facts in judged(given.list):
            print(json.dumps(facts), flush=True)
    elif given.memory is not None:
        print(json.dumps(memory(given.memory)), flush=True)
    else:
        _downloads(given.rows, given.img2dataset)


def _downloads(rows: int, python: str | None) -> None:
    files, said = _files()
    print(f"{rows} URLs; {said}")
    with serving(files) as port, tempfile.TemporaryDirectory() as name:
        limit = _loopback(port, 2000)
        print(f"one socket, nothing done with what comes: {limit:.0f} images/s")
        for slow in (False, True):
            for resize in (False, True):
                case = Case(slow, resize, limit)
                for who, careful, start, took in _runs(case, port, Path(name), rows, python):
                    print(json.dumps(_facts(who, careful, case, start, took)), flush=True)


def _loopback(port: int, count: int) -> float:
    begun = time.monotonic()
    with socket.create_connection((QUICK_HOSTS[0], port)) as connection, connection.makefile("rb") as file:
        for number in range(count):
            connection.sendall(b"GET /%d.jpg HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            length = 0
            while (line := file.readline()) != b"\r\n":
                length = int(line.split()[1]) if line.lower().startswith(b"content-length") else length
            file.read(length)
    return count / (time.monotonic() - begun)


def _facts(who: str, careful: bool, case: Case, start: Figures, took: Figures) -> dict[str, object]:
    images = max(took.images, 1)
    return {
        "who": who,
        "5 % slow hosts": case.slow,
        "resize": case.resize,
        "robots and address checks": careful,
        "images": took.images,
        "images/s": round(took.images / took.seconds, 1),
        "CPU ms an image": round(took.cpu / images * 1000, 2),
        "net": round((took.cpu - start.cpu) / images * 1000, 2),
        "share of the loopback": round(took.images / took.seconds / case.loopback, 2),
        "cores in use": round(took.cpu / took.seconds, 2),
    }


if __name__ == "__main__":
    main()
