"""Peak memory and time of a command with all its processes: the sum of their proportional set sizes, sampled every two seconds.

python benchmarks/memory.py .venv/bin/fashion-gan run params/default.yaml
"""

import subprocess
import sys
import time

import psutil


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
    print(f"exit code {child.returncode}, {time.monotonic() - begun:.0f} s, peak memory {peak / 1e9:.2f} GB in all processes")
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
