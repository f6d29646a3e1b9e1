"""Starting and ending the processes of a run, so that nothing is left behind.

Only the Python standard library: `make run` uses this too.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sig):
    """For preexec_fn: the child gets `sig` when we die, even by kill -9."""
    parent = os.getpid()

    def before_exec():
        LIBC.prctl(PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


def program(name):
    """Where a program lies.  Servers are in /usr/sbin, which is not in the PATH of an ordinary user of Debian."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if not found:
        raise RuntimeError(f"{name} is not installed")
    return found


def start(argv, env=None, cwd=None, log=None, end_signal=signal.SIGTERM, user=None):
    """In a session of its own: a Ctrl-C in the terminal reaches us, and we end things in order.

    `user` is who runs it, when we are root and it must not be.  Call it from the main thread: the kernel ends the child when the thread that started it ends.
    """
    output = open(log, "ab") if log else None
    try:
        return subprocess.Popen(
            [program(argv[0]), *argv[1:]],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent(end_signal),
            **as_user(user),
        )
    finally:
        if output:
            output.close()


def as_user(user):
    """The arguments of subprocess that make a child another user's; none for our own."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def stop(process, sig=signal.SIGTERM, timeout=15):
    """Ends a process politely, then by force with all its session.  True when it ended politely."""
    if process is None or process.poll() is not None:
        return True
    process.send_signal(signal.SIGCONT)  # a stopped process could not hear us
    process.send_signal(sig)
    try:
        process.wait(timeout)
        return True
    except subprocess.TimeoutExpired:
        kill_group(process)
        process.wait()
        return False


def kill_group(process):
    """All that is left of the session of a process that start() made: children outlive a killed parent."""
    if process is None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def is_alive(pid):
    """False for a process that is gone, and for a zombie that only waits to be read."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends_within(pid, seconds):
    try:
        wait_until(lambda: not is_alive(pid), f"the end of process {pid}", seconds)
        return True
    except TimeoutError:
        return False


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def children_of(pid):
    """The living children of a process, oldest first."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and parent_of(name) == pid and is_alive(name):
            found.append(int(name))
    return sorted(found)


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def status_field(pid, field):
    """A field of /proc/PID/status, None when there is none."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return line.split(":", 1)[1].strip()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def wait_until(condition, what, timeout=20, alive=()):
    """Polls until `condition()` is true and returns its value; a dead process of `alive` ends the wait."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        for process in alive:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended with {process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {timeout} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
