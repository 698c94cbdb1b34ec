"""What a host asks of robots, and whether it reserves the use of its images.

robots.txt (RFC 9309), X-Robots-Tag, TDMRep (W3C community group, final report of 10 May 2024), and AIPREF's
Content-Usage in answers and in robots.txt (draft-ietf-aipref-attach-04, draft-ietf-aipref-vocab).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from protego import Protego

from pipelines.fetch.address import Target
from pipelines.fetch.client import Answer
from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import Failure

MOST_BYTES: Final = 512 * 1024
"""RFC 9309 has robots read at least 500 KiB."""

_KEPT_SECONDS: Final = 24 * 3600.0
_MOST_KEPT: Final = 50_000
_MOST_STARS: Final = 8
_MOST_LOCATIONS: Final = 10_000
_LONGEST_PAUSE: Final = 10.0
_AI: Final = frozenset(
    ("ai", "bots", "train-ai", "train-genai", "genai", "foundation-model-production", "tdm")
)
"""Uses, by the names of the vocabulary's drafts, that making a training corpus is one of."""
_REFUSING: Final = frozenset(("noai", "noimageai", "noindex", "noimageindex", "none"))
_FIELD: Final = re.compile(r"\s*([A-Za-z-]+)\s*:\s*([^#\r\n]*)")

_OF_HOST: Final = frozenset(
    (
        *(
            "unsafe_address",
            "refused_port",
            "no_such_host",
            "dns_failed",
            "connect_failed",
            "connect_timeout",
        ),
        *("proxy_failed", "tls_expired", "tls_name", "tls_untrusted", "tls_failed"),
    )
)
"""Statuses that say more of a host than that its robots.txt could not be read."""

Ask = Callable[[Target, int], Awaitable[Answer]]
"""Asks for a file of a host, redirects followed, with a limit of bytes. Raises Failure."""


@dataclass(frozen=True)
class Manners:
    """What one host asks for; `unreachable`: the status by which its robots.txt could not be read."""

    robots: Protego | None = None
    usage: Protego | None = None
    mining: Protego | None = None
    unreachable: str = ""


