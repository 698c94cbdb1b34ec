"""One headless Chromium process of our own: started, reached, measured and killed by process group."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import InputError

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
_START_SECONDS: Final = 30.0


def find(executable: str | None = None) -> str:
    """The path of a Chromium; InputError with a remedy where there is none."""
    found = executable or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None or not os.access(found, os.X_OK):
        raise InputError("no Chromium was found: apt-get install chromium")
    return found


class Chromium:
    """A running browser; `browser` is playwright's handle on it."""

    def __init__(self, playwright: Any, executable: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="vlcorpus-chromium-", ignore_cleanup_errors=True)
        command = [executable, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
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
        self._profile.cleanup()

    def megabytes(self) -> float:
        """The memory its processes hold, shared pages counted in each; 0 where the system does not tell."""
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[3]) == self._process.pid:
                    total += int((folder / "statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE") / 1e6

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[threading.Event]:
        """Kills the browser if the block is not done in time; the event says that this happened."""
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _port(self) -> int:
        """The port it listens on, which it writes into its profile."""
        file = Path(self._profile.name) / "DevToolsActivePort"
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(file.read_text().splitlines()[0])
            time.sleep(0.02)
        raise InputError("Chromium did not start: run it by hand with --headless to see why")
