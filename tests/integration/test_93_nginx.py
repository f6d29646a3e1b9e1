"""Goal: nginx/weir.conf, the server block for production, does what its comments say."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time

import fronts
import processes
import pytest
import test_92_fronts as suite
import weir as house

HANDLERS = {
    **suite.HANDLERS,
    "whoami.sql": "-- GET /api/v1/whoami\n-- auth: optional\n-- returns: one\nSELECT :tenant AS tenant;\n",
    "mine.sql": "-- GET /api/v1/mine\n-- limit: 1/h by ip\nSELECT 1 AS one;\n",
    "slow.sql": "-- GET /api/v1/slow/:n\n-- param n: integer\n-- returns: one\n-- timeout: 20s\n"
    "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < :n) SELECT max(i) AS i FROM s;\n",
}


@pytest.fixture(scope="module")
def behind(weirs, request, end_weir):
    """Makes a started front whose weir.conf is adapted by `words` and changed by `changes`."""

    def make(kind=fronts.NginxProduction, words=(), changes=(), env=None):
        made = weirs(HANDLERS, {**suite.ENV, "LOG_LEVEL": "info", **(env or {})}, suite.SCHEMA, kind=kind)
        made.words = words
        made.changes = list(changes)
        request.addfinalizer(lambda: end_weir(made, request))
        return made.start()

    return make


@pytest.fixture(scope="module")
def plain(behind):
    return behind()


def is_problem(reply, status):
    assert reply.header("X-Request-Id") == reply.json()["requestId"], "nginx's own answers too"
    return suite.is_problem(reply, status)


def raw(front, data, plain=False):
    """What comes back for bytes that no client library would send."""
    connection = front.http_connection(front.plain_port if plain else front.port)
    connection.connect()
    with connection.sock as s:
        s.sendall(data)
        got = b""
        while piece := s.recv(65536):
            got += piece
        return got


# ---- What nginx answers by itself --------------------------------------------


def test_what_is_too_large_or_malformed_is_a_problem(plain):
    assert is_problem(plain.get("/api/v1/" + "x" * 9000), 414)
    assert is_problem(plain.get("/api/v1/things/1", {"X-Large": "x" * 9000}), 400)
    assert is_problem(suite.jot(plain, "k", "x" * ((16 << 20) + 1)), 413)
    assert is_problem(plain.request("TRACE", "/api/v1/things/1"), 405)
    got = raw(plain, b"GET /api/v1/things/1 HTTP/1.1\r\nbad header\r\nHost: localhost\r\nContent-Length: x\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0] and b"application/problem+json" in head
    assert b"Strict-Transport-Security" in head and json.loads(body)["status"] == 400


def test_plain_http_is_sent_to_tls_with_its_method(plain):
    reply = plain.request("POST", "/api/v1/jots?x=1", body=b"{}", port=plain.plain_port)
    assert reply.status == 308 and reply.header("Location") == "https://127.0.0.1/api/v1/jots?x=1"
    with socket.create_connection(("127.0.0.1", plain.port)) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = s.recv(65536)
    assert b" 400 " in got and b"this port wants TLS" in got


def test_weir_that_is_away_late_or_back(behind):
    front = behind(changes=[("\t\tfastcgi_pass weir;\n", "\t\tfastcgi_pass weir;\n\t\tfastcgi_read_timeout 1s;\n")], env={"WEIR_THREADS": 4})
    late = front.get("/api/v1/slow/15000000")
    assert is_problem(late, 504) and late.header("Retry-After") == "1"
    assert "Idempotency-Key" in late.json()["detail"]
    processes.stop(front.serve)
    away = front.get("/api/v1/things/1")
    assert is_problem(away, 503) and away.header("Retry-After") == "1" and away.header("Cache-Control") == "no-store"
    assert away.header("Strict-Transport-Security") == "max-age=63072000"
    front.start_serve()
    processes.wait_until(lambda: front.get("/api/v1/things/1").status == 200, "weir to be back")


def test_the_outer_wall_answers_like_weirs_limits(behind):
    front = behind(changes=[("rate=1000r/s", "rate=1r/s"), ("burst=2000", "burst=9")])
    replies = [front.get("/api/v1/things/1") for _ in range(30)]
    refused = [r for r in replies if r.status != 200]
    assert len(refused) > 10
    for reply in refused:
        assert is_problem(reply, 429) and reply.header("Retry-After") == "1"
        assert reply.json()["error"] == "Rate limit exceeded"


def test_too_many_at_once_from_one_address(behind):
    front = behind(changes=[("weir_connections 256", "weir_connections 2")], env={"WEIR_THREADS": 8})
    replies = house.all_at_once(6, lambda i: front.get("/api/v1/slow/3000000"))
    assert {r.status for r in replies} == {200, 429}
    assert all(is_problem(r, 429) for r in replies if r.status == 429)


# ---- TLS, and what comes from disk -------------------------------------------


def curl(front, *args):
    argv = ["curl", "-sS", "--cacert", front.certificate(), *args]
    return subprocess.run(argv, capture_output=True, text=True)


def test_tls_is_the_intermediate_profile(plain):
    assert curl(plain, "--tls-max", "1.1", plain.url("/api/v1/health")).returncode != 0
    assert curl(plain, "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-SHA256", plain.url("/api/v1/health")).returncode != 0
    for most in ("1.2", "1.3"):
        run = curl(plain, "--tls-max", most, "-w", "%{http_version} %{http_code}", plain.url("/api/v1/health"))
        assert run.stdout.endswith("2 200"), run
    assert plain.get("/api/v1/health").header("Strict-Transport-Security") == "max-age=63072000"


def test_files_come_from_disk_and_secrets_do_not(plain):
    folder = os.path.join(plain.folder, "nginx")
    for name in ("www/index.html", "www/.env", "docs/docs/index.html", "docs/docs/guide.html"):
        with open(os.path.join(folder, name), "w") as f:
            f.write(name)
    assert plain.get("/").body == b"www/index.html"
    assert plain.get("/docs/").body == b"docs/docs/index.html" and plain.get("/docs/guide").body == b"docs/docs/guide.html"
    assert plain.get("/.env").status == 404 and plain.get("/nothing").status == 404
    assert plain.get("/").header("Strict-Transport-Security") == "max-age=63072000"


# ---- Who asks ----------------------------------------------------------------


def test_no_header_of_the_client_becomes_a_parameter_of_the_front(plain):
    forged = {"Tenant-Id": "acme", "Tenant_Id": "acme", "Request-Id": "x", "Remote-Addr": "203.0.113.9"}
    assert plain.get("/api/v1/whoami", forged).json() == {"tenant": ""}


class Probe:
    """A FastCGI server that answers with the parameters that it got."""

    def __init__(self, path):
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(path)
        self.listening.listen(16)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        import fcgi

        while True:
            try:
                s, _ = self.listening.accept()
            except OSError:
                return
            with s:
                connection = fcgi.Connection.__new__(fcgi.Connection)
                connection.socket, params = s, b""
                while True:
                    kind, _, content = connection.read_record()
                    params += content if kind == fcgi.PARAMS else b""
                    if kind == fcgi.STDIN and not content:
                        break
                out = b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n" + params
                s.sendall(fcgi.stream(fcgi.STDOUT, out) + fcgi.record(fcgi.END, b"\0" * 8))

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


def test_a_proxy_header_is_nobodys_proxy(behind):
    """HTTPoxy (CVE-2016-5385); seen by a stand-in for weir, since weir would not look at it anyway."""
    front = behind()
    path = os.path.join(front.state, "probe.sock")
    probe = Probe(path)
    front.changes = [(f"unix:{front.state}/weir.sock", f"unix:{path}")]
    processes.stop(front.nginx)
    front.start_front()
    processes.wait_until(lambda: front_is_up(front), "nginx")
    got = front.get("/api/v1/x", {"Proxy": "http://evil.example", "X-Kept": "yes"}).body
    probe.close()
    assert b"HTTP_X_KEPTyes" in got and b"evil.example" not in got


def front_is_up(front):
    try:
        return front.get("/").status in (200, 403, 404)
    except OSError:
        return False


def test_admin_paths_are_for_this_machine_only(behind):
    front = behind(words=("forwarded",), changes=[("set_real_ip_from 10.0.0.0/8", "set_real_ip_from 127.0.0.0/8")])
    processes.wait_until(lambda: front.admin("/ready").status == 200, "weir to be ready")
    for path in ("/live", "/ready"):
        assert front.get(path, {"X-Forwarded-For": "127.0.0.1"}).status == 200
        refused = front.get(path, {"X-Forwarded-For": "203.0.113.9"})
        assert is_problem(refused, 403)
        assert is_problem(front.get(path, {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}), 403), "the balancer's word counts"
    one = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
    assert [front.get("/api/v1/mine", one).status for _ in range(2)] == [200, 429]
    assert front.get("/api/v1/mine", {"X-Forwarded-For": "203.0.113.9, 203.0.113.10"}).status == 200


def test_the_address_comes_by_the_proxy_protocol(behind):
    change = ("set_real_ip_from 10.0.0.0/8", "set_real_ip_from 127.0.0.0/8")
    listen = "listen 443 ssl"  # what the class looks for, with the word that adapt has put behind it
    front = behind(kind=BehindProxyProtocol, words=("proxy-protocol",), changes=[change])
    assert listen not in front.adapted(os.path.join(front.folder, "nginx"))
    for source, status in (("203.0.113.20", 200), ("203.0.113.20", 429), ("203.0.113.21", 200)):
        front.source = source
        forged = {"X-Forwarded-For": "198.51.100.99"}
        assert front.get("/api/v1/mine", forged).status == status
    front.source = "203.0.113.22"
    assert is_problem(front.get("/live"), 403)
    front.source = "127.0.0.1"


class BehindProxyProtocol(fronts.NginxProduction):
    """Plays the load balancer: says in front of each connection who the client is."""

    source = "127.0.0.1"

    def http_connection(self, port, timeout=30):
        connection = super().http_connection(port, timeout)
        context = ssl.create_default_context(cafile=self.certificate())

        def connect():
            s = socket.create_connection(("127.0.0.1", port), timeout)
            s.sendall(f"PROXY TCP4 {self.source} 127.0.0.1 40000 {port}\r\n".encode())
            connection.sock = context.wrap_socket(s, server_hostname="localhost")

        connection.connect = connect
        return connection


def test_the_tenant_comes_from_a_client_certificate(behind):
    class WithClients(fronts.NginxProduction):
        def places(self, folder):
            self.ca = (os.path.join(folder, "ca.crt"), os.path.join(folder, "ca.key"))
            fronts.make_certificate(*self.ca, subject="/CN=our own CA")
            return [*super().places(folder), ("/etc/nginx/weir-clients.crt", self.ca[0])]

    front = behind(kind=WithClients, words=("client-certs",))
    folder = os.path.join(front.folder, "nginx")

    def ask(subject, signer):
        name = os.path.join(folder, f"client{time.monotonic_ns()}")
        fronts.make_certificate(name + ".crt", name + ".key", subject, signer, serial=time.monotonic_ns())
        run = curl(front, "--cert", name + ".crt", "--key", name + ".key", front.url("/api/v1/whoami"))
        return json.loads(run.stdout)

    assert ask("/O=Acme Inc/CN=acme", front.ca) == {"tenant": "acme"}
    assert ask("/O=x,CN=acme/OU=y", front.ca) == {"tenant": ""}, "an organisation may be called anything"
    assert ask("/CN=acme, Inc", front.ca) == {"tenant": ""}, "no name that could be read in two ways"
    assert ask("/CN=acme", None)["status"] == 400, "nobody of ours has signed it"
    assert front.get("/api/v1/whoami").json() == {"tenant": ""}, "without a certificate it is nobody"


# ---- The log, and several hosts ----------------------------------------------


def access_log(front):
    path = os.path.join(front.folder, "nginx", "access.log")
    with open(path) as f:
        return [json.loads(line) for line in f]


def test_the_log_knows_request_and_trace(plain):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "User-Agent": 'a "quoted"\\agent'}
    ids = {}
    for name, headers in (("given", given), ("new", {}), ("bad", {"traceparent": f"00-{trace}-0000000000000000-01"})):
        ids[name] = plain.get(f"/api/v1/things/1?{name}", headers).header("X-Request-Id")

    def lines():
        found = {line["request_id"]: line for line in access_log(plain)}
        return found if all(i in found for i in ids.values()) else None

    nginx = processes.wait_until(lines, "the access log")
    weir = {line["request_id"]: line for line in plain.log_lines() if line["event"] == "request"}
    for name, request_id in ids.items():
        assert nginx[request_id]["trace_id"] == weir[request_id]["trace_id"], "both logs name one trace"
        assert nginx[request_id]["trace_id"] == (trace if name == "given" else request_id)
    line = nginx[ids["given"]]
    assert line["status"] == 200 and line["uri"] == "/api/v1/things/1?given" and line["agent"] == 'a "quoted"\\agent'
    assert line["weir_status"] == "200" and line["tls"].startswith("TLSv1.") and line["cache"].startswith("weir; ")


def test_several_hosts_and_one_of_them_falls_out(weirs, request, end_weir, behind):
    """Reads and writes go on; what a host has accepted, it applies."""
    hosts = []
    for _ in range(2):
        port = processes.free_port()
        made = weirs(HANDLERS, {**suite.ENV, "WEIR_LISTEN": f"127.0.0.1:{port}"}, suite.SCHEMA, front=False)
        made.listen = f"127.0.0.1:{port}"
        request.addfinalizer(lambda made=made: end_weir(made, request))
        hosts.append(made.start())

    class TwoHosts(fronts.NginxProduction):
        def adapted(self, folder):
            lone = f"\tserver unix:{self.state}/weir.sock max_fails=0;\n"
            text = super().adapted(folder)
            assert text.count(lone) == 6
            both = "".join(f"\tserver {h.listen} max_fails=3 fail_timeout=2s;\n" for h in hosts)
            return text.replace(lone * 3, both * 2)

        def start_serve(self):
            pass

    front = behind(kind=TwoHosts)
    with suite.Load(front) as load:
        time.sleep(0.7)
        os.killpg(hosts[0].serve.pid, signal.SIGKILL)  # supervisor and workers, as a power cut does it
        hosts[0].serve.wait()
        time.sleep(1.5)
    assert load.lost == [] and load.answers > 50
    hosts[0].start_serve()

    def all_there():
        return {row[0] for h in hosts for row in h.rows("SELECT id FROM jots")} >= set(load.accepted)

    processes.wait_until(all_there, "all that either host has accepted")


# ---- A front that is restarted -----------------------------------------------


@pytest.fixture
def daemon(behind, request):
    """A front whose nginx is a daemon, for one that is still its starter's child refuses USR2; and its pid file."""
    front = behind()
    processes.stop(front.nginx)
    folder = os.path.join(front.folder, "nginx")
    pid_file = os.path.join(folder, "nginx.pid")
    config, log = os.path.join(folder, "nginx.conf"), os.path.join(folder, "error.log")
    subprocess.run([processes.program("nginx"), "-p", folder, "-c", config, "-e", log], check=True)

    def end():
        for path in (pid_file, pid_file + ".oldbin"):
            if os.path.exists(path):
                pid = int(read(path))
                os.kill(pid, signal.SIGTERM)
                assert processes.ends_within(pid, 10)

    request.addfinalizer(end)
    processes.wait_until(lambda: os.path.exists(pid_file) and front_is_up(front), "nginx")
    return front, pid_file


