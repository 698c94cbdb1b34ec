"""Which URLs and which addresses may be asked at all.

A URL is taken apart here, once, by a grammar that leaves nothing to guess: what two programs could read differently
(backslashes, credentials, tabs, odd spellings of numbers) is refused. The client is given the parts put together anew.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urljoin

import idna

from pipelines.fetch.statuses import Failure

MOST_CHARACTERS: Final = 8192
_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*)([^#]*)|.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{1,5})?)?")
_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_SAFE: Final = "!$%&'()*+,-./:;=?@_~"
"""What stays as it is in path and query; the rest is percent-encoded. `%` is left to the list."""
_CANONICAL: Final = re.compile(rf"https?://[a-z0-9._-]*[a-z0-9_-]/[A-Za-z0-9{re.escape(_SAFE)}]*")
"""A URL that is asked as it is written, if at all: most of a list."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked: its parts, and itself put together from them, in ASCII."""

    scheme: str
    host: str
    port: int
    path: str
    literal: "Address | None" = None
    """The address that the host is, where it is no name."""

    @property
    def origin(self) -> str:
        """Scheme, host and port, as robots.txt is kept by."""
        usual = self.port == _PORTS[self.scheme]
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.path

    def joined(self, location: str) -> "Target":
        """Returns where a redirect leads. Raises Failure where that is no usable URL."""
        return target(urljoin(self.url, location.strip()))


def as_asked(url: str) -> str:
    """Returns a URL as it is asked, by which equal requests are known.

    Without its fragment, which no host sees, and the spaces around it; scheme and host in lower case, without a port
    that the scheme means anyway and with the path that an empty one means (RFC 3986, 6.2.2.1 and 6.2.3); host, path and
    query in ASCII. What is not to be asked stays as it is written, and so does what is too long in ASCII.
    """
    text = _bare(url)
    if _CANONICAL.fullmatch(text):
        return text
    try:
        asked = target(text).url
    except Failure:
        return text
    return asked if len(asked) <= MOST_CHARACTERS else text


def _bare(url: str) -> str:
    """A URL without its fragment and the spaces around it."""
    return url.partition("#")[0].strip() or url.strip()


def host_as_asked(host: str) -> str:
    """Returns a host as it is asked, by which equal ones are known: in lower-case ASCII, IPv6 without brackets."""
    plain = host.strip("[]")
    try:
        return _host(f"[{plain}]" if ":" in plain else plain).strip("[]")
    except Failure:
        return plain.lower().rstrip(".")


def target(url: str | None) -> Target:
    """Returns the parts of a URL. Raises Failure for one that is not to be asked."""
    text = _bare(url or "")
    if not text:
        raise Failure("no_url")
    if len(text) > MOST_CHARACTERS:
        raise Failure("url_too_long", f"{len(text)} characters")
    match = _URL.fullmatch(text)
    if match is None:
        raise Failure("bad_url", "it is relative")
    scheme = match[1].lower()
    if scheme not in _PORTS:
        raise Failure("unsupported_scheme", scheme[:20])
    authority, rest = match[2], match[3]
    if not authority:
        raise Failure("bad_url", "it has no host")
    if "@" in authority:
        raise Failure("credentials")
    if "\\" in text or re.search(r"[\t\r\n\x00]", text):
        raise Failure("bad_url", "a backslash or a control character")
    host, port, literal = _host_and_port(authority, _PORTS[scheme])
    try:
        path = quote(rest, safe=_SAFE)
    except UnicodeEncodeError:
        raise Failure("bad_url", "half of a surrogate pair") from None
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}", literal)


@lru_cache(4096)
def _host_and_port(authority: str, usual: int) -> tuple[str, int, Address | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or "%" in authority or _CONTROL.search(authority):
        raise Failure("bad_url", "its host or port is malformed")
    port = int(match[2] or usual)
    if not 0 < port < 65536:
        raise Failure("bad_url", "there is no such port")
    host = _host(match[1])
    return host, port, _literal(host)


def _host(text: str) -> str:
    """Returns a host in lower-case ASCII, without a final dot; an IPv6 address in brackets."""
    if text.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        except ValueError:
            raise Failure("bad_url", "its IPv6 address is malformed") from None
    try:
        host = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise Failure("bad_url", "its host is no name that IDNA allows") from None
    host = host.removesuffix(".")
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise Failure("bad_url", "its host is no name")
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and _literal(host) is None:
        raise Failure("unsafe_address", "a number in an odd spelling stands for its host")
    return host


def _literal(host: str) -> Address | None:
    if not host[-1:].isdigit() and host[-1:] != "]":
        return None
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        # shared, documentation and benchmark ranges, relays; Azure's metadata, which has a public address
        *(
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
        ),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        *(
            "100::/64",
            "2001:2::/48",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/9",
            "ff00::/8",
        ),
    )
)
_EMBEDDING: Final = (
    # (network, how far the IPv4 address in it ends from the right, in bits): RFC 4291, 2765, 6052, 8215, 3056
    (ipaddress.ip_network("::/96"), 0),
    (ipaddress.ip_network("::ffff:0:0/96"), 0),
    (ipaddress.ip_network("::ffff:0:0:0/96"), 0),
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("64:ff9b:1::/48"), 0),
    (ipaddress.ip_network("2002::/16"), 80),
)
_TEREDO: Final = ipaddress.ip_network("2001::/32")
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


def embedded(address: Address) -> list[Address]:
    """Returns the IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    number = int(address)
    found = [(number >> shift) & 0xFFFFFFFF for network, shift in _EMBEDDING if address in network]
    if address in _TEREDO:
        found += [(number >> 64) & 0xFFFFFFFF, ~number & 0xFFFFFFFF]
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        found.append(number & 0xFFFFFFFF)
    return [ipaddress.IPv4Address(one) for one in found]


def is_public(address: Address) -> bool:
    """Returns whether an address, and every one embedded in it, is one of the public network."""
    if not address.is_global or address.is_multicast or any(address in one for one in _NEVER):
        return False
    return all(is_public(one) for one in embedded(address))


_is_public: Final = lru_cache(4096)(is_public)


@dataclass(frozen=True)
class Guard:
    """Which addresses and ports are allowed: public ones, and those of networks named by the recipe."""

    allowed: Sequence[Network] = ()
    ports: Sequence[int] = tuple(_PORTS.values())
    checked: bool = True

    def named(self, address: Address) -> bool:
        """Returns whether the recipe itself allows the address."""
        return any(address in one for one in self.allowed)

    def admits(self, address: Address) -> bool:
        """Returns whether a connection to the address may be made."""
        return not self.checked or self.named(address) or _is_public(address)

    def check(self, asked: Target, addresses: Iterable[Address]) -> list[Address]:
        """Returns those of a host's addresses that may be connected to.

        Raises Failure where one is not public, unless another is in a network that the recipe names; and where the port
        is none of those allowed, which such networks are spared.
        """
        found = list(addresses)
        admitted = [one for one in found if self.admits(one)]
        named = [one for one in admitted if self.named(one)]
        if len(admitted) < len(found) and not named:
            raise Failure("unsafe_address")
        if asked.port not in self.ports:
            if not named:
                raise Failure("refused_port", str(asked.port))
            return named
        return admitted
