"""A block of a recipe tells numbers from switches."""

import pytest
from pydantic import ValidationError

from filters.table import RuleSettings


@pytest.mark.parametrize(
    ("rule", "key"), [("special_characters", "max"), ("repetition", "words"), ("image_bytes", "min")]
)
@pytest.mark.parametrize("switch", [True, False])
def test_a_switch_is_no_number(rule: str, key: str, switch: bool) -> None:
    """`max: off` is no threshold of 0, and `max: on` none of 1; the rule itself is switched on and off."""
    with pytest.raises(ValidationError, match="should be a number, not on or off"):
        RuleSettings.model_validate({rule: {key: switch}})
    assert bool(getattr(RuleSettings.model_validate({rule: switch}), rule)) is switch


@pytest.mark.parametrize("given", [True, "automatic"])
def test_a_least_score_is_a_number_or_auto(given: object) -> None:
    """What is neither is told in one sentence."""
    with pytest.raises(ValidationError, match="should be a number, a number for each language") as error:
        RuleSettings.model_validate({"language": {"min_score": given}})
    assert error.value.error_count() == 1
