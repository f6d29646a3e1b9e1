"""Every front server that weir works behind: one class each, all used alike.

A front is a Weir (weir.py) that comes to life in another way: `start_front()` starts the front server,
`start_serve()` starts weir, or nothing where the front server does that itself.  What a front cannot do, or does in
its own way, it says in class attributes; test_92_fronts.py runs the same tests through all of them.
"""

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess

import apache
import lighttpd
import processes
import weir as house


class Front(house.Weir):
    title = ""  # in the table of the README
    scheme = "http"
    codings = ("gzip",)  # what it compresses with
    no_coding = "no"  # why, when with nothing
    body_limit = 16 << 20  # a body over this many bytes is refused by the front itself; None: it has no bound
    refuses_with = 413  # with this status
    raw_paths = True  # "%2F" reaches weir
    reloads = False  # reload() loses no request

    def front_log(self):
        """What the front server has written into its error log."""
        with open(os.path.join(self.folder, "nginx", "error.log"), errors="replace") as f:
            return f.read()

    def reload(self):
        """New settings for the front server, as an administrator does it."""
        raise NotImplementedError

    def url(self, target):
        return f"{self.scheme}://localhost:{self.port}{target}"


class NginxUnix(Front):
    title = "nginx, unix socket"
    codings = ("gzip", "br")
    reloads = True

    def reload(self):
        self.nginx.send_signal(signal.SIGHUP)


class NginxTcp(NginxUnix):
    title = "nginx, TCP"

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.listen = f"127.0.0.1:{processes.free_port()}"
        self.env["WEIR_LISTEN"] = self.listen

    def start_front(self):
        self.nginx = house.start_nginx(os.path.join(self.folder, "nginx"), self.port, self.state, self.listen)


class Tls:
    """What a front with a certificate has beside the others."""

    scheme = "https"
    plain_port = None  # where it also listens, without TLS

    def http_connection(self, port, timeout=30):
        if port == self.plain_port:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        context = ssl.create_default_context(cafile=self.certificate())
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)

    def certificate(self):
        return os.path.join(self.folder, "weir.crt")

    def make_certificate(self):
        make_certificate(self.certificate(), self.certificate()[:-3] + "key")


class NginxProduction(Tls, NginxUnix):
    """nginx/weir.conf as `nginx/adapt` makes it, with TLS; only names, ports and paths are the test's own."""

    title = "nginx, `weir.conf`: TLS, HTTP/2"
    words = ()  # for adapt

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.plain_port = processes.free_port()
        self.changes = []  # (from, to): a test's own, of weir.conf

    def start_front(self):
        folder = os.path.join(self.folder, "nginx")
        for name in ("", "www", "docs", "docs/docs"):
            os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
        self.make_certificate()
        with open(os.path.join(folder, "weir.conf"), "w") as f:
            f.write(self.adapted(folder))
        config = os.path.join(folder, "nginx.conf")
        with open(config, "w") as f:
            f.write(frame(folder))
        self.nginx = house.run_nginx(folder, config)

    def adapted(self, folder):
        nginx = os.path.join(house.ROOT, "nginx")
        with open(os.path.join(nginx, "weir.conf")) as f:
            text = f.read()
        text = subprocess.run(
            [os.path.join(nginx, "adapt"), *self.words],
            input=text,
            env={**os.environ, "NGINX": processes.program("nginx")},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        text = "".join(line for line in text.splitlines(True) if "listen [::]" not in line)
        for before, after in [*self.places(folder), *self.changes]:
            assert before in text, f"weir.conf has no {before!r}"
            text = text.replace(before, after)
        return text

    def places(self, folder):
        return [
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("listen 80;", f"listen 127.0.0.1:{self.plain_port};"),
            ("unix:/run/weir/", f"unix:{self.state}/"),
            ("/etc/nginx/weir.crt", self.certificate()),
            ("/etc/nginx/weir.key", self.certificate()[:-3] + "key"),
            ("/var/log/nginx/weir.log", os.path.join(folder, "access.log")),
            ("root /var/www/weir;", f"root {folder}/www;"),
            ("root /usr/local/share/doc/weir/html;", f"root {folder}/docs;"),
            ("api.example.com", "localhost"),
        ]


def frame(folder):
    """The nginx.conf around a sites-enabled file, unprivileged and all under `folder`."""
    module = "/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so"
    modules = f"load_module {module};" if os.path.exists(module) else ""
    temps = "".join(f"{k}_temp_path {folder}/{k};" for k in ("client_body", "fastcgi", "proxy", "scgi", "uwsgi"))
    user = "user root;" if os.getuid() == 0 else ""
    return (
        f"{modules} {user} pid {folder}/nginx.pid; error_log {folder}/error.log warn; worker_processes 2;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ include /etc/nginx/mime.types; default_type application/octet-stream; access_log off; {temps}\n"
        f"include {folder}/weir.conf; }}\n"
    )


def make_certificate(certificate, key, subject="/CN=localhost", signer=None, serial=1):
    """Self-signed, or signed by `signer` (its certificate and key)."""
    if os.path.exists(certificate):
        return
    request = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key]
    quiet = {"check": True, "capture_output": True, "text": True}
    if signer is None:
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run([*request, "-x509", "-days", "2", "-subj", subject, *names, "-out", certificate], **quiet)
        return
    asked = subprocess.run([*request, "-subj", subject], **quiet).stdout
    by = ["-CA", signer[0], "-CAkey", signer[1], "-set_serial", str(serial), "-days", "2", "-out", certificate]
    subprocess.run(["openssl", "x509", "-req", *by], input=asked, **quiet)


