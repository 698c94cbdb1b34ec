"""pipelines/fetch/settings.py: what is no address, proxy or file of certificates is refused before anything runs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.fetch.settings import FetchSettings
from schemas.errors import InputError
from tests.pipelines.fetch.fetching import fetch, write_list


@pytest.mark.parametrize(
    "text", ["10.0.0.2", "10.0.0.2:5353", "::1", "fd00::2", "[fd00::2]", "[fd00::2]:5353"]
)
def test_addresses_of_dns_servers(text: str) -> None:
    """An address, with a port or without."""
    assert FetchSettings(resolvers=(text,)).resolvers == (text,)


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "10.0.0", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:99999", "[::1", "::g", "10.0.0.2 "],
)
def test_no_address_of_a_dns_server(text: str) -> None:
    """Names, half addresses and ports that there are not."""
    with pytest.raises(ValidationError, match="no address of a DNS server"):
        FetchSettings(resolvers=(text,))


@pytest.mark.parametrize(
    "text", ["http://10.0.0.2:3128", "https://u:p@proxy.example:443", "http://[::1]:8080"]
)
def test_proxies(text: str) -> None:
    """A scheme, a host and a port, perhaps a user."""
    assert FetchSettings(proxy=text).proxy == text


@pytest.mark.parametrize(
    "text",
    ["", "proxy", "proxy:3128", "http://proxy", "http://:3128", "ftp://p:21", "http://p:x", "http://a b:80"],
)
def test_no_proxy(text: str) -> None:
    """What libcurl would guess at, or fail on for each URL."""
    with pytest.raises(ValidationError, match="no proxy"):
        FetchSettings(proxy=text)


@pytest.mark.parametrize(
    ("text", "why"), [(None, "no such file"), ("", "no certificates"), ("x", "no certificates")]
)
def test_a_file_of_authorities_that_has_none(tmp_path: Path, text: str | None, why: str) -> None:
    """It is named in a sentence, before the first of a million TLS handshakes fails."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"fetch\.ca.*{why}"):
        fetch(tmp_path / "raw", write_list(tmp_path / "l.parquet", ["https://a.test/1"]), ca=str(path))
