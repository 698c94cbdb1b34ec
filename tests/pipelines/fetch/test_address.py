"""Which addresses are public, and which URLs mean one thing alone."""

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.address import Guard, as_asked, is_public, target
from pipelines.fetch.statuses import Failure

INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *(
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
        *("224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"),
    )
)
"""Networks of RFC 6890 that no host of the public web has."""

EMBEDDINGS = (
    lambda v4: v4,
    lambda v4: 0xFFFF << 32 | v4,
    lambda v4: 0xFFFF << 48 | v4,
    lambda v4: 0x64FF9B << 96 | v4,
    lambda v4: (0x64FF9B0001 << 80) | v4,
    lambda v4: 0x2002 << 112 | v4 << 80,
    lambda v4: 0x20010000 << 96 | (v4 ^ 0xFFFFFFFF),
    lambda v4: 0x20010000 << 96 | v4 << 64 | (0x08080808 ^ 0xFFFFFFFF),
    lambda v4: 0x2A00145040010800 << 64 | 0x00005EFE << 32 | v4,
    lambda v4: 0x2A00145040010800 << 64 | 0x02005EFE << 32 | v4,
)
"""Compatible, mapped, translated, NAT64 (two prefixes), 6to4, Teredo (client and server), ISATAP (two forms)."""


@given(st.sampled_from(INSIDE).flatmap(lambda one: st.ip_addresses(network=one)), st.sampled_from(EMBEDDINGS))
def test_no_form_of_an_inner_address_is_public(address: ipaddress.IPv4Address, form: object) -> None:
    """An IPv4 address that is not public is not so inside an IPv6 address either, in any of its forms."""
    assert not is_public(address)
    assert not is_public(ipaddress.IPv6Address(form(int(address))))  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.215.14",
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
        "2a00:1450:4001:800::200e",
    ],
)
def test_public_addresses(text: str) -> None:
    """Addresses of the public web are public."""
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "3fff::1",
        ),
        *("168.63.129.16", "100.100.100.200", "192.0.0.192", "255.255.255.255", "192.88.99.1"),
    ],
)
def test_addresses_with_a_purpose(text: str) -> None:
    """Local, documentary and multicast addresses, and those of metadata services, are not public."""
    assert not is_public(ipaddress.ip_address(text))


@given(st.text(max_size=40), st.sampled_from(["http://", "https://", "HTTP://", ""]))
def test_any_text(text: str, scheme: str) -> None:
    """Any text is refused with a status, or is a URL in plain ASCII that is taken apart the same way again."""
    try:
        found = target(scheme + text)
    except Failure:
        return
    assert found.url.isascii()
    assert found.url.isprintable()
    assert " " not in found.url
    assert target(found.url) == found


@given(
    st.sampled_from([("http", 80), ("https", 443)]),
    st.sampled_from(["a.test", "a_b.c-d.test", "1.2.3.4", "[2001:db8::a]"]),
    st.sampled_from(["", ":", ":{}", ":0{}", ":8080"]),
    st.sampled_from(["", "/", "/A%2f?b=C:80", "?Q=HTTP://X:80/"]),
    st.sampled_from(["", "#a", "#HTTP://b:80"]),
    st.randoms(use_true_random=False),
)
def test_spellings_of_one_request(
    scheme: tuple[str, int], host: str, port: str, rest: str, fragment: str, drawn: random.Random
) -> None:
    """Case of scheme and host, a default port, an empty path and a fragment make no other request (RFC 3986, 6.2)."""
    name, usual = scheme
    plain = f"{name}://{host}{':8080' if port == ':8080' else ''}{'' if rest.startswith('/') else '/'}{rest}"
    start = "".join(drawn.choice((one.lower(), one.upper())) for one in f"{name}://{host}")
    spelled = f" {start}{port.format(usual)}{rest}{fragment} "
    assert as_asked(spelled) == plain
    assert as_asked(plain) == plain
    assert target(spelled) == target(plain)


@pytest.mark.parametrize(
    "other",
    [
        "http://a.test:443/x",
        "https://a.test:80/x",
        "https://a.test/x",
        "http://a.test/X",
        "http://a.test//x",
        "http://a.test:80@b.test/x",
        "http://user@a.test/x",
        "http://a.test\\:80/x",
        "ftp://A.test:80/x",
    ],
)
def test_other_requests_stay_others(other: str) -> None:
    """Another scheme, port or path is another request; what is refused stays as it is written."""
    assert as_asked(other) == other
    assert as_asked("http://a.test:80/x") == "http://a.test/x"


@pytest.mark.parametrize(
    ("spelled", "asked"),
    [
        ("http://a.test/o a", "http://a.test/o%20a"),
        ("http://a.test/\u00e9?q=\u00e9", "http://a.test/%C3%A9?q=%C3%A9"),
        ("http://a.test/a|b", "http://a.test/a%7Cb"),
        ("http://B\u00fccher.test/x", "http://xn--bcher-kva.test/x"),
        ("http://[2001:DB8:0::A]/x", "http://[2001:db8::a]/x"),
    ],
)
def test_what_is_asked_in_the_same_bytes_is_one_request(spelled: str, asked: str) -> None:
    """Blanks and letters beyond ASCII make no other request than their percent-encoded or IDNA form."""
    assert as_asked(spelled) == as_asked(asked) == asked == target(spelled).url


def test_what_is_too_long_in_ascii_stays_as_it_is_written() -> None:
    """A URL that may be asked is not too long where other rows have it; its long form is another, not asked at all."""
    spelled = "http://a.test/" + 4000 * "\u00e9"
    assert as_asked(spelled) == spelled
    with pytest.raises(Failure, match="url_too_long"):
        target(target(spelled).url)


def test_networks_that_the_recipe_names() -> None:
    """A named network is allowed on every port; a host that is elsewhere too is reached there alone."""
    guard = Guard([ipaddress.ip_network("10.1.0.0/16")])
    inner, outer = ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("10.2.2.3")
    public = ipaddress.ip_address("8.8.8.8")
    assert guard.check(target("http://a.test:8080/"), [inner, outer]) == [inner]
    assert guard.check(target("http://a.test/"), [public]) == [public]
    for url, addresses, status in (
        ("http://a.test/", [public, outer], "unsafe_address"),
        ("http://a.test:8080/", [public], "refused_port"),
    ):
        with pytest.raises(Failure) as failure:
            guard.check(target(url), addresses)
        assert failure.value.status == status
