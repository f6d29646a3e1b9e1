"""lighttpd in front of weir: a configuration of its own on a free port, everything under one folder, as an ordinary user."""

import os
import signal

import apache
import processes


class Lighttpd:
    """start(), stop(); `site` is what stands behind the server's own lines."""

    def __init__(self, folder, site, user):
        self.folder = os.path.realpath(folder)
        self.user = user
        self.port = processes.free_port()
        self.document_root = os.path.join(self.folder, "htdocs")
        self.log_path = os.path.join(self.folder, "lighttpd.log")
        self.config = os.path.join(self.folder, "lighttpd.conf")
        self.process = None
        os.makedirs(self.document_root, exist_ok=True)
        with open(self.config, "w") as f:
            f.write(
                'server.modules = ("mod_fastcgi")\n'
                f'server.document-root = "{self.document_root}"\n'
                f'server.errorlog = "{self.log_path}"\n'
                f'server.breakagelog = "{self.log_path}"\n'
                f'server.upload-dirs = ("{self.folder}")\n'
                'server.bind = "127.0.0.1"\n'
                f"server.port = {self.port}\n"
                f"{site}\n"
            )

    def start(self):
        apache.give(self.folder, self.user)
        self.process = processes.start(
            ["lighttpd", "-D", "-f", self.config],
            cwd=self.folder,
            log=os.path.join(self.folder, "lighttpd.out"),
            env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"},
            end_signal=signal.SIGTERM,
            user=self.user,
        )
        return self

    def weirs(self):
        return processes.children_of(self.process.pid)

    def stop(self):
        below = self.weirs()
        processes.stop(self.process, timeout=20)
        left = [pid for pid in below if not processes.ends_within(pid, 10)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        processes.kill_group(self.process)
        self.process = None
        assert not left, f"processes {left} outlived lighttpd"
