"""Whatever a host does, its URL ends in a status of its own, in time."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.pipelines.fetch.fetching import fetch, fetch_urls, write_list
from tests.pipelines.fetch.hostile import ENDPOINTS, HOST, Asked, Server, image


def test_every_unkindness_has_its_status(server: Server, tmp_path: Path) -> None:
    """Each hostile endpoint ends in its own status, all of them together within a deadline and its retries."""
    begun = time.monotonic()
    found = fetch_urls(tmp_path, [server.url(path) for path in ENDPOINTS], per_host=100)
    took = time.monotonic() - begun
    got = {path: found[server.url(path)] for path in ENDPOINTS}
    wrong = {path: got[path] for path, (_, status) in ENDPOINTS.items() if got[path] not in status.split("|")}
    assert not wrong
    assert took < 20


def test_tls_is_verified(server: Server, tmp_path: Path) -> None:
    """A certificate that is expired, of another host or of no trusted authority has its status; nothing is asked."""
    urls = {
        kind: server.secure(kind, f"/img/{number}")
        for number, kind in enumerate(("good", "expired", "name", "untrusted"))
    }
    found = fetch_urls(tmp_path, [*urls.values()], ca=server.ca(tmp_path))
    assert [found[url] for url in urls.values()] == ["ok", "tls_expired", "tls_name", "tls_untrusted"]
    assert {path for path in server.asked if path.startswith("/img")} == {"/img/0"}


def test_http2(server: Server, tmp_path: Path) -> None:
    """HTTP/2 is spoken where a host offers it; GOAWAY and RST end in statuses."""
    urls = [server.secure("http2", path) for path in ("/ok", "/rst", "/goaway")]
    found = fetch_urls(tmp_path, urls, ca=server.ca(tmp_path))
    assert found[urls[0]] == "ok"
    assert found[urls[1]] == "http2_error"
    assert found[urls[2]] in ("http2_error", "reset")


REFUSED = [
    (None, "no_url"),
    ("", "no_url"),
    ("   ", "no_url"),
    ("/relative.jpg", "bad_url"),
    ("//no-scheme.test/a.jpg", "bad_url"),
    ("file:///etc/passwd", "unsupported_scheme"),
    ("data:image/png;base64,AAAA", "unsupported_scheme"),
    ("ftp://a.test/", "unsupported_scheme"),
    ("javascript:alert(1)", "unsupported_scheme"),
    ("http://user:secret@a.test/", "credentials"),
    ("http://a.test@127.0.0.1/", "credentials"),
    ("http://127.0.0.1\\@a.test/", "credentials"),
    ("http://a.test\\.evil.test/", "bad_url"),
    ("http://a\t.test/", "bad_url"),
    ("http://a.test:99999/", "bad_url"),
    ("http://a.test:port/", "bad_url"),
    ("http://%31%32%37.0.0.1/", "bad_url"),
    ("http://127.0.0.1/", "unsafe_address"),
    ("http://0x7f.1/", "unsafe_address"),
    ("http://0177.0.0.1/", "unsafe_address"),
    ("http://2130706433/", "unsafe_address"),
    ("http://127.1/", "unsafe_address"),
    ("http://127.0.0.1./", "unsafe_address"),
    ("http://１２７.0.0.1/", "unsafe_address"),
    ("http://[::1]/", "unsafe_address"),
    ("http://[::ffff:10.0.0.1]/", "unsafe_address"),
    ("http://[64:ff9b::10.0.0.1]/", "unsafe_address"),
    ("http://[2002:7f00:1::]/", "unsafe_address"),
    ("http://[fe80::1%25eth0]/", "bad_url"),
    ("http://169.254.169.254/latest/", "unsafe_address"),
    ("http://100.64.0.1/", "unsafe_address"),
    ("http://0.0.0.0/", "unsafe_address"),
    ("http://localhost/", "unsafe_address"),
    (f"http://{'a' * 9000}.test/", "url_too_long"),
]
"""URLs that are not asked, with their statuses."""


def test_urls_that_are_not_asked(server: Server, tmp_path: Path) -> None:
    """A URL that programs read in different ways, or that leads inside, is refused before any request."""
    listed = write_list(tmp_path / "list.parquet", [url for url, _ in REFUSED])
    rows = fetch(tmp_path / "raw", listed, resolvers=[server.resolver])
    wrong = [
        (url, row["status"])
        for (url, status), row in zip(REFUSED, rows, strict=True)
        if row["status"] != status
    ]
    assert not wrong
    assert not server.asked


def test_names(server: Server, tmp_path: Path) -> None:
    """Names are resolved, every address is checked, and each name is asked for once."""
    server.names |= {"inside.test": ["10.0.0.1"], "mixed.test": ["93.184.215.14 192.168.0.1"]}
    hosts = ("a.test", "inside.test", "mixed.test", "missing.test", "broken.test")
    urls = [server.url(f"/img/{number}", host) for number, host in enumerate(hosts)]
    found = fetch_urls(tmp_path, [*urls, server.url("/img/9", "a.test")], resolvers=[server.resolver])
    assert [found[url] for url in urls] == [
        "ok",
        "unsafe_address",
        "unsafe_address",
        "no_such_host",
        "dns_failed",
    ]
    assert server.lookups["a.test"] == 1


def test_a_name_that_changes_its_address(server: Server, tmp_path: Path) -> None:
    """The connection goes to the address that was checked, whatever the name means a moment later."""
    server.names["turn.test"] = [HOST, "127.0.0.1"]
    urls = [server.url(f"/img/{number}", "turn.test") for number in range(20)]
    found = fetch_urls(tmp_path, urls, resolvers=[server.resolver])
    assert set(found.values()) == {"ok"}
    assert server.lookups["turn.test"] == 1


def test_a_proxy(server: Server, tmp_path: Path) -> None:
    """A proxy is asked for a tunnel to an address that was checked, and for none to one that is refused."""
    server.names["inside.test"] = ["127.0.0.1"]
    urls = [
        server.url("/img/1", "a.test"),
        server.secure("good", "/img/2", "good.test"),
        server.url("/x", "inside.test"),
    ]
    proxy = {"proxy": server.url(""), "ca": server.ca(tmp_path), "resolvers": [server.resolver]}
    found = fetch_urls(tmp_path, urls, **proxy)
    assert [found[url] for url in urls] == ["ok", "ok", "unsafe_address"]
    assert set(server.tunnels) == {f"{HOST}:{server.port}", f"{HOST}:{server.ports['good']}"}


def test_ports(server: Server, tmp_path: Path) -> None:
    """Ports but 80 and 443 are refused, except in networks that the recipe allows."""
    server.names["out.test"] = ["93.184.215.14"]
    found = fetch_urls(tmp_path, ["http://out.test:22/a.jpg"], resolvers=[server.resolver])
    assert set(found.values()) == {"refused_port"}


def test_spaces_and_other_letters_in_a_path(server: Server, tmp_path: Path) -> None:
    """Spaces and letters beyond ASCII in path and host are written as the standards say."""
    server.files = {"/a%20b/%E7%8C%AB.jpg?q=%C3%A9": b"\xff\xd8\xff"}
    url = server.url("/a b/猫.jpg?q=é", "bücher.test")
    assert fetch_urls(tmp_path, [url], resolvers=[server.resolver]) == {url: "ok"}
    assert server.lookups["xn--bcher-kva.test"] == 1


def test_repeated_urls_are_downloaded_once(server: Server, tmp_path: Path) -> None:
    """Rows that share a URL share its download, and each has its own image."""
    rows = fetch(
        tmp_path / "raw", write_list(tmp_path / "l.parquet", [server.url("/img/1")] * 50), shard_rows=20
    )
    assert [row["status"] for row in rows] == ["ok"] * 50
    assert len({row["key"] for row in rows}) == 50
    assert server.asked["/img/1"] == 1


@pytest.mark.long
def test_hostile_urls_cost_no_time(server: Server, tmp_path: Path) -> None:
    """2,000 URLs of which 5 % are hostile take at most 1.2 times as long as the good ones, and one deadline."""
    deadline, count = 0.5, 2000
    server.delay = 0.12
    shape = {"deadline": deadline, "read_deadline": deadline, "concurrency": 16, "per_host": 16, "retries": 0}
    hostile = [path for path in ENDPOINTS if not path.startswith("/later")]
    good = [server.url(f"/img/{number}") for number in range(count)]
    mixed = [
        server.url(hostile[number // 20 % len(hostile)]) if number % 20 == 0 else url
        for number, url in enumerate(good)
    ]
    begun = time.monotonic()
    fetch(
        tmp_path / "good",
        write_list(tmp_path / "good.parquet", [url for at, url in enumerate(good) if at % 20]),
        **shape,
    )
    alone = time.monotonic() - begun
    assert alone >= 20 * deadline
    ends: list[float] = []

    async def noted(asked: Asked) -> None:
        await asyncio.sleep(server.delay)
        await asked.answer(image(int(asked.path.rsplit("/", 1)[1])))
        ends.append(time.monotonic())

    server.handlers |= {f"/img/{number}": noted for number in range(count)}
    begun = time.monotonic()
    rows = fetch(tmp_path / "mixed", write_list(tmp_path / "mixed.parquet", mixed), **shape)
    took = time.monotonic() - begun
    assert len(rows) == count
    assert sum(row["status"] == "ok" for row in rows) >= 0.95 * count
    assert took <= 1.2 * alone + deadline
    at_99 = sorted(ends)[int(0.99 * len(ends))]
    assert begun + took - at_99 <= deadline + 0.02 * alone + 1
