"""What can become of a URL: the one list of statuses, with what each means."""

from dataclasses import dataclass
from typing import Final

from schemas.plain import many


@dataclass(frozen=True)
class Status:
    """What became of a URL.

    `again`: the cause may pass, so the URL is tried again in the same run and by --retry-failed. `outage`: the host
    could not be reached at all.
    """

    meaning: str
    again: bool = False
    outage: bool = False


OK: Final = "ok"
DROPPED: Final = "dropped"
BAD_ROW: Final = "bad_row"
NO_URL: Final = "no_url"
UNSAFE: Final = "unsafe_address"
REPLACED: Final = "replaced"
OPTED_OUT: Final = "opted_out"
OF_IMAGE: Final = "the image"
"""The detail of `opted_out` where the image is on a list, not its URL."""

STATUSES: Final = {
    OK: Status("the image is in the shard"),
    # no request was made
    DROPPED: Status("the row fails a rule by its columns alone; nothing was downloaded"),
    BAD_ROW: Status("the list's own record is malformed"),
    NO_URL: Status("the row has no URL"),
    "bad_url": Status("the URL is relative, or no URL that all programs read alike"),
    "url_too_long": Status("the URL has more than 8,192 characters"),
    "unsupported_scheme": Status("neither http nor https"),
    "credentials": Status("the URL carries a user name or a password"),
    "refused_port": Status("the port is none of those allowed"),
    UNSAFE: Status("the host is, or has among its addresses, one that is not public"),
    OPTED_OUT: Status("the URL, its host or the image stands on an opt-out list"),
    "robots_disallowed": Status("robots.txt disallows the URL"),
    "robots_unreachable": Status(
        "robots.txt could not be read (RFC 9309: as if all were disallowed)", again=True
    ),
    # the host asks that the image is not used
    "noai": Status("X-Robots-Tag says noai, noimageai, noindex or noimageindex"),
    "tdm_reserved": Status("rights to text and data mining are reserved (TDMRep)"),
    "usage_reserved": Status("AIPREF's Content-Usage, in the answer or in robots.txt, denies training"),
    # the host could not be reached
    "no_such_host": Status("the name of the host does not exist", outage=True),
    "dns_failed": Status("the name of the host could not be resolved", again=True, outage=True),
    "connect_failed": Status("no connection", again=True, outage=True),
    "connect_timeout": Status("no connection within the connect deadline", again=True, outage=True),
    "proxy_failed": Status("the proxy did not make the connection", again=True),
    "tls_expired": Status("the certificate of the host has expired, or is not valid yet"),
    "tls_name": Status("the certificate is for another host"),
    "tls_untrusted": Status("no authority that is trusted signed the certificate"),
    "tls_failed": Status("the TLS handshake failed", again=True),
    # the answer broke off
    "reset": Status("the connection broke before the answer was whole", again=True),
    "cut_short": Status("the body is shorter than the answer announced", again=True),
    "stalled": Status("the body came too slowly for the read deadline", again=True),
    "deadline": Status("the URL took longer than its total deadline", again=True),
    "http2_error": Status("the HTTP/2 stream was reset, or broke the protocol", again=True),
    "bad_response": Status("the answer is no sound HTTP"),
    "header_flood": Status("more headers than the limit, or endless interim answers"),
    "bad_encoding": Status("the content encoding of the body cannot be undone"),
    "bomb": Status("the body grows beyond the byte limit when it is decompressed"),
    "too_large": Status("the body is, or is announced to be, larger than the limit"),
    # the code of the answer
    "redirect_limit": Status("more redirects than the limit, as in a loop"),
    "bad_redirect": Status("a redirect without a usable target"),
    "not_found": Status("404 or 410"),
    "forbidden": Status("401, 402, 403, 407 or 451"),
    "client_error": Status("another code from 400 to 499"),
    "rate_limited": Status("408, 425 or 429, after all retries", again=True),
    "server_error": Status("a code from 500 up, after all retries", again=True),
    "no_content": Status("204 or 205: there is no body"),
    "partial": Status("206, though the whole was asked for"),
    "unexpected_code": Status("any other code"),
    # the body
    "empty": Status("the body has no bytes"),
    "not_image": Status("the bytes are of no image format that is known, such as HTML"),
    "unsupported_format": Status("an image of a format that the recipe does not admit, such as SVG"),
    "too_many_pixels": Status("the image's header announces more pixels than the limit"),
    REPLACED: Status("not the image that the list or an earlier fetch had under this URL"),
}
"""By name, in the order of docs/fetch.md."""


_OF_THE_ROW: Final = frozenset((DROPPED, BAD_ROW, NO_URL, OPTED_OUT, REPLACED))


def answers(name: str) -> bool:
    """Returns whether that status is an answer to the URL, for whatever row has it, and not worth another try."""
    return name not in _OF_THE_ROW and not STATUSES[name].again


def again(name: str) -> bool:
    """Returns whether a URL of that status is worth another try."""
    return STATUSES[name].again


def not_public(urls: int) -> str:
    """Returns what to do about so many URLs that have the status UNSAFE."""
    return (
        f"the hosts of {many(urls, 'URL')} are not public: where these are yours, admit their networks with "
        "--allow-address CIDR, in a recipe with fetch.allow_addresses"
    )


class Failure(Exception):
    """A URL that gave no image: `status` is a key of STATUSES, `detail` says more where there is more to say."""

    def __init__(self, status: str, detail: str = "", code: int | None = None) -> None:
        if status not in STATUSES:
            raise ValueError(f"unknown status {status!r}")
        super().__init__(status, detail)
        self.status, self.detail, self.code = status, detail, code
