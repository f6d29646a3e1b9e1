"""Executes a Dockerfile without an engine: each stage is a Debian of its own, made by debootstrap.

What weir's Dockerfile uses is known: FROM [AS], RUN, COPY [--from], ENV, WORKDIR, USER, and what describes the image:
CMD, HEALTHCHECK, EXPOSE, VOLUME, STOPSIGNAL.  Anything else is an error, so that nothing is passed over.
"""

import contextlib
import fnmatch
import json
import os
import re
import shlex
import shutil

import chroot

DESCRIBES = ("EXPOSE", "VOLUME", "STOPSIGNAL")

# Where the network looks into TLS, this machine knows its certificates, and what is run in a new system has to be told.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CERTIFICATES_INSIDE = "/run/ca-certificates.crt"


def instructions(text):
    """(WORD, the rest) of each, comments taken out and continued lines joined."""
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.strip().split(None, 1)
            yield word.upper(), rest


class Stage:
    def __init__(self, system):
        self.system = system
        self.env = {}
        self.user = None
        self.workdir = "/"
        self.command = self.health = None
        self.described = {}

    def run(self, *command, **how):
        how.setdefault("env", self.env)
        return self.system.run(*command, user=self.user, cwd=self.workdir, **how)

    def start(self, *command, log, env=None):
        how = {"user": self.user, "env": {**self.env, **(env or {})}, "cwd": self.workdir}
        return self.system.start(*command, log=log, **how)


def ignored_by(root):
    with open(os.path.join(root, ".dockerignore")) as f:
        patterns = [line.strip() for line in f if line.strip()]

    def ignore(folder, names):
        def is_out(name):
            path = os.path.relpath(os.path.join(folder, name), root)
            return any(
                fnmatch.fnmatch(name, p.removeprefix("**/")) if p.startswith("**/") else path == p for p in patterns
            )

        return [name for name in names if is_out(name)]

    return ignore


class Build:
    """`context` is the folder that COPY takes from."""

    def __init__(self, context, stack):
        self.context = context
        self.stack = stack  # of contexts: the systems go with it
        self.stages = {}
        self.stage = None

    def do_from(self, rest):
        image, *name = re.split(r"\s+AS\s+", rest, flags=re.I)
        suite = re.fullmatch(r"debian:(\w+)-slim", image).group(1)
        self.stage = Stage(self.stack.enter_context(chroot.copy_of(suite)))
        self.stages[name[0] if name else ""] = self.stage

    def do_run(self, rest):
        inside = self.stage.system.path(CERTIFICATES_INSIDE)
        env = dict(self.stage.env)
        if os.path.exists(CERTIFICATES):
            shutil.copy(CERTIFICATES, inside)
            env["NODE_EXTRA_CA_CERTS"] = CERTIFICATES_INSIDE
        self.stage.run("/bin/sh", "-c", rest, timeout=1800, alone=True, env=env)
        if os.path.exists(inside):
            os.remove(inside)

    def do_env(self, rest):
        self.stage.env.update(word.split("=", 1) for word in shlex.split(rest))

    def do_workdir(self, rest):
        self.stage.workdir = os.path.join(self.stage.workdir, rest)
        os.makedirs(self.stage.system.path(self.stage.workdir), exist_ok=True)

    def do_user(self, rest):
        self.stage.user = rest

    def do_copy(self, rest):
        words = shlex.split(rest)
        origin, ignore = self.context, ignored_by(self.context)
        if words[0].startswith("--from="):
            origin, ignore = self.stages[words.pop(0)[7:]].system.folder, None
        source, target = words
        inside = os.path.join(self.stage.workdir, target)
        path, source = self.stage.system.path(inside), os.path.join(origin, source.lstrip("/"))
        if os.path.isdir(source):
            shutil.copytree(source, path, dirs_exist_ok=True, ignore=ignore, symlinks=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy2(source, path)

    def do_cmd(self, rest):
        self.stage.command = json.loads(rest)

    def do_healthcheck(self, rest):
        self.stage.health = json.loads(rest[rest.index("CMD ") + 4 :])

    def execute(self, text):
        """The last stage, which is the image."""
        for word, rest in instructions(text):
            if word in DESCRIBES:
                self.stage.described[word] = rest
            else:
                getattr(self, "do_" + word.lower())(rest)
        return self.stage


@contextlib.contextmanager
def image(path, context):
    """The image that a Dockerfile makes."""
    with contextlib.ExitStack() as stack, open(path) as f:
        yield Build(context, stack).execute(f.read())
