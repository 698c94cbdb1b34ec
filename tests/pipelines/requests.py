"""Requests to S3, counted where the client sends them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from s3fs import S3FileSystem


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts what this process asks of S3 meanwhile, by the name of the request."""
    found = Counter[str]()
    real = S3FileSystem._call_s3

    async def asked(self: S3FileSystem, method: str, *given: Any, **more: Any) -> Any:
        found[method] += 1
        return await real(self, method, *given, **more)

    with mock.patch.object(S3FileSystem, "_call_s3", asked):
        yield found
