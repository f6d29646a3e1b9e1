"""Runs a command as systemd would run it under a unit, as far as that is done by the kernel alone:

    seccomp.py UNIT COMMAND...

SystemCallFilter=, RestrictAddressFamilies=, MemoryDenyWriteExecute=, NoNewPrivileges=, CapabilityBoundingSet= and UMask=
of the unit are in force for the command and all that it starts.  What the filter refuses ends the process with SIGSYS
instead of an error, so that nothing is overlooked.  libseccomp makes the filter; systemd-analyze knows the groups.
"""

import ctypes
import os
import socket
import subprocess
import sys

KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
EQUAL = 4
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65
MDWE_REFUSE_EXEC_GAIN = 1
CAP_LAST = 63

LIBC = ctypes.CDLL(None, use_errno=True)


class Unit:
    """The lines of a unit's [Service]; a name may stand there several times."""

    def __init__(self, path):
        self.lines = []
        section = None
        with open(path) as f:
            for line in f:
                line = line.strip()
                if line.startswith("["):
                    section = line
                elif section == "[Service]" and "=" in line and line[0] not in "#;":
                    self.lines.append(tuple(line.split("=", 1)))

    def all(self, name):
        return [value for key, value in self.lines if key == name]

    def one(self, name):
        (value,) = self.all(name)
        return value


def calls_of(word):
    """A system call, or what is in a group of them."""
    if not word.startswith("@"):
        return {word}
    run = subprocess.run(["systemd-analyze", "syscall-filter", word], check=True, stdout=subprocess.PIPE, text=True)
    words = [line.strip() for line in run.stdout.splitlines()[1:]]
    return set().union(*(calls_of(w) for w in words if w and not w.startswith("#")))


def allowed_calls(lists):
    """As systemd reads several SystemCallFilter= lines: each adds to those before, or with ~ takes away."""
    allowed = set(calls_of("@default"))
    for text in lists:
        words = set().union(*(calls_of(word) for word in text.removeprefix("~").split()))
        allowed = allowed - words if text.startswith("~") else allowed | words
    return allowed


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Filter:
    def __init__(self):
        self.lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.lib.seccomp_init.argtypes = [ctypes.c_uint32]
        self.lib.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.POINTER(Comparison),
        ]
        self.lib.seccomp_load.argtypes = [ctypes.c_void_p]
        self.context = self.lib.seccomp_init(KILL_PROCESS)

    def allow(self, call, *comparisons):
        number = self.lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # another machine's
        array = (Comparison * len(comparisons))(*comparisons)
        if self.lib.seccomp_rule_add_array(self.context, ALLOW, number, len(comparisons), array) != 0:
            raise RuntimeError(f"seccomp takes no rule for {call}")

    def load(self):
        if self.lib.seccomp_load(self.context) != 0:
            raise RuntimeError("the kernel takes no seccomp filter")


def enter(unit):
    """From here on we are what the unit's process may be."""
    families = [getattr(socket, name) for name in unit.one("RestrictAddressFamilies").split()]
    calls = allowed_calls(unit.all("SystemCallFilter"))
    os.umask(int(unit.one("UMask"), 8))
    assert unit.one("CapabilityBoundingSet") == "" and unit.one("NoNewPrivileges") == "yes"
    if os.getuid() == 0:
        for capability in range(CAP_LAST + 1):
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    assert unit.one("MemoryDenyWriteExecute") == "yes"
    LIBC.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)  # kernels before 6.3 do not know it
    f = Filter()
    for call in calls - {"socket"}:
        f.allow(call)
    for family in families:
        f.allow("socket", Comparison(0, EQUAL, family, 0))
    f.load()


def main(argv):
    enter(Unit(argv[1]))
    os.execvp(argv[2], argv[2:])


if __name__ == "__main__":
    main(sys.argv)
