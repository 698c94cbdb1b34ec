"""One headless Chromium of our own, started, reached, measured and killed by process group; and playwright's own
process, which passes on what Chromium is asked: started, and ended when it hangs.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from schemas.errors import InputError, missing

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--hide-scrollbars",
    "--mute-audio",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--js-flags=--max-old-space-size=256",
    "--remote-debugging-port=0",
)
_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_PATIENCE: Final = 8
"""Seconds by the clock for each second of processor time that a document may take."""
_GRACE: Final = 10.0
"""Seconds in which whoever waits for a browser that has ended should have heard of it."""

_KEPT: Final = """
exec 3<&0
profile=$1
shift
"$@" 3<&- &
browser=$!
{ cat > /dev/null; kill -KILL $browser; } <&3 3<&- &
wait $browser
sleep 0.2
rm -rf -- "$profile"
kill -KILL 0
"""
"""Runs the browser until it ends, or until our end of a pipe closes, as it does when we are killed: then
neither a process nor a profile stays behind."""


def find(executable: str | None = None) -> str:
    """The path of a Chromium; InputError with a remedy where there is none."""
    found = executable or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None or not os.access(found, os.X_OK):
        raise InputError("no Chromium was found: apt-get install chromium")
    return found


@cache
def version(executable: str) -> str:
    """What the browser calls itself: its images depend on it. InputError where it does not run."""
    try:
        told = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=_START_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{executable} does not run: try it by hand with --version") from error
    return told.stdout.strip()


class Chromium:
    """A running browser; `browser` is playwright's handle on it."""

    def __init__(self, playwright: Any, executable: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="vlcorpus-chromium-", ignore_cleanup_errors=True)
        kept = ["sh", "-c", _KEPT, "sh", self._profile.name]
        self._process = subprocess.Popen(
            [*kept, executable, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{self._port()}")
        except BaseException:
            self.kill()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._process.poll() is None and bool(self.browser.is_connected())

    def kill(self) -> None:
        """Ends it and all its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._profile.cleanup()

    def megabytes(self) -> float:
        """The memory its processes hold, shared pages counted in each; 0 where the system does not tell."""
        pages = sum(int(fields[21]) for fields in self._processes())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """The processor time of its processes so far; 0 where the system does not tell."""
        ticks = sum(int(fields[11]) + int(fields[12]) for fields in self._processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> list[list[str]]:
        return [fields for _, fields in processes() if int(fields[3]) == self._process.pid]

    @contextlib.contextmanager
    def deadline(self, seconds: float, give_up: Callable[[], None]) -> Iterator[threading.Event]:
        """Kills the browser if the block takes more of its processor time, or far more by the clock.

        The event says that this happened. A busy machine slows a document down and does not doom it.
        `give_up` is called where the block does not end although the browser has.
        """
        late, done = threading.Event(), threading.Event()
        start, until = self.cpu_seconds(), time.monotonic() + _PATIENCE * seconds

        def watch() -> None:
            while not done.wait(_POLL_SECONDS) and self._process.poll() is None:
                if time.monotonic() > until or self.cpu_seconds() - start > seconds:
                    late.set()
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self._process.pid, signal.SIGKILL)
                    break
            if not done.wait(_GRACE):
                give_up()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield late
        finally:
            done.set()
            watcher.join()

    def _port(self) -> int:
        """The port it listens on, which it writes into its profile."""
        file = Path(self._profile.name) / "DevToolsActivePort"
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(file.read_text().splitlines()[0])
            time.sleep(0.02)
        raise InputError("Chromium did not start: run it by hand with --headless to see why")


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
    """Returns the child processes of this one; none where the system does not tell."""
    return {number for number, fields in processes() if int(fields[1]) == os.getpid()}


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yields each process of the system: its number, and the fields of its /proc/N/stat after the name (proc(5))."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()
