"""Peak memory and time of a command with all its processes: the sum of their proportional set
sizes, sampled every two seconds.

python benchmarks/memory.py .venv/bin/fashion-gan run params/default.yaml
"""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
from keep import keep


def total(process):
    """Bytes of a process and its descendants; pages that several share are counted once."""
    size = 0
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            size += member.memory_full_info().pss
    return size


def main():
    begun = time.monotonic()
    child = subprocess.Popen(sys.argv[1:])
    process, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        peak = max(peak, total(process))
        time.sleep(2)
    seconds = time.monotonic() - begun
    command = " ".join(Path(word).name if "/bin/" in word else word for word in sys.argv[1:])
    print(
        f"exit code {child.returncode}, {seconds:.0f} s, peak memory {peak / 1e9:.2f} GB in all"
        " processes"
    )
    if child.returncode == 0:
        words = f"python benchmarks/memory.py {' '.join(sys.argv[1:])}"
        keep(command, words, seconds=seconds, gigabytes=peak / 1e9)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