class SpawnFcgi(NginxUnix):
    """Two workers that spawn-fcgi's companion keeps running; no supervisor, one of them applies the writes.

    multiwatch ends its children with USR1 unless told otherwise, which weir takes as "open your log anew"; -s TERM of
    Debian's version sends QUIT, so they end gracefully, and wait for nginx's kept connections for WEIR_DRAIN.
    """

    title = "nginx, spawn-fcgi and multiwatch"

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.env["WEIR_DRAIN"] = "1s"

    def start_serve(self):
        path = os.path.join(self.state, "weir.sock")
        argv = ["spawn-fcgi", "-n", "-s", path, "--", processes.program("multiwatch"), "-f", "2", "-s", "TERM", "--"]
        self.serve = processes.start(
            [*argv, self.binary, "worker"], env=self.env, cwd=self.folder, log=self.log_path
        )


class SocketActivated(NginxUnix):
    """`weir serve` on a socket that it finds on descriptor 3, as systemd hands it over."""

    title = "nginx, systemd's socket"

    def start_serve(self):
        path = os.path.join(self.state, "weir.sock")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen(512)
        move = f"import os,sys;os.dup2({listening.fileno()}, 3, inheritable=True);"
        code = move + "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');os.execv(sys.argv[1], sys.argv[1:])"
        with listening, open(self.log_path, "ab") as log:
            self.serve = subprocess.Popen(
                ["/usr/bin/python3", "-c", code, self.binary, "serve"],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[listening.fileno()],
            )


class ByOrdinaryUser(Front):
    """All of it belongs to an ordinary user, who runs the front server; it starts weir itself unless a class says else."""

    codings = ("gzip", "br")
    body_limit = 2 << 20  # LimitRequestBody, FcgidMaxRequestLen

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.user = apache.ordinary_user()
        self.env_file = os.path.join(self.folder, "weir.env")
        self.server = None
        self.env["LOG_FILE"] = self.log_path
        # Who runs it may not be able to enter the folder of the one that was built.
        self.binary = shutil.copy(self.binary, os.path.join(self.folder, "weir"))

    def make_database(self):
        super().make_database()
        with open(self.env_file, "w") as f:
            f.writelines(f"{k}={v}\n" for k, v in self.env.items() if os.environ.get(k) != v)
        apache.give(self.folder, self.user)

    def start_front(self):
        self.server = self.make_server().start()
        self.port = self.server.port

    def make_server(self):
        """An Apache or a Lighttpd that is not started yet."""
        raise NotImplementedError

    def start_serve(self):
        pass

    def stop(self):
        if self.server is not None and self.server.process is not None:
            self.server.stop()
        super().stop()

    def front_log(self):
        with open(self.server.log_path, errors="replace") as f:
            return f.read()


COMPRESSES = "AddOutputFilterByType BROTLI_COMPRESS;DEFLATE application/json application/problem+json\n"
COMPRESSING = ("filter", "deflate", "brotli")


