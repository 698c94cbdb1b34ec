"""What hosts ask for is obeyed: robots.txt, headers, reservations; opt-out lists; pace."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.fetch.download import retry_after
from tests.pipelines.fetch.fetching import fetch, fetch_urls, shards, write_list
from tests.pipelines.fetch.hostile import Asked, Server, image

ROBOTS = b"""\
User-agent: *
Disallow: /private/
Allow: /private/open/

User-agent: vlcorpus
Disallow: /no/*.jpg$
Content-Usage: train-ai=y
Content-Usage: /kept/ train-ai=n
"""


def test_robots_txt(server: Server, tmp_path: Path) -> None:
    """robots.txt is read once a host; the group that names us holds, and refuses what it disallows."""
    server.files["/robots.txt"] = ROBOTS
    paths = {
        "/private/1.jpg": "ok",
        "/no/1.jpg": "robots_disallowed",
        "/no/1.png": "ok",
        "/kept/1.jpg": "usage_reserved",
    }
    server.files |= dict.fromkeys(paths, image(1))
    found = fetch_urls(tmp_path, [server.url(path) for path in paths], robots=True)
    assert {path: found[server.url(path)] for path in paths} == paths
    assert server.asked["/robots.txt"] == 1
    assert not server.asked["/no/1.jpg"]


def test_another_product_has_another_group(server: Server, tmp_path: Path) -> None:
    """The group is chosen by the product that the User-Agent names; the header names the contact too."""
    server.files["/robots.txt"] = ROBOTS
    seen = []

    async def answer(asked: Asked) -> None:
        seen.append(asked.headers["user-agent"])
        await asked.answer(image(1))

    server.handlers |= {"/private/1.jpg": answer, "/private/open/1.jpg": answer}
    urls = [server.url("/private/1.jpg"), server.url("/private/open/1.jpg")]
    found = fetch_urls(tmp_path, urls, robots=True, user_agent="acme/2.0", contact="mailto:crawl@acme.test")
    assert [found[url] for url in urls] == ["robots_disallowed", "ok"]
    assert seen == ["acme/2.0 (+mailto:crawl@acme.test)"]


@pytest.mark.parametrize(
    ("code", "status"), [("404 Not Found", "ok"), ("403 No", "ok"), ("503 Busy", "robots_unreachable")]
)
def test_robots_that_cannot_be_read(code: str, status: str, server: Server, tmp_path: Path) -> None:
    """Without robots.txt all is allowed; where the host fails to say, nothing is (RFC 9309, 2.3.1)."""

    async def answer(asked: Asked) -> None:
        await asked.answer(code=code)

    server.handlers["/robots.txt"] = answer
    assert fetch_urls(tmp_path, [server.url("/img/1")], robots=True, retries=0) == {
        server.url("/img/1"): status
    }


def test_a_host_that_never_says(server: Server, tmp_path: Path) -> None:
    """A host that accepts connections and answers nothing keeps none of its URLs beyond the deadlines."""

    async def silent(asked: Asked) -> None:
        await asyncio.sleep(60)

    server.handlers["/robots.txt"] = silent
    urls = [server.url(f"/img/{number}") for number in range(50)]
    begun = time.monotonic()
    found = fetch_urls(tmp_path, urls, robots=True, deadline=1.5, connect_deadline=0.5)
    assert set(found.values()) == {"robots_unreachable"}
    assert time.monotonic() - begun < 10


def test_tdmrep_json(server: Server, tmp_path: Path) -> None:
    """Locations that /.well-known/tdmrep.json reserves are refused."""
    server.files["/.well-known/tdmrep.json"] = (
        b'[{"location": "/img/*", "tdm-reservation": 1}, {"location": 5}, 7]'
    )
    server.files["/free.jpg"] = image(1)
    found = fetch_urls(tmp_path, [server.url("/img/1"), server.url("/free.jpg")])
    assert found == {server.url("/img/1"): "tdm_reserved", server.url("/free.jpg"): "ok"}


def test_courtesy_can_be_switched_off(server: Server, tmp_path: Path) -> None:
    """Each signal has a setting; with all off, no file about the host is asked for."""
    server.files["/robots.txt"] = b"User-agent: *\nDisallow: /"
    off = dict.fromkeys(("robots", "robots_tag", "tdmrep", "content_usage"), False)
    urls = [server.url(path) for path in ("/noai", "/tdm", "/usage", "/img/1")]
    assert set(fetch_urls(tmp_path, urls, **off).values()) == {"ok"}
    assert not server.asked["/robots.txt"]


def test_hostile_patterns_take_no_time(server: Server, tmp_path: Path) -> None:
    """A robots.txt made to keep a matcher busy does not."""
    server.files["/robots.txt"] = b"User-agent: *\nDisallow: /" + b"*a" * 2000 + b"b\n"
    begun = time.process_time()
    url = server.url("/img/" + "a" * 4000)
    assert set(fetch_urls(tmp_path, [url], robots=True).values()) <= {
        "robots_disallowed",
        "reset",
        "not_found",
    }
    assert time.process_time() - begun < 10


def test_opt_out_lists(server: Server, tmp_path: Path) -> None:
    """URLs, hosts and images on a list are not used; a URL or host on it is not even asked."""
    (tmp_path / "urls.txt").write_text(f"url\n{server.url('/img/1')}\n")
    (tmp_path / "hosts.txt").write_text("host\nout.test\n")
    (tmp_path / "digests.txt").write_text(f"sha256\n{hashlib.sha256(image(3)).hexdigest()}\n")
    urls = [
        server.url("/img/1"),
        server.url("/img/2", "out.test"),
        server.url("/img/3"),
        server.url("/img/4"),
    ]
    lists = [str(tmp_path / name) for name in ("urls.txt", "hosts.txt", "digests.txt")]
    found = fetch_urls(tmp_path, urls, opt_out=lists, resolvers=[server.resolver])
    assert [found[url] for url in urls] == ["opted_out", "opted_out", "opted_out", "ok"]
    assert not server.asked["/img/1"] + server.asked["/img/2"]


def test_an_opt_out_list_holds_for_every_spelling(server: Server, tmp_path: Path) -> None:
    """A URL or host on a list is not asked, however the list of images or the opt-out list spells it; now and later."""
    plain = [
        server.url(path, host)
        for host, path in (("a.test", "/img/1"), ("a.test", "/img/2"), ("b.test", "/o a"))
    ]
    spelled = [url.replace("http://a", "HTTP://A").replace(" ", "%20") + "#x" for url in plain]
    (tmp_path / "urls.txt").write_text("\n".join(["url", spelled[0], plain[1], spelled[2]]))
    other = server.url("/img/4", "xn--bcher-kva.test")
    (tmp_path / "hosts.txt").write_text("host\nB\u00dcCHER.test.\n")
    lists = [str(tmp_path / "urls.txt"), str(tmp_path / "hosts.txt")]
    settings: dict[str, Any] = {"opt_out": lists, "resolvers": [server.resolver]}
    listed = write_list(tmp_path / "l.parquet", [*plain, *spelled, other])
    assert {row["status"] for row in fetch(tmp_path / "raw", listed, **settings)} == {"opted_out"}
    assert not server.asked
    fetch(tmp_path / "later", listed, resolvers=[server.resolver])
    server.asked.clear()
    fetch(tmp_path / "later", listed, **settings)
    assert shards(tmp_path / "later") == shards(tmp_path / "raw")
    assert not server.asked


def test_a_later_opt_out_list(server: Server, tmp_path: Path) -> None:
    """A list that is given later takes images out without asking for the others again, as if it had been there."""
    urls = [server.url(f"/img/{number}") for number in range(6)]
    listed = write_list(tmp_path / "l.parquet", urls)
    (tmp_path / "urls.txt").write_text(f"url\n{urls[1]}\n")
    (tmp_path / "digests.txt").write_text(f"sha256\n{hashlib.sha256(image(3)).hexdigest()}\n")
    lists = [str(tmp_path / name) for name in ("urls.txt", "digests.txt")]
    fetch(tmp_path / "raw", listed)
    server.asked.clear()
    rows = fetch(tmp_path / "raw", listed, opt_out=lists)
    assert [row["status"] for row in rows] == ["ok", "opted_out", "ok", "opted_out", "ok", "ok"]
    assert not server.asked
    fetch(tmp_path / "whole", listed, opt_out=lists)
    assert shards(tmp_path / "raw") == shards(tmp_path / "whole")


def _images(server: Server) -> dict[str, int]:
    return {path: times for path, times in server.asked.items() if path.startswith("/img/")}


def _append(listed: Path, urls: list[str], new: str) -> Path:
    return Path(write_list(listed, [*urls, new]))


def _put_in_front(listed: Path, urls: list[str], new: str) -> Path:
    return Path(write_list(listed, [new, *urls]))


def _rename(listed: Path, urls: list[str], new: str) -> Path:
    return Path(_append(listed, urls, new)).rename(listed.with_name("other.parquet"))


@pytest.mark.parametrize("change", [_append, _put_in_front, _rename])
@pytest.mark.parametrize("task_shards", [1, 9])
def test_an_image_that_was_opted_out_is_not_asked_for_again(
    server: Server, tmp_path: Path, change: Callable[[Path, list[str], str], Path], task_shards: int
) -> None:
    """By its digest it stays out while the list changes, until it is off the opt-out list."""
    urls = [server.url(f"/img/{number % 5}") for number in range(8)]
    (tmp_path / "digests.txt").write_text(f"sha256\n{hashlib.sha256(image(1)).hexdigest()}\n")
    shape: dict[str, Any] = {"shard_rows": 3, "task_shards": task_shards}
    out: dict[str, Any] = {**shape, "opt_out": [str(tmp_path / "digests.txt")]}
    listed = Path(write_list(tmp_path / "l.parquet", urls))
    fetch(tmp_path / "raw", str(listed), **out)
    server.asked.clear()
    before = (tmp_path / "raw/l-00000.tar").stat().st_mtime_ns
    listed = change(listed, urls, server.url("/img/9"))
    found = fetch(tmp_path / "raw", str(listed), **out)
    assert _images(server) == {"/img/9": 1}
    assert [row["status"] == "opted_out" for row in found] == [
        row["url"] == server.url("/img/1") for row in found
    ]
    if change is _append:
        assert (tmp_path / "raw/l-00000.tar").stat().st_mtime_ns == before
    fetch(tmp_path / "whole", str(listed), **out)
    assert shards(tmp_path / "raw") == shards(tmp_path / "whole")
    server.asked.clear()
    assert {row["status"] for row in fetch(tmp_path / "raw", str(listed), **shape)} == {"ok"}
    assert _images(server) == {"/img/1": 1}


@pytest.mark.parametrize("resize", [None, {"max_side": 50}])
def test_an_opt_out_list_that_comes_with_another_list(
    server: Server, tmp_path: Path, resize: dict[str, int] | None
) -> None:
    """It holds for images that are taken over from other raw shards too."""
    shape: dict[str, Any] = {"shard_rows": 3, "resolvers": [server.resolver], "resize": resize}
    urls = [server.url("/img/1", "out.test"), server.url("/img/2"), server.url("/img/3")]
    listed = Path(write_list(tmp_path / "l.parquet", urls))
    fetch(tmp_path / "raw", str(listed), **shape)
    (tmp_path / "hosts.txt").write_text("host\nout.test\n")
    (tmp_path / "digests.txt").write_text(f"sha256\n{hashlib.sha256(image(2)).hexdigest()}\n")
    lists = [str(tmp_path / name) for name in ("hosts.txt", "digests.txt")]
    renamed = str(listed.rename(tmp_path / "other.parquet"))
    server.asked.clear()
    found = fetch(tmp_path / "raw", renamed, **shape, opt_out=lists)
    assert [row["status"] for row in found] == ["opted_out", "opted_out", "ok"]
    assert not server.asked
    fetch(tmp_path / "whole", renamed, **shape, opt_out=lists)
    assert shards(tmp_path / "raw") == shards(tmp_path / "whole")


@pytest.mark.parametrize(("per_host", "workers", "most"), [(3, 1, 3), (7, 2, 3), (2, 9, 1)])
def test_slots_of_a_host(server: Server, tmp_path: Path, per_host: int, workers: int, most: int) -> None:
    """A host never has more open downloads than its slots, or than a worker's part of them, which is at least one."""
    server.delay = 0.02
    off = dict.fromkeys(("robots", "tdmrep", "content_usage"), False)
    listed = write_list(tmp_path / "l.parquet", [server.url(f"/img/{number}") for number in range(40)])
    fetch(tmp_path / "raw", listed, per_host=per_host, shared_by=workers, **off)
    assert server.most_open == most


@pytest.mark.parametrize(("pace", "workers"), [(20, 1), (60, 3)])
def test_pace(server: Server, tmp_path: Path, pace: float, workers: int) -> None:
    """Requests to a host come no faster than its pace, or than a worker's part of it."""
    begun = time.monotonic()
    off = dict.fromkeys(("robots", "tdmrep", "content_usage"), False)
    listed = write_list(tmp_path / "l.parquet", [server.url(f"/img/{number}") for number in range(11)])
    fetch(tmp_path / "raw", listed, pace=pace, shared_by=workers, **off)
    assert time.monotonic() - begun >= 10 / 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("9" * 400, 999_999_999.0),
        ("Sun, 06 Nov 99999 08:49:47 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Retry-After is seconds or a date; anything else says nothing."""
    assert retry_after([text] if text else [], 784111777.0) == seconds


def test_a_silent_host_is_given_up(server: Server, tmp_path: Path) -> None:
    """A host that never answers keeps nobody waiting for each of its URLs."""

    async def silent(asked: Asked) -> None:
        await asyncio.sleep(60)

    server.handlers |= {f"/none/{number}": silent for number in range(100)}
    urls = [server.url(f"/none/{number}", "quiet.test") for number in range(100)]
    good = [server.url(f"/img/{number}", "good.test") for number in range(20)]
    begun = time.monotonic()
    off = dict.fromkeys(("robots", "tdmrep", "content_usage"), False)
    quick = {"deadline": 1.0, "per_host": 8, "retries": 0, "resolvers": [server.resolver]}
    found = fetch_urls(tmp_path, [*urls, *good], **quick, **off)
    assert {found[url] for url in urls} <= {"deadline", "stalled"}
    assert {found[url] for url in good} == {"ok"}
    assert time.monotonic() - begun < 8