class Courtesy:
    """Knows what hosts ask for: each file is read once a host and day."""

    def __init__(self, settings: FetchSettings, ask: Ask) -> None:
        self._settings, self._ask = settings, ask
        self._product = re.split(r"[/\s(]", settings.user_agent, maxsplit=1)[0] or "*"
        self._kept: dict[str, tuple[float, asyncio.Future[Manners]]] = {}

    async def check(self, asked: Target) -> float | None:
        """Returns the seconds that the host wants between two requests. Raises Failure where it refuses this one."""
        manners = await self._manners(asked)
        if manners.unreachable:
            raise Failure(manners.unreachable if manners.unreachable in _OF_HOST else "robots_unreachable")
        if manners.robots is not None and not manners.robots.can_fetch(asked.url, self._product):
            raise Failure("robots_disallowed")
        if manners.usage is not None and not manners.usage.can_fetch(asked.url, self._product):
            raise Failure("usage_reserved", "in robots.txt")
        if manners.mining is not None and not manners.mining.can_fetch(asked.url, self._product):
            raise Failure("tdm_reserved", "in tdmrep.json")
        delay = manners.robots.crawl_delay(self._product) if manners.robots is not None else None
        return None if delay is None else min(float(delay), _LONGEST_PAUSE)

    def forget(self, asked: Target) -> None:
        """Forgets a host whose robots.txt could not be read, so that a retry asks anew."""
        known = self._kept.get(asked.origin)
        if known is not None and known[1].done() and known[1].result().unreachable:
            del self._kept[asked.origin]

    def check_answer(self, answer: Answer) -> None:
        """Raises Failure where an answer's headers refuse the use of the image."""
        if self._settings.robots_tag:
            for value in answer.headers("x-robots-tag"):
                if word := self._refusing(value):
                    raise Failure("noai", word)
        if self._settings.tdmrep and any(one.strip() == "1" for one in answer.headers("tdm-reservation")):
            raise Failure("tdm_reserved", "in the answer")
        if self._settings.content_usage and any(map(_denies, answer.headers("content-usage"))):
            raise Failure("usage_reserved", "in the answer")

    def _refusing(self, value: str) -> str | None:
        """The word of an X-Robots-Tag that refuses us; `bot: words` are for that bot alone."""
        bot, colon, words = value.partition(":")
        if not colon or bot.strip().lower() in ("unavailable_after", "max-snippet", "max-image-preview"):
            words = value
        elif bot.strip().lower() not in ("*", self._product.lower()):
            return None
        found = {word.strip().lower() for word in words.split(",")} & _REFUSING
        return min(found, default=None)

    async def _manners(self, asked: Target) -> Manners:
        now = asyncio.get_running_loop().time()
        known = self._kept.get(asked.origin)
        if known is None or now - known[0] > _KEPT_SECONDS:
            if len(self._kept) >= _MOST_KEPT:
                self._kept = {name: kept for name, kept in self._kept.items() if not kept[1].done()}
            known = now, asyncio.ensure_future(self._read(asked))
            self._kept[asked.origin] = known
        return await asyncio.shield(known[1])

    async def _read(self, asked: Target) -> Manners:
        settings = self._settings
        robots = usage = mining = None
        if settings.robots or settings.content_usage:
            try:
                text = await self._text(asked.joined("/robots.txt"))
            except Failure as failure:
                if settings.robots:
                    return Manners(unreachable=failure.status)
                text = None
            if text is not None and settings.robots:
                robots = Protego.parse(_tamed(text))
            if text is not None and settings.content_usage and "content-usage" in text.lower():
                usage = Protego.parse(_tamed(_usage_rules(text)))
        if settings.tdmrep:
            try:
                text = await self._text(asked.joined("/.well-known/tdmrep.json"))
            except Failure:
                text = None
            if text:
                mining = Protego.parse(_tamed(_mining_rules(text)))
        return Manners(robots, usage, mining)

    async def _text(self, where: Target) -> str | None:
        """A file of the host, None where it has none. Raises Failure where nobody knows (RFC 9309, 2.3.1)."""
        try:
            answer = await self._ask(where, MOST_BYTES)
        except Failure as failure:
            if failure.status in ("too_large", "bomb", "redirect_limit"):
                return None
            raise
        if answer.code == 200:
            return answer.body.decode("utf-8", "replace").removeprefix("\ufeff")
        if answer.code >= 500 or answer.code == 429:
            raise Failure("server_error", code=answer.code)
        return None

    async def close(self) -> None:
        """Ends what is under way."""
        for _, asked in self._kept.values():
            asked.cancel()
        await asyncio.gather(*(asked for _, asked in self._kept.values()), return_exceptions=True)


def _tamed(text: str) -> str:
    """Rules whose patterns take a matcher little time: what follows the eighth star counts as matched."""
    lines = []
    for line in text.splitlines():
        parts = line[:4096].split("*")
        lines.append("*".join(parts[: _MOST_STARS + 1]))
    return "\n".join(lines)


def _denies(preferences: str) -> bool:
    """Whether a Content-Usage, a dictionary of structured fields (RFC 9651), says no to what we do."""
    for item in preferences.split(","):
        name, _, value = item.partition(";")[0].strip().partition("=")
        if name.strip().lower() in _AI and value.strip().lower() == "n":
            return True
    return False


def _usage_rules(text: str) -> str:
    """Content-Usage lines of a robots.txt as rules that may or may not be crossed; longest path first, as there."""

    def lines() -> Iterator[str]:
        for match in map(_FIELD.match, text.splitlines()):
            name, value = (match[1].lower(), match[2].strip()) if match else ("", "")
            if name == "user-agent":
                yield f"User-agent: {value}"
            elif name == "content-usage":
                path, _, rest = value.partition(" ") if value.startswith("/") else ("/", "", value)
                yield f"{'Disallow' if _denies(rest) else 'Allow'}: {path}"

    return "\n".join(lines())


def _mining_rules(text: str) -> str:
    """The locations of a tdmrep.json as rules that may or may not be crossed."""
    try:
        records = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    lines = ["User-agent: *"]
    for record in records[:_MOST_LOCATIONS] if isinstance(records, list) else []:
        if isinstance(record, dict) and isinstance(where := record.get("location"), str):
            path = "/" if where in ("", "*") else where if where.startswith("/") else f"/{where}"
            reserved = record.get("tdm-reservation") in (1, "1")
            if path.isprintable():
                lines.append(f"{'Disallow' if reserved else 'Allow'}: {path}")
    return "\n".join(lines)
