"""Lists of what is never used: URLs, hosts and images, in the form of `vlcorpus remove`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipelines.fetch.address import Target, host_as_asked, target
from pipelines.fetch.settings import FetchSettings
from pipelines.fetch.statuses import OK, Failure
from pipelines.removal import Removed, hashed, read, url_as_asked
from schemas.errors import InputError

COLUMNS: Final = ("url", "host", "sha256")
"""What such a list may hold."""


@dataclass(frozen=True)
class OptOut:
    """The opt-out lists of a source as one, by the hashes of their values."""

    urls: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    digest: str | None = None

    @classmethod
    def read(cls, settings: FetchSettings) -> "OptOut":
        """Reads the lists. Raises InputError for one that holds something else."""
        found = Removed()
        for path in settings.opt_out:
            entries = read(path).entries
            if {entry.column for entry in entries} - {*COLUMNS}:
                raise InputError(f"the opt-out list {path} must hold url, host or sha256")
            found = found.with_(entries)
        by_column = found.by_column()
        urls, hosts, images = (frozenset(by_column.get(name, ())) for name in COLUMNS)
        return cls(urls, hosts, images, found.digest())

    def refuses(self, asked: Target) -> bool:
        """Returns whether a URL that is about to be asked is on a list, or its host."""
        if self.hosts and hashed(host_as_asked(asked.host)) in self.hosts:
            return True
        return bool(self.urls) and hashed(asked.url) in self.urls

    def refuses_listed(self, url: str | None) -> bool:
        """Returns whether a URL that a list of images has is on a list, in whichever spelling."""
        return bool(self.urls) and url is not None and hashed(url_as_asked(url)) in self.urls

    def refuses_image(self, sha256: str) -> bool:
        """Returns whether an image is on a list."""
        return bool(self.images) and hashed(sha256) in self.images

    def covers(self, facts: Mapping[str, Any]) -> str | None:
        """Returns by what a row that was fetched before is on a list now: `url` or `image`; None for none."""
        if self.digest is None:
            return None
        if self.refuses_listed(facts["url"]) or any(map(self._refuses, (facts["url"], facts["final_url"]))):
            return "url"
        return "image" if facts["status"] == OK and self.refuses_image(facts["sha256"]) else None

    def _refuses(self, url: str | None) -> bool:
        try:
            return self.refuses(target(url))
        except Failure:
            return False
