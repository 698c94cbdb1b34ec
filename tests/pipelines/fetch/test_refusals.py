"""pipelines/fetch/refusals.py: settings that refuse less have only what was refused asked for; others have all."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.journal import Journal
from pipelines.fetch.raw import Raw
from pipelines.fetch.refusals import REFUSALS, refused, refusing
from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import STATUSES
from pipelines.layout import Layout
from tests.pipelines.fetch.fetching import fetch, shards, write_list
from tests.pipelines.fetch.hostile import HOST, Server, image

NETWORKS = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "127.0.0.0/8", "127.0.0.1/32", "fd00::/8"]))
SETTINGS = st.builds(
    FetchSettings,
    check_addresses=st.booleans(),
    allow_addresses=NETWORKS.map(tuple),
    ports=st.sampled_from([(80,), (80, 443), (443, 80), (80, 8080)]),
    max_bytes=st.sampled_from([1000, 2000]),
    robots=st.booleans(),
    robots_tag=st.booleans(),
    tdmrep=st.booleans(),
    content_usage=st.booleans(),
)


@given(SETTINGS, SETTINGS, SETTINGS)
def test_wider_is_an_order(one: FetchSettings, two: FetchSettings, three: FetchSettings) -> None:
    """Equal settings ask for nothing again, wider ones of wider ones are wider, and two never are each of the other."""
    a, b, c = map(refusing, (one, two, three))
    assert refused(a, a) == frozenset()
    if refused(a, b) is not None and refused(b, c) is not None:
        assert refused(a, c) is not None
    if refused(a, b) and refused(b, a):
        assert [name for name in a if a[name] != b[name]] in (
            ["ports"],
            ["allow_addresses"],
            ["allow_addresses", "ports"],
        ), "the same networks or ports in another order"


def test_statuses_of_refusals() -> None:
    """Each status that a setting refuses by is one that there is."""
    assert {status for statuses in REFUSALS.values() for status in statuses} <= STATUSES.keys()


BASE: dict[str, Any] = {"robots": True, "max_bytes": 100_000, "retries": 0, "shard_rows": 4, "task_shards": 1}
WIDER: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("allow_addresses", {"allow_addresses": ["127.0.0.0/8"]}, ("/to/loopback",)),
    ("check_addresses", {"check_addresses": False}, ("/to/loopback",)),
    ("max_bytes", {"max_bytes": 1_000_000}, ("/large",)),
    ("robots_tag", {"robots_tag": False}, ("/noai",)),
    ("tdmrep", {"tdmrep": False}, ("/tdm",)),
    ("content_usage", {"content_usage": False}, ("/usage",)),
    ("robots", {"robots": False}, ("/no/1", "/to/loopback")),
    ("two of them", {"robots_tag": False, "tdmrep": False}, ("/noai", "/tdm")),
)
PATHS = (
    *(f"/img/{number}" for number in range(6)),
    "/large",
    "/noai",
    "/tdm",
    "/usage",
    "/no/1",
    "/to/loopback",
)


def _site(server: Server) -> list[str]:
    """A host with good images, and a URL for each way to be refused."""
    server.files |= {"/robots.txt": b"User-agent: *\nDisallow: /no/", "/no/1": image(1)}
    server.files["/large"] = image(2) + bytes(200_000)
    return [server.url(path) for path in PATHS]


def _asked(server: Server) -> dict[str, int]:
    files = ("/robots.txt", "/.well-known/tdmrep.json")
    return {path: times for path, times in server.asked.items() if path not in files}


@pytest.mark.parametrize(
    ("change", "wider"), [(one[1], one[2]) for one in WIDER], ids=[one[0] for one in WIDER]
)
def test_settings_that_refuse_less(
    server: Server, tmp_path: Path, change: dict[str, Any], wider: tuple[str, ...]
) -> None:
    """They ask once for what they refused, also where tasks share it, and leave the shards of a first fetch by them."""
    urls = _site(server)
    listed = write_list(tmp_path / "list.parquet", [*urls, *urls[5:]])
    fetch(tmp_path / "raw", listed, **BASE)
    server.asked.clear()
    found = fetch(tmp_path / "raw", listed, **BASE | change)
    assert _asked(server) == dict.fromkeys(wider, 1)
    assert found == fetch(tmp_path / "whole", listed, **BASE | change)
    tars = [
        {name: data for name, data in shards(tmp_path / one).items() if name.endswith(".tar")}
        for one in ("raw", "whole")
    ]
    assert tars[0] == tars[1]


def test_settings_that_refuse_more(server: Server, tmp_path: Path) -> None:
    """They ask for all URLs again, for any of them may be refused now."""
    listed = write_list(tmp_path / "list.parquet", _site(server))
    wide = BASE | {"allow_addresses": ["127.0.0.0/8"], "robots_tag": False}
    fetch(tmp_path / "raw", listed, **wide)
    for change in ({"allow_addresses": [f"{HOST}/32"]}, {"robots_tag": True}):
        server.asked.clear()
        found = fetch(tmp_path / "raw", listed, **wide | change)
        assert _asked(server) == dict.fromkeys([path for path in PATHS if path != "/no/1"], 1)
        wide |= change
    assert found == fetch(tmp_path / "whole", listed, **wide)


def test_a_port_more(server: Server, tmp_path: Path) -> None:
    """URLs of another port are asked for, those of the ports before are not."""
    listed = write_list(tmp_path / "list.parquet", [server.url("/img/1"), server.secure("good", "/img/2")])
    settings = {"check_addresses": False, "allow_addresses": [], "ca": server.ca(tmp_path)}
    first = fetch(tmp_path / "raw", listed, ports=(server.port,), **settings)
    assert [row["status"] for row in first] == ["ok", "refused_port"]
    found = fetch(tmp_path / "raw", listed, ports=(server.ports["good"], server.port), **settings)
    assert [row["status"] for row in found] == ["ok", "ok"]
    assert _asked(server) == {"/img/1": 1, "/img/2": 1}


NARROW, WIDE = (refusing(FetchSettings(robots_tag=one)) for one in (True, False))


def test_a_journal_goes_on_by_wider_settings(tmp_path: Path) -> None:
    """It keeps what was not refused, also when it was noted by both, and is begun anew by narrower settings."""
    for at, settings in enumerate((NARROW, WIDE, WIDE)):
        journal = Journal(Raw(Layout(str(tmp_path)), str(tmp_path), "v", settings), "one")
        assert sorted(journal.found) == [[], [1], [1, 3, 4]][at]
        for row, status in (
            ((1, "ok"), (2, "noai")) if at == 0 else ((3, "ok"), (4, "noai")) if at == 1 else ()
        ):
            journal.note(row, {"status": status, "sha256": None}, None)
        journal.close()
    narrow = Journal(Raw(Layout(str(tmp_path)), str(tmp_path), "v", NARROW), "one")
    assert narrow.found == {}
    narrow.close()
