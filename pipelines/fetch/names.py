"""Addresses of hosts, by the DNS: each name is asked for once in a while, however many URLs share it."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

import aiodns
from aiodns import error as ares

from pipelines.fetch.address import Address, Target
from pipelines.fetch.statuses import Failure

_KEPT_SECONDS: Final = 300.0
_MOST_KEPT: Final = 100_000
_GONE: Final = (ares.ARES_ENOTFOUND, ares.ARES_ENODATA, ares.ARES_EBADNAME)


class Names:
    """Resolves names for one worker; what it learns it keeps for five minutes.

    `servers` are DNS servers as ADDRESS or ADDRESS:PORT; none: those of the system.
    """

    def __init__(self, servers: Sequence[str], seconds: float) -> None:
        self._resolver = aiodns.DNSResolver(
            nameservers=list(servers) or None, timeout=max(seconds / 3, 0.1), tries=2
        )
        self._kept: dict[str, tuple[float, asyncio.Future[list[Address]]]] = {}

    def known(self, asked: Target) -> list[Address] | None:
        """Returns a host's addresses where nobody has to be waited for, else None."""
        if asked.literal is not None:
            return [asked.literal]
        kept = self._kept.get(asked.host)
        if kept is None or self._is_old(kept[0]) or not kept[1].done() or kept[1].exception() is not None:
            return None
        return kept[1].result()

    async def addresses(self, asked: Target) -> list[Address]:
        """Returns a host's addresses, by the DNS. Raises Failure where there are none."""
        known = self._kept.get(asked.host)
        if known is None or self._is_old(known[0]):
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            known = asyncio.get_running_loop().time(), asyncio.ensure_future(self._ask(asked.host))
            self._kept[asked.host] = known
        return await asyncio.shield(known[1])

    @staticmethod
    def _is_old(since: float) -> bool:
        return asyncio.get_running_loop().time() - since > _KEPT_SECONDS

    def forget(self, asked: Target) -> None:
        """Forgets a host that could not be reached, so that a retry asks anew."""
        known = self._kept.get(asked.host)
        if known is not None and known[1].done():
            del self._kept[asked.host]

    async def _ask(self, host: str) -> list[Address]:
        try:
            found = await self._resolver.getaddrinfo(host, socket.AF_UNSPEC, None, socket.IPPROTO_TCP)
        except ares.DNSError as error:
            gone = error.args and error.args[0] in _GONE
            raise Failure("no_such_host" if gone else "dns_failed") from error
        return [ipaddress.ip_address(node.addr[0].decode().partition("%")[0]) for node in found.nodes]

    async def close(self) -> None:
        """Ends what is under way."""
        for _, asked in self._kept.values():
            asked.cancel()
        await asyncio.gather(*(asked for _, asked in self._kept.values()), return_exceptions=True)
        await self._resolver.close()
