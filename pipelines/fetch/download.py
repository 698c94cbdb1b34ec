"""One URL from its row to its image, or to the status that says why there is none."""

import asyncio
import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipelines.fetch.address import Guard, Target, target
from pipelines.fetch.client import Answer, Client, Request
from pipelines.fetch.courtesy import Courtesy
from pipelines.fetch.hosts import Hosts
from pipelines.fetch.names import Names
from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import OPTED_OUT, STATUSES, UNSAFE, Failure, not_public
from schemas.errors import InputError

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_CODES: Final = {
    **dict.fromkeys((204, 205), "no_content"),
    206: "partial",
    **dict.fromkeys((404, 410), "not_found"),
    **dict.fromkeys((401, 402, 403, 407, 451), "forbidden"),
    **dict.fromkeys((408, 425, 429), "rate_limited"),
}
_NEVER_AGAIN: Final = ("deadline",)
"""Statuses that may pass, but not within the deadline of the URL."""

Refused = Callable[[Target], bool]
"""Says whether a URL or its host stands on an opt-out list."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A body with code 200, and the URL that it came from in the end."""

    final_url: str
    body: bytes


@dataclass
class Tries:
    """How a URL fared, for the log: nothing of it goes into a shard."""

    attempts: int = 0
    seconds: float = 0.0


class Download:
    """Downloads for one worker; used by one loop, closed at its end."""

    def __init__(self, settings: FetchSettings, guard: Guard, refused: Refused) -> None:
        self._settings, self._guard, self._refused = settings, guard, refused
        self._names = Names(settings.resolvers, settings.connect_deadline)
        self._client = Client(settings, guard)
        self._hosts = Hosts(settings)
        self._courtesy = Courtesy(settings, self._ask_file)
        self._network = _Network(settings)
        self._loop = asyncio.get_running_loop()

    async def get(self, url: str | None, tries: Tries) -> Downloaded:
        """Returns what a URL gives. Raises Failure with its status, InputError where nothing can be reached at all."""
        asked = target(url)
        began = self._loop.time()
        clock = _Clock(self._settings.deadline)
        try:
            while True:
                tries.attempts += 1
                try:
                    found = await self._follow(asked, clock)
                except Failure as failure:
                    self._network.failed(asked, failure)
                    clock.start()  # a host that fails before its first image has no longer for the next tries
                    pause = self._pause(failure, tries.attempts)
                    if pause is None or pause >= clock.left():
                        raise
                    self._names.forget(asked)
                    self._courtesy.forget(asked)
                    await asyncio.sleep(pause)
                else:
                    self._network.answered = True
                    return found
        finally:
            tries.seconds = self._loop.time() - began

    @property
    def hosts_open(self) -> int:
        """Hosts that a download is open to."""
        return self._hosts.open

    async def close(self) -> None:
        """Ends all that is under way."""
        await self._courtesy.close()
        await self._names.close()
        self._client.close()

    def _pause(self, failure: Failure, attempts: int) -> float | None:
        """Seconds until the next try, None where there is none."""
        if (
            isinstance(failure, _Silent)
            or not STATUSES[failure.status].again
            or failure.status in _NEVER_AGAIN
        ):
            return None
        if attempts > self._settings.retries:
            return None
        asked_for = failure.wait if isinstance(failure, _Later) else None
        if asked_for is not None:
            return asked_for if asked_for <= self._settings.retry_after else None
        return self._settings.backoff * float(1 << (attempts - 1)) * (0.5 + random.random())

    async def _follow(self, asked: Target, clock: "_Clock") -> Downloaded:
        """Asks, and follows redirects, each checked like the first."""
        for _ in range(self._settings.redirects + 1):
            if self._refused(asked):
                raise Failure(OPTED_OUT)
            answer = await self._ask_politely(asked, clock)
            if answer.code not in _REDIRECTS:
                _check_code(answer)
                self._courtesy.check_answer(answer)
                return Downloaded(asked.url, answer.body)
            asked = _redirected(asked, answer)
        raise Failure("redirect_limit")

    async def _ask_politely(self, asked: Target, clock: "_Clock") -> Answer:
        delay = None
        if self._settings.robots or self._settings.content_usage or self._settings.tdmrep:
            delay = await self._courtesy.check(asked)
        async with self._hosts.slot(asked, delay):
            silent = self._hosts.check(asked)
            if silent is not None:
                raise _Silent(silent.status)
            clock.start()
            try:
                answer = await self._ask(asked, clock, self._settings.max_bytes)
            except Failure as failure:
                self._hosts.note(asked, failure)
                raise
            self._hosts.note(asked, None)
            return answer

    async def _ask(self, asked: Target, clock: "_Clock", most_bytes: int) -> Answer:
        """One request: the name is resolved, every address checked, and the connection goes to one of them."""
        found = self._names.known(asked)
        if found is None:
            try:
                async with asyncio.timeout(max(clock.left(), 0)):
                    found = await self._names.addresses(asked)
            except TimeoutError:
                raise Failure("dns_failed") from None
        addresses = self._guard.check(asked, found)
        left = clock.left()
        if left <= 0:
            raise Failure("deadline")
        return await self._client.get(Request(asked, addresses, left, most_bytes))

    async def _ask_file(self, asked: Target, most_bytes: int) -> Answer:
        """A file about a host, such as robots.txt: redirects are followed, within the connect deadline twice."""
        clock = _Clock(min(2 * self._settings.connect_deadline, self._settings.deadline))
        for _ in range(self._settings.redirects + 1):
            async with self._hosts.any_slot():
                clock.start()
                answer = await self._ask(asked, clock, most_bytes)
            if answer.code not in _REDIRECTS:
                return answer
            asked = _redirected(asked, answer)
        raise Failure("redirect_limit")


