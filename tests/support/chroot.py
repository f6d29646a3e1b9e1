"""Debian systems of their own, without an engine: folders made by debootstrap, and commands that run in them.

A base system is made once for each suite and kept in build/chroot; who wants to change it makes a copy.  Each command has
its own mounts, which end with it, so nothing is left mounted.  Needs root.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile

import processes

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
FOLDER = os.path.join(ROOT, "build", "chroot")
MIRROR = "http://deb.debian.org/debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# /dev is ours: a segment in /dev/shm is one for all commands of a system, as it would be there.
ENTER = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
exec chroot "$0" "$@"
"""


def base(suite):
    """The folder of a small Debian, made when it is not there."""
    os.makedirs(FOLDER, exist_ok=True)
    folder = os.path.join(FOLDER, suite)
    with open(os.path.join(FOLDER, suite + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder):
            half = folder + ".half"
            shutil.rmtree(half, ignore_errors=True)
            made = subprocess.run(
                [processes.program("debootstrap"), "--variant=minbase", suite, half, MIRROR],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if made.returncode != 0:
                raise RuntimeError(f"debootstrap {suite}: {made.stdout[-2000:]}")
            os.rename(half, folder)
    return folder


class Chroot:
    def __init__(self, folder):
        self.folder = folder
        # Debian starts a service when it is installed, if it may.
        policy = self.path("/usr/sbin/policy-rc.d")
        with open(policy, "w") as f:
            f.write("#!/bin/sh\nexit 101\n")
        os.chmod(policy, 0o755)
        shutil.copy("/etc/resolv.conf", self.path("/etc/resolv.conf"))

    def path(self, inside):
        """Where that path is for us."""
        return os.path.join(self.folder, inside.lstrip("/"))

    def argv(self, *command, user=None, env=None, cwd="/", alone=False):
        """What runs it.  `user` is USER, or USER:GROUP,GROUP... for a process that has those groups as well.

        `alone`: it sees no process but its own, as in a container that is being built.
        """
        env = {"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
        inner = ["/usr/bin/env", "-i", "-C", cwd, *(f"{name}={value}" for name, value in env.items())]
        if user is not None:
            name, _, groups = user.partition(":")
            more = ["--groups", groups] if groups else ["--init-groups"]
            inner = ["/usr/bin/setpriv", "--reuid", name, "--regid", name, *more, "--", *inner]
        apart = ["--pid", "--fork", "--kill-child"] if alone else []
        return ["unshare", *apart, "--mount", "--propagation", "private", "sh", "-e", "-c", ENTER, self.folder, *inner, *command]

    def run(self, *command, check=True, timeout=600, **how):
        done = subprocess.run(
            self.argv(*command, **how), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: ended with {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
        return done

    def start(self, *command, log, **how):
        """Stays until processes.stop(); the process that is returned becomes the command itself."""
        return processes.start(self.argv(*command, **how), log=log)


@contextlib.contextmanager
def copy_of(suite):
    """A system of `suite` that may be changed; it is removed in the end."""
    original = base(suite)
    folder = tempfile.mkdtemp(prefix=suite + ".", dir=FOLDER)
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", original + "/.", folder], check=True)
        yield Chroot(folder)
    finally:
        shutil.rmtree(folder)
