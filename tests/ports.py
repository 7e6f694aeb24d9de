"""Ports of this machine: which are free, which answer."""

import socket


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Free ports whose neighbours 10,000 higher are free too: SeaweedFS listens on both."""
    found = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = 12_000 + probe.getsockname()[1] % 30_000
        if port not in found and not answers(port) and not answers(port + 10_000):
            found.append(port)
    return found


def free_port() -> int:
    return free_ports(1)[0]
