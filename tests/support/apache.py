"""Apache in front of weir: a configuration of its own on a free port, everything under one folder, as an ordinary user."""

import os
import shutil
import signal
import subprocess

import processes

MODULES = "/usr/lib/apache2/modules"
ALWAYS = ("mpm_event", "authz_core", "authn_core", "dir", "mime", "env", "setenvif", "alias", "rewrite")


def ordinary_user():
    """Who Apache, weir and their folder belong to: ourselves, or, when we are root, somebody who is not."""
    return "nobody" if os.getuid() == 0 else None


def give(path, user):
    """A folder with all that is in it to `user`."""
    if user is None:
        return
    shutil.chown(path, user, "nogroup")
    for folder, names, files in os.walk(path):
        for name in names + files:
            shutil.chown(os.path.join(folder, name), user, "nogroup")


def give_file(path, user):
    """A file that is there then, and is `user`'s."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if user is not None:
        shutil.chown(path, user, "nogroup")


def quoted(path):
    assert '"' not in path and "$" not in path, path
    return f'"{path}"'


class Apache:
    """start(), stop(); `site` is what stands in the virtual host, `modules` what it needs beside ALWAYS."""

    def __init__(self, folder, site, modules, user, document_root=None, allow_override="None"):
        self.folder = os.path.realpath(folder)
        self.user = user
        self.port = processes.free_port()
        self.document_root = document_root or os.path.join(self.folder, "htdocs")
        self.log_path = os.path.join(self.folder, "error.log")
        self.config = os.path.join(self.folder, "apache.conf")
        self.process = None
        os.makedirs(self.document_root, exist_ok=True)
        os.makedirs(os.path.join(self.folder, "fcgid"), exist_ok=True)
        with open(self.config, "w") as f:
            f.write(self.text(site, (*ALWAYS, *modules), allow_override))

    def text(self, site, modules, allow_override):
        f = self.folder
        lines = [f"LoadModule {name}_module {quoted(f'{MODULES}/mod_{name}.so')}" for name in modules]
        lines += [
            f"ServerRoot {quoted(f)}",
            f"DefaultRuntimeDir {quoted(f)}",
            f"PidFile {quoted(f + '/apache.pid')}",
            f"ErrorLog {quoted(self.log_path)}",
            "LogLevel info",
            f"Listen 127.0.0.1:{self.port}",
            "ServerName 127.0.0.1",
            f"Mutex {quoted('file:' + f)} default",
            "TypesConfig /etc/mime.types" if os.path.exists("/etc/mime.types") else "",
            "StartServers 1",
            "ThreadsPerChild 32",
            "MaxRequestWorkers 64",
            "MaxKeepAliveRequests 0",
            "GracefulShutdownTimeout 5",
            f"DocumentRoot {quoted(self.document_root)}",
            "<Directory />\n    AllowOverride None\n    Require all denied\n</Directory>",
            f"<Directory {quoted(self.document_root)}>\n    AllowOverride {allow_override}\n    Require all granted\n</Directory>",
        ]
        if "fcgid" in modules:
            lines += [f"FcgidIPCDir {quoted(f + '/fcgid')}", f"FcgidProcessTableFile {quoted(f + '/fcgid/table')}"]
        if "cgid" in modules:
            lines += [f"ScriptSock {quoted(f + '/cgid.sock')}"]
        return "\n".join([*lines, site, ""])

    def start(self):
        give(self.folder, self.user)
        self.process = processes.start(
            ["apache2", "-f", self.config, "-DFOREGROUND"],
            cwd=self.folder,
            log=os.path.join(self.folder, "apache.out"),
            env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"},
            end_signal=signal.SIGTERM,
            user=self.user,
        )
        return self

    def check(self):
        """`apache2 -t`."""
        return subprocess.run(
            [processes.program("apache2"), "-t", "-f", self.config], capture_output=True, text=True, timeout=30, **processes.as_user(self.user)
        )

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def tree(self):
        """All processes below Apache's first one."""
        found, todo = [], [self.process.pid] if self.process else []
        while todo:
            children = processes.children_of(todo.pop())
            found += children
            todo += children
        return found

    def weirs(self):
        return [pid for pid in self.tree() if "weir" in os.path.basename((processes.command_of(pid) or [""])[0])]

    def httpds(self):
        """The children that answer; not mod_fcgid's process manager, which is the parent of every weir."""
        managers = {processes.parent_of(pid) for pid in self.weirs()}
        return [pid for pid in processes.children_of(self.process.pid) if pid not in managers]

    def stop(self):
        below = self.tree()
        processes.stop(self.process, timeout=20)
        processes.kill_group(self.process)
        self.process = None
        left = [pid for pid in below if not processes.ends_within(pid, 10)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"processes {left} outlived Apache"
