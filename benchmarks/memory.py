"""Peak memory and time of a command with all its processes: the sum of their proportional set
sizes, sampled every two seconds.

python benchmarks/memory.py .venv/bin/fashion-gan run params/default.yaml
"""

import subprocess
import sys
import time
from pathlib import Path

import psutil
from keep import keep


def total(process):
    """Bytes of a process and its descendants; pages that several share are counted once."""
    found = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            found += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


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
        keep(
            command,
            f"python benchmarks/memory.py {' '.join(sys.argv[1:])}",
            seconds=seconds,
            gigabytes=peak / 1e9,
        )
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
