"""A run in the foreground: until Ctrl-C, until it is told to end, or until one of its servers ends.

Only the Python standard library.
"""

import signal
import socket
import sys
import time

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(Exception):
    """Somebody wants us to end."""


def stop_for_good():
    """From now on nobody can interrupt what ends the servers: each of those ends is bounded."""
    for sig in ASKING:
        signal.signal(sig, signal.SIG_IGN)


def ask_to_stop(_signal, _frame):
    stop_for_good()  # Ctrl-C is pressed twice, and a terminal that closes sends HUP to more than one of us
    raise Stop


def stop_on_signals():
    for sig in ASKING:
        signal.signal(sig, ask_to_stop)


def refuse_used_port(port, target):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as e:
            sys.exit(f"{target}: 127.0.0.1:{port}: {e.strerror}; another port: PORT=9000 make {target}")


def watch(servers):
    """`servers`: name to process.  Returns only by an exception."""
    while True:
        for name, process in servers.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended by itself ({process.returncode})")
        time.sleep(0.2)
