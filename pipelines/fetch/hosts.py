"""How many requests a host gets at once, and how soon one after another; open downloads over all hosts."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from pipelines.fetch.address import Target
from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import Failure

_DEAD: Final = 8
_PROBED_SECONDS: Final = 60.0
_SILENCE: Final = ("connect_failed", "connect_timeout", "dns_failed", "deadline", "stalled")


class Slots:
    """A number of slots, given in the order of asking; asyncio's semaphore looks at all who wait, each time."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


@dataclass
class _Host:
    slots: Slots
    next: float = 0.0
    users: int = 0
    open: int = 0


@dataclass
class _Silent:
    """A host that did not answer: how it failed last, how often in a row, and when."""

    failure: Failure
    times: int = 0
    since: float = 0.0


@dataclass
class Hosts:
    """The slots of one worker. Whoever waits for a busy host keeps nobody of another host waiting."""

    settings: FetchSettings
    open: int = 0
    """Hosts that a download is open to."""
    _slots: Slots = field(init=False)
    _at_once: int = field(init=False)
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _silent: dict[str, _Silent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slots = Slots(self.settings.concurrency)
        self._at_once = max(1, self.settings.per_host // self.settings.shared_by)

    @asynccontextmanager
    async def slot(self, asked: Target, delay: float | None = None) -> AsyncIterator[None]:
        """Waits until a host may get one more request; `delay` is what its robots.txt asks for between two."""
        host = self._hosts.get(asked.host)
        if host is None:
            host = self._hosts[asked.host] = _Host(Slots(self._at_once))
        host.users += 1
        try:
            async with host.slots:
                await self._turn(host, delay)
                async with self._slots:
                    host.open += 1
                    self.open += host.open == 1
                    try:
                        yield
                    finally:
                        host.open -= 1
                        self.open -= not host.open
        finally:
            host.users -= 1
            if not host.users and not host.next:
                self._hosts.pop(asked.host, None)

    def check(self, asked: Target) -> Failure | None:
        """Returns the failure that a host has given so often in a row that it is not waited for again, for a minute."""
        found = self._silent.get(asked.host)
        if found is None or found.times < _DEAD or time.monotonic() - found.since > _PROBED_SECONDS:
            return None
        return found.failure

    def note(self, asked: Target, failure: Failure | None) -> None:
        """Notes whether a host answered."""
        if failure is None or failure.code is not None or failure.status not in _SILENCE:
            self._silent.pop(asked.host, None)
            return
        found = self._silent.setdefault(asked.host, _Silent(failure))
        found.times, found.since, found.failure = found.times + 1, time.monotonic(), failure

    @asynccontextmanager
    async def any_slot(self) -> AsyncIterator[None]:
        """Waits until one more download may be open."""
        async with self._slots:
            yield

    async def _turn(self, host: _Host, delay: float | None) -> None:
        pause = max(delay or 0.0, 1 / self.settings.pace if self.settings.pace else 0.0)
        # each of the workers that share a host comes round so much less often
        pause *= self.settings.shared_by
        if not pause:
            return
        now = asyncio.get_running_loop().time()
        mine = max(now, host.next)
        host.next = mine + pause
        if mine > now:
            await asyncio.sleep(mine - now)
