"""CPU time and memory of this process and of those below it.

    python -m benchmarks.usage COMMAND …

runs a command of vlcorpus, and prints its seconds, its CPU time and its largest process: in a process of its own, so
that what its children used is that command's alone.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path


def cpu_seconds() -> float:
    """Returns the seconds of CPU of this process and of its children that have ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + cpu_of_children()


def cpu_of_children() -> float:
    """Returns the seconds of CPU of the children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def memory(name: str, process: int | str = "self") -> int:
    """Returns bytes of a process by their name in its /proc/PID/status."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def peak(process: int | str = "self") -> int:
    """Returns the peak of resident bytes of a process; the usage of the system would count its parent's too."""
    return memory("VmHWM", process)


def largest_child() -> int:
    """Returns the peak of resident bytes of the largest child that has ended.

    Linux counts in what its parent held when it started the child.
    """
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def main() -> None:
    """Runs the command; prints one line."""
    since = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pipelines", *sys.argv[1:]], capture_output=True, text=True)
    seconds = time.perf_counter() - since
    print(
        f"{sys.argv[1]:8s} {seconds:7.1f} s {cpu_of_children():7.1f} s of CPU, "
        f"largest process {largest_child() / 2**20:5.0f} MiB",
        flush=True,
    )
    sys.exit(done.stderr[-2000:] if done.returncode else 0)


if __name__ == "__main__":
    main()
