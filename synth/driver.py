"""Playwright's own process, which passes on what Chromium is asked: started, and ended when it hangs."""

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

from schemas.errors import InputError, missing


class Driver:
    """The running driver; `playwright` is the handle on it. Raises InputError where it is not installed."""

    def __init__(self) -> None:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError as error:
            raise InputError(missing("rendering HTML", "playwright")) from error
        # asyncio would tell of each driver that was killed while something waited for its answer
        logging.getLogger("asyncio").addHandler(logging.NullHandler())
        before = children()
        self.playwright: Any = sync_playwright().start()
        self._processes = children() - before

    def kill(self) -> None:
        """Ends its process, from any thread: whoever waits for its answer gets playwright's Error."""
        for process in self._processes & children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """Ends it for good."""
        # asked to stop it would first answer what is open, which a browser that was killed cannot
        self.kill()
        self.playwright.stop()


def children() -> set[int]:
    """The child processes of this one; empty where the system does not tell."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # proc(5): the parent follows the name and the state
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(int(folder.name))
    return found