def test_a_new_nginx_binary_takes_over_under_load(daemon):
    """USR2, then QUIT to the old master: nginx promises that nothing is lost."""
    front, pid_file = daemon
    old = int(read(pid_file))
    with suite.Load(front) as load:
        time.sleep(0.3)
        os.kill(old, signal.SIGUSR2)
        processes.wait_until(lambda: os.path.exists(pid_file + ".oldbin") and os.path.exists(pid_file), "the new master")
        time.sleep(0.5)
        os.kill(old, signal.SIGQUIT)
        assert processes.ends_within(old, 20)
        time.sleep(0.3)
    assert load.lost == [] and load.answers > 50
    assert int(read(pid_file)) != old and front.get("/api/v1/things/1").status == 200
    suite.check_applied(front, load)


def read(path):
    with open(path) as f:
        return f.read()


def test_what_nginx_has_in_hand_is_answered_when_it_stops(behind):
    front = behind(env={"WEIR_THREADS": 8})
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(front.get("/api/v1/slow/700000"))) for _ in range(4)]
    for t in threads:
        t.start()
    time.sleep(0.15)
    front.nginx.send_signal(signal.SIGQUIT)
    for t in threads:
        t.join()
    assert [r.status for r in replies] == [200] * 4
    front.nginx.wait(20)
    front.start_front()
    processes.wait_until(lambda: front_is_up(front), "nginx")
    assert front.get("/api/v1/things/1").status == 200


