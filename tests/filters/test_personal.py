"""Personal data in captions: found, dropped, masked."""

import random
import subprocess
import sys
import time
from itertools import pairwise

import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.caption import Captions, CaptionSettings
from filters.personal import KINDS, Kind, found, masked
from filters.rules import detail, failures
from filters.table import RuleSettings
from tests.filters.test_rules import table

CAPTIONS = ("A red bicycle by the canal", "一辆红色的自行车", "Ein rotes Fahrrad, {}", "{} — vélo rouge")


def _written(caption: str, what: str) -> str:
    return caption.format(what) if "{}" in caption else f"{caption} {what}."


def _kinds(text: str, *regions: str) -> list[Kind]:
    return [one.kind for one in found(text, regions=regions)]


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("anna.smith+shop@mail.example.co.uk", "email"),
        ("li@公司.中国", "email"),
        ("+1 650-253-0000", "phone"),
        ("+86 138 1234 5678", "phone"),
        ("+49 (0) 30 901820", "phone"),
        ("192.168.10.7", "ip"),
        ("2001:db8::8a2e:370:7334", "ip"),
        ("4111 1111 1111 1111", "card"),
        ("5555-5555-5555-4444", "card"),
        ("378282246310005", "card"),
    ],
)
@pytest.mark.parametrize("caption", CAPTIONS)
def test_each_kind_is_found_in_captions_of_any_language(caption: str, what: str, kind: Kind) -> None:
    """And nothing else in them."""
    text = _written(caption, what)
    [one] = found(text)
    assert one.kind == kind
    assert text[one.start : one.end].strip("()") == what.strip("()")


@pytest.mark.parametrize(
    "caption",
    [
        "Firmware version 2.14.3.7", "v1.2.3.4 of the app", "Windows 10.0.0.0", "Photo of 16.07.2015 - 64",
        "2019-08-24 07:14:22", "ISBN 9783161484100", "4111 1111 1111 1112", "4111-11-1111-1111-11",
        "0000 0000 0000 0000", "1920x1080", "$1,200,300.00", "@anna on Twitter", "a @ b . c", "std::vector a::b",
        "Lot 299508-1790", "Model 16099073", "12:30:45", "3.14159265358979", "Canon EOS 5D, 1/250 s, f/2.8, ISO 100",
    ],
)  # fmt: skip
@pytest.mark.parametrize("regions", [(), ("US", "CN", "DE")])
def test_numbers_of_other_kinds_are_not_personal(caption: str, regions: tuple[str, ...]) -> None:
    """Versions, dates, times, sizes, prices, articles, numbers whose Luhn digit is wrong."""
    assert found(caption, regions=regions) == []


def test_numbers_as_dialled_within_a_region_are_found_where_it_is_named() -> None:
    """In one run only behind a word such as call."""
    assert _kinds("Repair in Bellevue 402-505-6600") == []
    assert _kinds("Repair in Bellevue 402-505-6600", "CN", "US") == ["phone"]
    assert _kinds("Repair, call 4025056600", "US") == ["phone"]
    assert _kinds("Article 4025056600", "US") == []


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS)[::8])
def test_a_number_with_its_country_code_is_found_whatever_the_region(region: str) -> None:
    """The example numbers of the library, as printed and as dialled."""
    number = phonenumbers.example_number(region)
    for form in (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164):
        assert _kinds(f"Flowers, {phonenumbers.format_number(number, form)}") == ["phone"]


@given(st.text(max_size=80), st.sets(st.sampled_from(KINDS)))
def test_places_are_in_order_and_a_masked_caption_holds_no_more(text: str, kinds: set[Kind]) -> None:
    """Whatever the text; masking what is masked changes nothing."""
    places = found(text, sorted(kinds), ("US",))
    assert all(one.end <= other.start for one, other in pairwise(places))
    assert {one.kind for one in places} <= kinds
    once = masked(text, sorted(kinds), ("US",))
    assert masked(once, sorted(kinds), ("US",)) == once


def test_masking_writes_the_kind_and_leaves_the_rest() -> None:
    """As a setting of the caption filter; the raw caption stays in work/signals."""
    raw = "Flowers, call +1 650-253-0000 or write to a.b@example.com"
    mask = Captions(CaptionSettings.model_validate({"mask": ["email", "phone"]}))
    one = pa.RecordBatch.from_pydict({"caption_raw": pa.array([raw, None, "A dog"])})
    assert mask.measure(one)["caption"].to_pylist() == [
        "Flowers, call [phone] or write to [email]",
        None,
        "A dog",
    ]
    assert mask.measure(one)["special_tag"].to_pylist() == [None, None, None]


def test_the_rule_drops_and_counts_but_does_not_repeat_what_it_found() -> None:
    """Off unless a recipe names it; `kinds` says what counts."""
    signals = table(
        {"caption": "call +1 650-253-0000, +1 650-253-0001, 10.1.2.3"}, {"caption": "A dog on a beach"}
    )
    assert failures(signals, RuleSettings(), ("en",)).to_pylist() == [[], []]
    rules = RuleSettings.model_validate({"personal_data": True})
    names = failures(signals, rules, ("en",))
    assert names.to_pylist() == [["personal_data"], []]
    assert detail(signals, names, rules).to_pylist() == ["phone 2, ip 1", None]
    cards = RuleSettings.model_validate({"personal_data": {"kinds": ["card"]}})
    assert failures(signals, cards, ("en",)).to_pylist() == [[], []]


@pytest.mark.parametrize(
    "wrong", [{"kinds": ["name"]}, {"kinds": []}, {"regions": ["USA"]}, {"regions": ["us"]}]
)
def test_kinds_and_regions_that_are_none_are_refused(wrong: dict[str, list[str]]) -> None:
    """In a sentence at the key."""
    with pytest.raises(ValidationError):
        RuleSettings.model_validate({"personal_data": wrong})


def test_hostile_captions_take_no_time() -> None:
    """A megabyte of digits, addresses, brackets, or the beginnings of numbers."""
    rng = random.Random(1)
    parts = ("1", "1 ", "a@b.c ", "1.", "a:", "+1 212 ", "(1", "4111-", "+", "a.", "@", "٣", "１")
    begun = time.process_time()
    for part in (*parts, "".join(rng.choices("0123456789+-() .@:", k=1000))):
        found((part * 1_000_000)[:1_000_000], regions=("US",))
    assert time.process_time() - begun < 10


def test_who_looks_for_no_phone_loads_no_tables() -> None:
    """The tables of phone numbers are large, and most recipes need none."""
    code = "import sys, filters.table; sys.exit('phonenumbers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
