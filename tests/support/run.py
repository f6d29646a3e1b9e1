"""`make run`: the demo API behind nginx, in the foreground, until Ctrl-C.

All it writes is under var/ (--state moves it).  When one of the two servers ends by itself, it says so and stops the other.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time

import processes
import weir

TRY = """
weir answers on {url} with the demo API, atlas (Debian's iso-codes):

  curl -i {url}/api/v1/countries/PT
  curl '{url}/api/v1/countries?fields=code,name'
  curl {url}/api/v1/countries/PT/subdivisions
  curl '{url}/api/v1/languages?q=portu'
  curl -i {url}/api/v1/events -H 'Content-Type: application/json' \\
       -H 'Idempotency-Key: my-first-event' -d '{{"type": "hello", "payload": {{"n": 1}}}}'
  curl {url}/api/v1/stats
  curl {url}/api/v1/health
  curl {url}/ready            (only from this machine)

The endpoints are the files in handlers/atlas; the log is {log}.  Ctrl-C stops everything.
"""


class Stop(Exception):
    """Somebody wants us to end."""


def ask_to_stop(_signal, _frame):
    raise Stop


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", default=os.path.join(weir.ROOT, "var"))
    return parser.parse_args()


def refuse_used_port(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as e:
            sys.exit(f"run: 127.0.0.1:{port}: {e.strerror}; another port: PORT=9000 make run")


def environment(state):
    env = dict(os.environ)
    env.setdefault("LOG_FILE", os.path.join(state, "weir.log"))
    env["WEIR_STATE_DIR"] = state
    env["WEIR_LISTEN"] = f"unix:{state}/weir.sock"
    env["WEIR_ADMIN_LISTEN"] = f"unix:{state}/admin.sock"
    return env


def serve_until_told(binary, port, state, servers):
    env = environment(state)
    weir.make_state(state)
    weir.load_atlas(state)
    subprocess.run([binary, "migrate"], env=env, cwd=weir.ROOT, check=True)
    servers["nginx"] = weir.start_nginx(os.path.join(state, "nginx"), port, state)
    servers["weir"] = processes.start([binary, "serve"], env=env, cwd=weir.ROOT)
    processes.wait_until(lambda: weir.port_answers(port), "the health answer", alive=servers.values())
    log = os.path.relpath(env["LOG_FILE"], weir.ROOT)
    print(TRY.format(url=f"http://127.0.0.1:{port}", log=log), flush=True)
    while True:
        for name, process in servers.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended by itself ({process.returncode})")
        time.sleep(0.2)


def main():
    args = arguments()
    refuse_used_port(args.port)
    state = os.path.realpath(args.state)
    servers = {}
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, ask_to_stop)
    failure = None
    try:
        serve_until_told(os.path.realpath(args.binary), args.port, state, servers)
    except Stop:
        print("\nrun: stopping", flush=True)
    except (RuntimeError, TimeoutError, subprocess.CalledProcessError) as e:
        failure = f"run: {e}; see the logs in {state} and {state}/nginx"
    finally:
        # The front first: what it has in hand is still answered.
        processes.stop(servers.get("nginx"), signal.SIGQUIT, timeout=5)
        processes.stop(servers.get("weir"), signal.SIGTERM)
        for process in servers.values():
            processes.kill_group(process)
    sys.exit(failure)


if __name__ == "__main__":
    main()
