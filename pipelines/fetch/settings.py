"""The block `fetch` of a source of URLs."""

import ipaddress
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from pipelines.fetch.formats import LISTS
from schemas.errors import nearest
from schemas.settings import Settings

Names = tuple[str, ...]
_PLACE: Final = re.compile(r"(\d+(?:\.\d+){3}|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?|([0-9A-Fa-f:]+)")


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is no network; write an address or a CIDR such as 10.0.0.0/8") from None


def _list(name: str) -> str:
    if name not in LISTS:
        raise ValueError(
            f"{name!r} is no list that is known; {nearest(name, LISTS)}allowed are {', '.join(LISTS)}"
        )
    return name


def _line(text: str) -> str:
    if not text.isprintable() or not text.isascii():
        raise ValueError("write one line of plain ASCII")
    return text


def _resolver(text: str) -> str:
    match = _PLACE.fullmatch(text)
    try:
        ipaddress.ip_address((match[1] or match[3]).strip("[]") if match else "")
    except ValueError:
        match = None
    if match is None or not 0 < int(match[2] or 53) < 65_536:
        raise ValueError(
            f"{text!r} is no address of a DNS server; write 10.0.0.2, 10.0.0.2:5353 or [fd00::2]:5353"
        )
    return text


def _proxy(text: str) -> str:
    try:
        found = urlsplit(text)
        sound = found.scheme in ("http", "https") and bool(found.hostname and found.port)
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise ValueError("it is no proxy: write http://HOST:PORT")
    return text


CIDR = Annotated[str, AfterValidator(_network)]
ListName = Annotated[str, AfterValidator(_list), WithJsonSchema({"type": "string", "enum": [*LISTS]})]
Line = Annotated[str, AfterValidator(_line)]
Resolver = Annotated[str, AfterValidator(_resolver)]
Proxy = Annotated[str, AfterValidator(_proxy)]
Port = Annotated[int, Field(ge=1, le=65_535)]
DAY: Final = 86_400
"""Seconds; no deadline is longer."""
MOST_SIDE: Final = 100_000


class OnArrival(Settings):
    """Images are made smaller as they arrive, and re-encoded; never larger."""

    min_side: int | None = Field(None, gt=0, le=MOST_SIDE, description="the shorter side is at most this")
    max_side: int | None = Field(None, gt=0, le=MOST_SIDE, description="the longer side is at most this")
    quality: int = Field(95, ge=1, le=100)

    @model_validator(mode="after")
    def _one(self) -> "OnArrival":
        if (self.min_side is None) == (self.max_side is None):
            raise ValueError("give either min_side or max_side")
        return self


class FetchSettings(Settings):
    """How the images of a list are downloaded. What is polite and what is safe: docs/fetch.md."""

    list: ListName | None = Field(
        None, description="whose list it is; default: by the usual names of columns"
    )
    width: Names | None = Field(None, description="columns with the image's width")
    height: Names | None = Field(None, description="columns with the image's height")
    sha256: Names | None = Field(None, description="columns with the SHA-256 that the image had")
    md5: Names | None = Field(None, description="columns with the MD5 that the image had")
    phash: Names | None = Field(None, description="columns with the perceptual hash that the image had")
    raw: str | None = Field(None, description="folder of the raw shards; default: in the corpus's work/")
    shard_rows: int = Field(1000, gt=0, le=10_000, description="rows of the list a raw shard")
    task_shards: int = Field(20, gt=0, le=1000, description="raw shards that one worker has in hand")

    user_agent: Line = Field("vlcorpus", min_length=1, description="the software, as hosts are told")
    contact: Line = Field("", description="an address or a page for those who run the hosts")
    concurrency: int = Field(128, gt=0, le=4096, description="open downloads a worker")
    per_host: int = Field(16, gt=0, le=4096, description="open downloads a host and worker")
    pace: float | None = Field(None, gt=0, le=10_000, description="requests a second, host and worker")
    shared_by: int = Field(
        1,
        gt=0,
        le=100_000,
        description="workers that share per_host, pace and Crawl-delay: each takes its part",
    )
    deadline: float = Field(30, gt=0, le=DAY, description="seconds a URL, with redirects and retries")
    connect_deadline: float = Field(10, gt=0, le=DAY, description="seconds until there is a connection")
    read_deadline: float = Field(10, gt=0, le=DAY, description="seconds that a body may stand nearly still")
    retries: int = Field(2, ge=0, le=20, description="further tries after failures that may pass")
    backoff: float = Field(
        0.5, ge=0, le=3600, description="seconds before the first retry; doubled each time"
    )
    retry_after: float = Field(20, ge=0, le=DAY, description="a longer Retry-After ends the tries")
    redirects: int = Field(5, ge=0, le=20)
    max_bytes: int = Field(32 * 1024 * 1024, gt=0, le=1 << 30, description="of a body, decompressed")
    stop_after: int = Field(
        20, gt=0, le=1_000_000, description="so many first hosts without a connection stop the run"
    )

    check_addresses: bool = Field(True, description="false: any address is asked")
    allow_addresses: tuple[CIDR, ...] = Field((), description="networks that are allowed though not public")
    ports: tuple[Port, ...] = Field((80, 443), min_length=1)
    proxy: Proxy | None = Field(
        None, repr=False, description="http://HOST:PORT; the environment's is not used"
    )
    resolvers: tuple[Resolver, ...] = Field(
        (), description="DNS servers, ADDRESS or ADDRESS:PORT; default: the system's"
    )
    ca: str | None = Field(
        None, description="file of authorities (PEM); default: SSL_CERT_FILE, else the system's"
    )

    robots: bool = Field(True, description="robots.txt is obeyed (RFC 9309)")
    robots_tag: bool = Field(True, description="X-Robots-Tag is obeyed")
    tdmrep: bool = Field(True, description="TDM reservations are obeyed")
    content_usage: bool = Field(True, description="AIPREF's Content-Usage is obeyed (drafts)")
    opt_out: tuple[str, ...] = Field((), description="lists of url, host or sha256 that are never used")

    resize: Annotated[OnArrival | None, Field(description="default: images stay as they came")] = None
    earlier: str | None = Field(None, description="folder of an earlier fetch of the same list")
    altered: int = Field(
        12, ge=0, le=32, description="bits of the perceptual hash that may differ in one image"
    )
    tombstone_hosts: int = Field(
        5, gt=1, le=1_000_000, description="hosts that serve one image, from which on it is listed"
    )

    @field_validator("width", "height", "sha256", "md5", "phash", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def mapping(self) -> dict[str, object]:
        """Returns how columns of the list are found."""
        return self.model_dump(mode="json", include={"list", "width", "height", "sha256", "md5", "phash"})

    @property
    def agent(self) -> str:
        """The User-Agent header."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent


NOT_DATA: Final = frozenset(
    (
        *("concurrency", "per_host", "pace", "shared_by", "stop_after", "proxy", "resolvers", "ca"),
        *("opt_out", "earlier", "raw", "task_shards", "tombstone_hosts", "backoff"),
    )
)
"""Settings that change no shard where every host answers, or that say where files lie."""
