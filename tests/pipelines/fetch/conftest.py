"""The web server that tests of the fetch share."""

from collections.abc import Iterator

import pytest

from tests.pipelines.fetch.hostile import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on loopback, with its own counts."""
    with serving() as running:
        yield running
