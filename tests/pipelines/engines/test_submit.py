"""A build submitted as a job to a Ray cluster's job server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")
pytest.importorskip("aiohttp_cors", reason="a job server needs ray[default]")
pytest.importorskip("opencensus", reason="a job server needs ray[default]")

from tests.pipelines.crawls import build, demo, environment, manifest

HOUSE = Path(__file__).parent.parent.parent.parent
RAY = (sys.executable, "-m", "ray.scripts.scripts")


@contextmanager
def head(settings: dict[str, str], temporary: Path) -> Iterator[str]:
    """The address of the job server of a head, which ends with all that it started."""
    port = free_port()
    options = ("--head", "--block", "--port=0", "--num-cpus=2", "--dashboard-host=127.0.0.1")
    command = [*RAY, "start", *options, f"--dashboard-port={port}", f"--temp-dir={temporary}"]
    with (temporary / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while not answers(port):
            assert process.poll() is None, (temporary / "head.log").read_text()
            assert time.monotonic() < until, (temporary / "head.log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        # it ends its own processes; `ray stop` would end everybody's
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_submitted_build(tmp_path: Path) -> None:
    """`ray job submit --working-dir .` with the documented entry point builds the bytes of a local build."""
    shards = demo(tmp_path / "demo", 40, 20)
    folder = tmp_path / "job"
    folder.mkdir()
    for name in ("filters", "pipelines", "recipes", "schemas"):
        shutil.copytree(HOUSE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "vlcorpus.py", folder)
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"sources: [{{id: web, path: {shards}, max_quarantine: 1}}]\n")
    build(recipe, "--out", tmp_path / "local")
    # a socket's path may be 107 bytes long at most
    temporary = Path(f"/tmp/vlcorpus-ray-{os.getpid()}")
    temporary.mkdir()
    settings = environment() | {"RAY_AUTH_MODE": "disabled"}
    try:
        with head(settings, temporary) as address:
            command = [*RAY, "job", "submit", "--address", address, "--working-dir", ".", "--"]
            entry = [
                sys.executable,
                "-m",
                "pipelines",
                "build",
                "recipe.yaml",
                "--out",
                f"{tmp_path}/submitted",
            ]
            command += [*entry, "--engine", "ray", "--address", "auto"]
            done = subprocess.run(
                command, cwd=folder, env=settings, capture_output=True, text=True, timeout=500
            )
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    assert "measure: 2/2" in done.stdout + done.stderr, "progress reaches the terminal"
    assert "source web" in done.stdout + done.stderr, "and so does the funnel"
    assert manifest(tmp_path / "submitted") == manifest(tmp_path / "local")
