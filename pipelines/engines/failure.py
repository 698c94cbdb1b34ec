"""Failures that have to cross another framework's error handling as text, and come out as themselves."""

import base64
import json
import re

from pipelines.engines.child import describe
from pipelines.engines.wire import rebuild

_MARK = re.compile(r"vlcorpus-failure:([A-Za-z0-9+/=]+):end")


class Carried(RuntimeError):
    """A worker's failure on its way to the driver: its text holds it whole, in letters that nobody quotes."""

    def __init__(self, failure: Exception) -> None:
        text = base64.b64encode(json.dumps(describe(failure)).encode()).decode()
        super().__init__(f"{type(failure).__name__}: {failure}\nvlcorpus-failure:{text}:end")

    def __reduce__(self) -> tuple[object, ...]:
        return RuntimeError, (str(self),)


def found_in(error: BaseException) -> Exception | None:
    """The failure that a framework's exception carries somewhere in its text or causes, if any."""
    seen: BaseException | None = error
    while seen is not None:
        match = _MARK.search(str(seen))
        if match:
            return rebuild(json.loads(base64.b64decode(match.group(1))))
        seen = seen.__cause__ or seen.__context__
    return None
