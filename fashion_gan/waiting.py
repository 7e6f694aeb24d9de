"""Wait for a condition that another thread or process brings about."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from fashion_gan import clock

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = math.inf, every: float = 0.2) -> T:
    """What `condition` gives, once that is true; what it gives last, where `seconds` pass before.
    It is asked every `every` seconds, and at least once."""
    deadline = clock.running() + seconds
    while not (value := condition()) and (left := deadline - clock.running()) > 0:
        time.sleep(min(every, left))
    return value