# ---- Other builds ------------------------------------------------------------


def adapt(tmp_path, version, *words):
    fake = tmp_path / "nginx"
    fake.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    folder = os.path.join(house.ROOT, "nginx")
    with open(os.path.join(folder, "weir.conf")) as f:
        run = subprocess.run(
            [os.path.join(folder, "adapt"), *words], stdin=f, env={**os.environ, "NGINX": str(fake)}, capture_output=True, text=True
        )
    assert run.returncode == 0, run
    return [line.strip() for line in run.stdout.splitlines()]


def test_a_newer_build_gets_http3_and_its_own_spelling(tmp_path):
    lines = adapt(tmp_path, "nginx version: nginx/1.28.0\nbuilt with OpenSSL 3.5.1 1 Jul 2025\nconfigure arguments: --with-http_v3_module")
    assert "http2 on;" in lines and "listen 443 quic reuseport;" in lines and not any("ssl http2" in line for line in lines)
    assert "add_header Alt-Svc 'h3=\":443\"; ma=86400' always;" in lines
    assert [line for line in lines if line.startswith("ssl_ecdh_curve")] == ["ssl_ecdh_curve X25519MLKEM768:X25519:prime256v1:secp384r1;"]


def test_an_older_build_gets_what_it_knows(tmp_path):
    lines = adapt(tmp_path, "nginx version: nginx/1.25.0\nbuilt with OpenSSL 3.0.11 19 Sep 2023\nconfigure arguments: --with-threads")
    assert any(line.startswith("listen 443 ssl http2 backlog=4096;") for line in lines) and "http2 on;" not in lines
    assert not any(line.startswith("listen") and "quic" in line for line in lines)
    assert sum(line.startswith("ssl_ecdh_curve X25519:") for line in lines) == 1


def test_adapt_refuses_a_word_that_it_does_not_know():
    run = subprocess.run([os.path.join(house.ROOT, "nginx", "adapt"), "proxy"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 2 and "usage: adapt" in run.stderr
