"""`make run`: the demo API behind nginx, in the foreground, until Ctrl-C.

All it writes is under var/ (--state moves it).  When one of the two servers ends by itself, it says so and stops the other.
"""

import argparse
import os
import signal
import subprocess
import sys

import foreground
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
  {url}/status                in a browser: what is going on (likewise)

The endpoints are the files in {handlers}; after a change: kill -HUP $(cat {lock})
The log is {log}.  Ctrl-C stops everything.
"""


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", default=os.path.join(weir.ROOT, "var"))
    return parser.parse_args()


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
    print(
        TRY.format(
            url=f"http://127.0.0.1:{port}",
            handlers=env.get("WEIR_HANDLERS", "handlers/atlas"),
            lock=os.path.relpath(os.path.join(state, "serve.lock"), weir.ROOT),
            log=os.path.relpath(env["LOG_FILE"], weir.ROOT),
        ),
        flush=True,
    )
    foreground.watch(servers)


def main():
    args = arguments()
    foreground.refuse_used_port(args.port, "run")
    state = os.path.realpath(args.state)
    servers = {}
    foreground.stop_on_signals()
    failure = None
    try:
        serve_until_told(os.path.realpath(args.binary), args.port, state, servers)
    except foreground.Stop:
        print("\nrun: stopping", flush=True)
    except (RuntimeError, TimeoutError, subprocess.CalledProcessError) as e:
        failure = f"run: {e}; see the logs in {state} and {state}/nginx"
    finally:
        foreground.stop_for_good()
        # The front first: what it has in hand is still answered.
        processes.stop(servers.get("nginx"), signal.SIGQUIT, timeout=5)
        processes.stop(servers.get("weir"), signal.SIGTERM)
        for process in servers.values():
            processes.kill_group(process)
    sys.exit(failure)


if __name__ == "__main__":
    main()
