"""Ports of this machine for tests that start processes."""

import socket


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]
