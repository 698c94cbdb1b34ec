"""Fixtures for all tests of pipelines: an object store on loopback."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, Any]]:
    """Storage options of an S3 server on loopback that has the bucket `bucket`; the secret is `s3cr3t`."""
    server_module = pytest.importorskip("moto.server", reason="the S3 tests need moto[server]")
    s3fs = pytest.importorskip("s3fs", reason="the S3 tests need s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "tester",
        "secret": "s3cr3t",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"},
    }
    s3fs.S3FileSystem(**options).call_s3("create_bucket", Bucket="bucket")
    yield options
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