class ModFcgid(ByOrdinaryUser):
    title = "Apache, mod_fcgid"
    refuses_with = 500  # as mod_fcgid says it
    conf = "weir.conf"
    modules = ("fcgid",)

    def make_server(self):
        with open(os.path.join(house.ROOT, "apache", self.conf)) as f:
            text = f.read()
        socket_path = os.path.join(self.state, "weir.sock")
        names = f"Define WEIR_PROGRAM {self.binary}\nDefine WEIR_ENV_FILE {self.env_file}\nDefine WEIR_SOCKET {socket_path}\n"
        site = names + text + COMPRESSES + self.more_site()
        return apache.Apache(os.path.join(self.folder, "apache"), site, (*self.modules, *COMPRESSING), self.user)

    def more_site(self):
        return ""


class ModProxyFcgi(ModFcgid):
    title = "Apache, mod_proxy_fcgi"
    refuses_with = 413
    conf = "proxy_fcgi.conf"
    modules = ("proxy", "proxy_fcgi")
    reloads = True

    def start_serve(self):
        argv = [self.binary, "serve", "--env-file", self.env_file]
        self.serve = processes.start(argv, env=house.clean_environment(), cwd=self.folder, log=self.log_path + ".err", user=self.user)

    def reload(self):
        self.server.process.send_signal(signal.SIGUSR1)


class ModProxyFcgiTls(Tls, ModProxyFcgi):
    title = "Apache, mod_proxy_fcgi: TLS, HTTP/2"
    modules = (*ModProxyFcgi.modules, "ssl", "http2")

    def more_site(self):
        self.make_certificate()
        key = self.certificate()[:-3] + "key"
        os.chmod(key, 0o644)  # the folder is the ordinary user's already
        lines = ["Protocols h2 http/1.1", "SSLEngine on", f"SSLCertificateFile {self.certificate()}", f"SSLCertificateKeyFile {key}"]
        return "\n".join(lines) + "\n"


class HtAccess(ByOrdinaryUser):
    """A web root of shared hosting: one program, one .htaccess, a folder of endpoint files; see shared_host.py."""

    title = "Apache, mod_fcgid by `.htaccess`"
    module = "fcgid"
    handler = "fcgid-script"
    body_limit = 128 << 10  # mod_fcgid's own, which no .htaccess can lift
    refuses_with = 500
    raw_paths = False  # AllowEncodedSlashes is not for .htaccess files

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.web = os.path.join(self.folder, "www")
        self.state = os.path.join(self.web, "var")
        self.env["WEIR_STATE_DIR"] = self.state
        self.env_file = os.path.join(self.web, ".env")
        os.makedirs(self.web)
        self.binary = shutil.move(self.binary, os.path.join(self.web, "weir.fcgi"))
        with open(os.path.join(house.ROOT, "apache", "htaccess")) as f:
            text = f.read()
        with open(os.path.join(self.web, ".htaccess"), "w") as f:
            f.write(text.replace("SetHandler fcgid-script", f"SetHandler {self.handler}"))

    def make_server(self):
        folder = os.path.join(self.folder, "apache")
        return apache.Apache(folder, COMPRESSES, (self.module, *COMPRESSING), self.user, self.web, "All")


class Cgi(HtAccess):
    """A process for each request, which applies what is queued before it ends."""

    title = "Apache, CGI by `.htaccess`"
    module = "cgid"
    handler = "cgi-script"
    refuses_with = 413
    body_limit = None  # a gigabyte


class Lighttpd(ByOrdinaryUser):
    title = "lighttpd"
    codings = ()
    no_coding = "`mod_deflate` is another package"
    body_limit = None  # none by itself

    def make_server(self):
        socket_path = os.path.join(self.state, "weir.sock")
        site = f"""
fastcgi.server = ("/api/" => ((
    "socket" => "{socket_path}",
    "bin-path" => "{self.binary} worker --env-file {self.env_file}",
    "max-procs" => 2,
    "check-local" => "disable"
)))
"""
        return lighttpd.Lighttpd(os.path.join(self.folder, "lighttpd"), site, self.user)


ALL = [
    NginxUnix,
    NginxTcp,
    NginxProduction,
    SpawnFcgi,
    SocketActivated,
    ModFcgid,
    ModProxyFcgi,
    ModProxyFcgiTls,
    HtAccess,
    Cgi,
    Lighttpd,
]
