"""Personal data in captions: e-mail addresses, phone numbers, IP addresses, numbers of payment cards.

The rule `personal_data` drops captions with any; `signals: {caption: {mask: […]}}` puts a name in their place. Both are
off by default and then cost nothing. Phone numbers are found by phonenumbers, the others by expressions and their
checks (ipaddress, the Luhn digit). How well: docs/filters.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, Literal, NamedTuple, get_args

import regex  # type: ignore[import-untyped]
from pydantic import Field, field_validator

from filters.arrow import array
from filters.filter import Columns, Row, Rule
from schemas.errors import nearest
from schemas.settings import Settings

Kind = Literal["email", "phone", "ip", "card"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_LONGEST: Final = 20_000
"""So many characters of a caption are read."""
_MAY: Final = regex.compile(r"@|\d")
_EMAIL: Final = regex.compile(
    r"(?<![\p{L}\p{N}._%+-])[\p{L}\p{N}_%+](?:[\p{L}\p{N}._%+-]{0,62}[\p{L}\p{N}_%+-])?"
    r"@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.){1,8}\p{L}{2,24}(?![\p{L}\p{N}-])"
)
_IPV4: Final = regex.compile(r"(?<![\p{L}\p{N}.,/-])(?:\d{1,3}\.){3}\d{1,3}(?![\p{L}\p{N}]|[.,-]\d)")
_IPV6: Final = regex.compile(
    r"(?<![\p{L}\p{N}:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{1,4}(?![\p{L}\p{N}:])"
)
_VERSION: Final = regex.compile(
    r"\b(?:v|ver|vers|version|versión|版本|release|build|firmware)[.: ]*$", regex.IGNORECASE
)
_CARD: Final = regex.compile(r"(?<![\p{L}\p{N}.,-])[3-6](?:[ -]?\d){12,18}(?![\p{L}\p{N}]|[.,-]\d)")
_GROUPS: Final = (
    (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 1),
)  # fmt: skip
"""How card numbers are written in groups: 16, 15, 14, 19 and 13 digits."""
_LENGTHS: Final = {"3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 19)}
"""Digits of a number by its first: Diners, American Express, JCB; Visa; Mastercard; Discover, UnionPay."""
_PHONE_DIGITS: Final = 7
_IPV6_LENGTH: Final = 8
_SEPARATED: Final = regex.compile(r"\d[^\d\s]?[ ().–-][^\d\s]?\d")
_CALL: Final = regex.compile(
    r"(?:\b(?:tel|telephone|phone|ph|call|mobile|mob|cell|fax|whatsapp|contact)\b|[☎📞📱✆]|电话|手机|電話|微信)"
    r"[^\p{L}\d]{0,5}$",
    regex.IGNORECASE,
)
"""What stands before a number in one run that is a phone's, and not an article's."""


class Found(NamedTuple):
    """Where in a caption something personal stands."""

    kind: Kind
    start: int
    end: int


def found(caption: str, kinds: Iterable[Kind] = KINDS, regions: Sequence[str] = ()) -> list[Found]:
    """Returns what is personal in a caption, in order, without overlaps: of two that overlap the first kind's.

    Phone numbers are those with a country code, and those that are dialled within the regions.
    """
    text = caption[:_LONGEST]
    if not _MAY.search(text):
        return []
    taken: list[Found] = []
    for kind in [kind for kind in ("email", "card", "ip", "phone") if kind in kinds]:
        for start, end in _FINDERS[kind](text, regions):
            if all(end <= one.start or one.end <= start for one in taken):
                taken.append(Found(kind, start, end))
    return sorted(taken, key=lambda one: one.start)


def masked(caption: str, kinds: Iterable[Kind], regions: Sequence[str] = ()) -> str:
    """Returns the caption with [email], [phone], [ip] or [card] in place of what is personal."""
    for one in reversed(found(caption, kinds, regions)):
        caption = f"{caption[: one.start]}[{one.kind}]{caption[one.end :]}"
    return caption


def _emails(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text) if len(match[0]) <= 254)


def _ips(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    for match in (*_IPV4.finditer(text), *_IPV6.finditer(text)):
        if _is_address(match[0]) and not _VERSION.search(text[max(0, match.start() - 12) : match.start()]):
            yield match.span()


def _is_address(text: str) -> bool:
    """True for an IP address of a host; 1.0.0.0 and 2.1.0.0 are versions, 12:30:45 a time."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if address.version == 6:
        # a::b is none that anybody writes
        return len(text) >= _IPV6_LENGTH
    return not (text.endswith(".0") or text.startswith("0."))


def _cards(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in _CARD.finditer(text) if _is_card(match[0]))


def _is_card(text: str) -> bool:
    """True for a number of an issuer's length, whole or in the groups of a card, whose Luhn digit is right."""
    digits = regex.sub(r"\D", "", text)
    groups = tuple(map(len, regex.split(r"[ -]", text)))
    if len(digits) not in _LENGTHS[digits[0]] or (len(groups) > 1 and groups not in _GROUPS):
        return False
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def _phones(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    if sum(map(str.isdigit, text)) < _PHONE_DIGITS:
        return
    # here, as its tables take time to load and no other rule needs them
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PhoneNumberMatcher(text, None):
        yield match.start, match.end
    for region in dict.fromkeys(regions):
        for match in PhoneNumberMatcher(text, region, Leniency.STRICT_GROUPING):
            before = text[max(0, match.start - 20) : match.start]
            if _SEPARATED.search(match.raw_string) or _CALL.search(before):
                yield match.start, match.end


_FINDERS: Final = {"email": _emails, "phone": _phones, "ip": _ips, "card": _cards}


@cache
def known_regions() -> frozenset[str]:
    """Returns the regions whose phone numbers are known, as ISO 3166-1 codes."""
    from phonenumbers import SUPPORTED_REGIONS

    return frozenset(SUPPORTED_REGIONS)


def checked_regions(regions: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the regions. Raises ValueError for one that is not known."""
    for region in regions:
        if region not in known_regions():
            near = nearest(region.upper(), known_regions())
            raise ValueError(f"{region!r} is no region: use ISO 3166-1 codes as US, CN; {near}".rstrip("; "))
    return regions


class PersonalData(Settings):
    """Drops captions with e-mail addresses, phone numbers, IP addresses or card numbers (filters/personal.py)."""

    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1, description="what counts")
    regions: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="also phone numbers as dialled in these regions, as US, CN; else with +code",
    )

    @field_validator("regions")
    @classmethod
    def _known(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        return checked_regions(regions)


def _fails(columns: Columns, settings: PersonalData, languages: Sequence[str]) -> Any:
    captions = columns["caption"].to_pylist()
    return array([bool(caption and found(caption, settings.kinds, settings.regions)) for caption in captions])


def _says(row: Row, settings: PersonalData) -> str:
    """How many of each kind, and never what they are."""
    kinds = [one.kind for one in found(row["caption"], settings.kinds, settings.regions)]
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in KINDS if kind in kinds)


RULE: Final = Rule("personal_data", PersonalData, ("caption",), _fails, _says, on=False, about="caption")