class _Clock:
    """The deadline of a URL, which begins with its first request: waiting for a slot is no fault of the host's."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def start(self) -> None:
        if self._end is None:
            self._end = time.monotonic() + self._seconds

    def left(self) -> float:
        return self._seconds if self._end is None else self._end - time.monotonic()


class _Network:
    """Stops a run at once where there is no network, instead of after a million failures."""

    def __init__(self, settings: FetchSettings) -> None:
        self._most, self._proxy = settings.stop_after, settings.proxy
        self._unreached: set[str] = set()
        self._unsafe = 0
        self.answered = False

    def failed(self, asked: Target, failure: Failure) -> None:
        """Notes a failure. Raises InputError where the first hosts all could not be reached."""
        if failure.status == "proxy_failed" and not self.answered:
            raise InputError(
                "the proxy of the recipe (fetch.proxy) makes no connection: check that it runs and lets this machine in"
            )
        self._unsafe += failure.status == UNSAFE
        if not STATUSES[failure.status].outage:
            self.answered = self.answered or failure.code is not None
            return
        self._unreached.add(asked.host)
        if not self.answered and len(self._unreached) >= self._most:
            first = f"{not_public(self._unsafe)}; else " if self._unsafe else ""
            raise InputError(
                f"none of the first {self._most} hosts can be reached: {first}check the network and the DNS of this "
                "machine (fetch.resolvers, fetch.proxy), then run the same command again"
            )


class _Later(Failure):
    """A failure whose answer said when to come back."""

    def __init__(self, status: str, code: int, wait: float | None) -> None:
        super().__init__(status, code=code)
        self.wait = wait


class _Silent(Failure):
    """The failure of a host that is not asked any more, for it never answered."""


def _check_code(answer: Answer) -> None:
    """Raises Failure for any code but 200."""
    code = answer.code
    if code == 200:
        return
    status = _CODES.get(code) or (
        "server_error" if code >= 500 else "client_error" if 400 <= code < 500 else "unexpected_code"
    )
    if STATUSES[status].again:
        raise _Later(status, code, retry_after(answer.headers("retry-after"), time.time()))
    raise Failure(status, code=code)


def retry_after(values: list[str], now: float) -> float | None:
    """Returns the seconds that a Retry-After asks for (RFC 9110, 10.2.3), None where it asks for nothing sound."""
    text = values[-1].strip() if values else ""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def _redirected(asked: Target, answer: Answer) -> Target:
    location = answer.headers("location")
    if len(location) != 1 or not location[0]:
        raise Failure("bad_redirect", code=answer.code)
    try:
        # headers are Latin-1; servers write UTF-8 there
        return asked.joined(location[0].encode("latin-1").decode("utf-8", "replace"))
    except Failure as failure:
        if failure.status in ("bad_url", "url_too_long", "no_url"):
            raise Failure("bad_redirect", failure.detail, answer.code) from failure
        raise
    except ValueError as error:
        raise Failure("bad_redirect", code=answer.code) from error
