"""Joining a Ray cluster, and what goes wrong with that."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="the Ray tests need the extra ray")

from ray._private.utils import check_version_info

from pipelines.engines import ray_cluster as ray_connect
from pipelines.engines.ray_cluster import connect
from schemas.errors import InputError
from tests.pipelines.engines.clusters import RAY

pytestmark = RAY


def version_mismatch() -> str:
    """What Ray says where the cluster runs another Python."""
    with pytest.raises(RuntimeError) as caught:
        check_version_info({"ray_version": "2.9.0", "python_version": "3.10.1"}, "node 10.0.0.7")
    return str(caught.value)


TIMED_OUT = (
    "The current node timed out during startup. This could happen because some of the raylet failed to "
    "startup or the GCS has become overloaded."
)


@pytest.mark.parametrize(
    ("address", "raised", "sentence"),
    [
        (
            None,
            Exception(TIMED_OUT),
            r"^Ray cannot start a cluster on this machine \(The current node timed out",
        ),
        (
            "h:1",
            RuntimeError(version_mismatch()),
            r"^no Ray .* at h:1 \(.* Python: 3\.10\.1 .* same versions",
        ),
        ("h:1", ConnectionError("Failed to connect"), r"^no Ray cluster can be joined at h:1 \(Failed"),
        ("h:1", ValueError("cannot find a node"), r"^no Ray cluster can be joined at h:1 \(cannot find"),
    ],
)
def test_what_ray_refuses(
    address: str | None, raised: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that takes too long, other versions and whatever else Ray raises is one line with a remedy."""

    def init(**asked: Any) -> None:
        raise raised

    monkeypatch.setattr(ray_connect.ray, "init", init)
    monkeypatch.setattr(ray_connect, "_check", lambda address: None)
    with pytest.raises(InputError, match=sentence) as caught:
        connect(address, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_nobody_answers(address: str) -> None:
    """An address where nothing listens is one sentence, not a hang."""
    since = time.monotonic()
    with pytest.raises(InputError, match=r"no Ray cluster answers at .*127.0.0.1:1 \(Connection refused\)"):
        connect(address, None)
    assert time.monotonic() - since < 60


@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://", "127.0.0.1:99999"])
def test_no_address(address: str) -> None:
    """What is not an address is called so."""
    with pytest.raises(InputError, match=r"is not an address of a Ray cluster"):
        connect(address, None)


def test_somebody_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not a Ray cluster, and says nothing, is one sentence, not a hang."""
    assert ray_connect.PATIENCE <= 15
    monkeypatch.setattr(ray_connect, "PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        since = time.monotonic()
        with pytest.raises(InputError, match=rf"no Ray cluster .*{address} \(no answer\)"):
            connect(address, None)
        assert time.monotonic() - since < 60


def test_a_web_server_answers() -> None:
    """A server that speaks another protocol is named so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if os.fork() == 0:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            os._exit(0)
        with pytest.raises(InputError, match=rf"nothing that speaks Ray's protocol listens at {address}\)"):
            connect(address, None)
        os.wait()


def test_another_port_of_the_protocol() -> None:
    """A gRPC server that is not the head of a cluster is said to be none, for which Ray would wait for minutes."""
    grpc = pytest.importorskip("grpc", reason="the server needs grpcio")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(InputError, match=rf"127.0.0.1:{port} is not the head of a cluster"):
        connect(f"127.0.0.1:{port}", None)
    server.stop(None)


def test_the_address_that_a_killed_head_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` with only a dead cluster's address to go by is one sentence, not a hang."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1"):
        connect("auto", None)
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(ray_connect, "CURRENT", str(tmp_path / "ray_current_cluster"))
    with pytest.raises(InputError, match=r"no Ray cluster runs on this machine"):
        connect("auto", None)
    (tmp_path / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1"):
        connect("auto", None)
