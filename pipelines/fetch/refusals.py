"""Settings by which URLs are refused: made wider, they only turn a refusal into a request.

So an answer from before stays as it is, and only what was refused is asked for. Where one of them is made narrower any
answer may be another one, and all URLs are asked for again.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Any, Final

from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import UNSAFE

REFUSALS: Final[Mapping[str, tuple[str, ...]]] = {
    "check_addresses": (UNSAFE,),
    "allow_addresses": (UNSAFE, "refused_port"),
    "ports": ("refused_port",),
    "max_bytes": ("too_large", "bomb"),
    # the robots.txt of a host may lead where nobody may ask
    "robots": ("robots_disallowed", "robots_unreachable", UNSAFE, "refused_port"),
    "robots_tag": ("noai",),
    "tdmrep": ("tdm_reserved",),
    "content_usage": ("usage_reserved",),
}
"""By the name of a setting the statuses of URLs that it refuses."""

Refusing = Mapping[str, Any]
"""The values of these settings, as JSON."""


def refusing(settings: FetchSettings) -> Refusing:
    """Returns the settings of a source by which URLs are refused."""
    return settings.model_dump(mode="json", include={*REFUSALS})


def refused(then: Refusing, now: Refusing) -> frozenset[str] | None:
    """Returns the statuses from `then` that are asked for again `now`; None where any may be another one."""
    if then.keys() != now.keys():
        return None
    changed = [name for name in then if then[name] != now[name]]
    if not all(_is_wider(name, then[name], now[name]) for name in changed):
        return None
    return frozenset(status for name in changed for status in REFUSALS[name])


def _is_wider(name: str, then: Any, now: Any) -> bool:
    if name == "allow_addresses":
        return all(_is_within(one, now) for one in then)
    if name == "ports":
        return {*then} <= {*now}
    # a limit grows, a check is left out
    return bool(then < now if name == "max_bytes" else then > now)


def _is_within(network: str, networks: Collection[str]) -> bool:
    inner = ip_network(network)
    outer = (ip_network(one) for one in networks)
    # subnet_of takes two networks of one version, and the checker does not see that they are compared first
    return any(inner.version == one.version and inner.subnet_of(one) for one in outer)  # type: ignore[arg-type]
