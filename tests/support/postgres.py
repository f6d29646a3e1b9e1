"""PostgreSQL with streaming replicas, and PgBouncer in front of them, from Debian's packages.

Everything lies in one folder and listens on free ports of loopback; Debian's own cluster is never touched.  Root
gives the folder to an unprivileged user and runs the servers as that one, for they refuse root.

    servers = Servers(replicas=1)
    servers.primary.sql("CREATE TABLE t (id bigint)")
    servers.bouncer.url("read-1")
    servers.stop()

A killed server has lost nothing that it had committed: without fsync the kernel still has it.
"""

import glob
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile

from processes import as_user, children_of, free_port, program, start, stop, wait_until

ROLE, PASSWORD, DATABASE = "weir", "weir-secret", "weir"

FAST = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
synchronous_commit = on
shared_buffers = 32MB
max_connections = 200
max_wal_senders = 8
max_replication_slots = 8
wal_keep_size = 64MB
wal_retrieve_retry_interval = 200ms
max_wal_size = 256MB
autovacuum_naptime = 10s
log_min_messages = warning
timezone = 'Europe/Berlin'
"""


def unprivileged():
    """Who runs the servers: None for ourselves."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    raise RuntimeError("no user postgres or nobody, expected one to run PostgreSQL as")


def pg_program(name):
    """Of the newest PostgreSQL: Debian keeps the servers' programs out of the PATH."""

    def version(path):
        return int(path.split("/")[4])

    found = [p for p in glob.glob(f"/usr/lib/postgresql/*/bin/{name}") if p.split("/")[4].isdigit()]
    return max(found, key=version) if found else program(name)


def run(argv, user, folder):
    done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, timeout=120, **as_user(user))
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Server:
    """One server process with its children, on a port of its own that it keeps over restarts."""

    end_signal = signal.SIGINT

    def __init__(self, folder, user):
        self.folder = folder
        self.user = user
        self.port = free_port()
        self.process = None
        os.makedirs(folder, mode=0o700)
        if user is not None:
            shutil.chown(folder, user)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), 0o600)
        if self.user is not None:
            shutil.chown(self.path(name), self.user)
        return self.path(name)

    def url(self, database=DATABASE, host="127.0.0.1"):
        return f"postgres://{ROLE}:{PASSWORD}@{host}:{self.port}/{database}"

    def sql(self, text, database=DATABASE):
        """What a statement answers, as the text of psql: rows by line, columns by '|'."""
        return psql(self.url(database), text)

    def answers(self, database=DATABASE):
        try:
            psql(self.url(database), "SHOW server_version" if database != "pgbouncer" else "SHOW VERSION")
            return True
        except RuntimeError:
            return False

    def start(self):
        log = self.path("log")
        self.process = start(self.command(), cwd=self.folder, log=log, end_signal=self.end_signal, user=self.user)
        wait_until(self.answers, f"an answer of {self.command()[0]} (see {log})", 60, [self.process])
        return self

    def all_pids(self):
        """The server first: it makes no more children once it is stopped."""
        return [self.process.pid, *children_of(self.process.pid)]

    def signal_all(self, sig):
        for pid in self.all_pids():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass

    def freeze(self):
        """Stalled: connections stay open and nothing is answered, not even a new connection."""
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def kill(self):
        """kill -9, also of the children, which would only notice after a while."""
        self.freeze()
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.thaw()
        if not stop(self.process, self.end_signal, 20):
            raise RuntimeError(f"{self.command()[0]} did not stop; it was killed")

    def restart(self):
        self.stop()
        return self.start()


class Postgres(Server):
    """A primary, or with `of` its hot standby.  PostgreSQL's fast shutdown is SIGINT."""

    def __init__(self, folder, user, of=None):
        super().__init__(folder, user)
        self.data = self.path("data")
        if of is None:
            self.make_primary()
        else:
            self.make_replica(of)
        self.start()
        if of is None:
            self.admin(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{PASSWORD}'")
            self.admin(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    def command(self):
        return [pg_program("postgres"), "-D", self.data, "-p", str(self.port), "-k", self.folder]

    def make_primary(self):
        # Without a role for ourselves nobody could come in from another machine's user of the same name.
        run(
            [pg_program("initdb"), "-D", self.data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]
            + ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"],
            self.user,
            self.folder,
        )
        with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
            f.write(FAST)
        with open(os.path.join(self.data, "pg_hba.conf"), "a") as f:
            f.write("host replication all 127.0.0.1/32 scram-sha-256\n")

    def make_replica(self, primary):
        source = primary.url().rsplit("/", 1)[0] + "?application_name=replica"
        run(
            [pg_program("pg_basebackup"), "-D", self.data, "-d", source, "-R", "-X", "stream"]
            + ["--checkpoint=fast", "--no-sync"],
            self.user,
            self.folder,
        )

    def answers(self, database="postgres"):
        try:
            return self.admin("SELECT 1") == "1"
        except RuntimeError:
            return False

    def admin(self, text, database="postgres"):
        """As the superuser, who comes in by the unix socket."""
        return psql(f"postgres://postgres@/{database}?host={self.folder}&port={self.port}", text)

    def promote(self):
        self.admin("SELECT pg_promote()")

    def pause_replay(self):
        """Lags from now on: what the primary commits is received and not shown."""
        self.admin("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self.admin("SELECT pg_get_wal_replay_pause_state()") == "paused", "a paused replay")

    def resume_replay(self):
        self.admin("SELECT pg_wal_replay_resume()")

    def catch_up(self, primary):
        """Waits until all that the primary has committed is shown here."""
        lsn = primary.admin("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: self.admin(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "the replay")


class Bouncer(Server):
    """PgBouncer in transaction mode, strict: no startup parameter is ignored for us."""

    def __init__(self, folder, user, databases):
        """`databases`: name to server; any other name is a database of the primary."""
        super().__init__(folder, user)
        rows = "".join(
            f"{name} = host=127.0.0.1 port={server.port} dbname={DATABASE}\n" for name, server in databases.items()
        )
        users = self.write("users.txt", f'"{ROLE}" "{PASSWORD}"\n')
        self.ini = self.write(
            "pgbouncer.ini",
            f"[databases]\n{rows}* = host=127.0.0.1 port={databases[DATABASE].port}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
            f"max_client_conn = 500\ndefault_pool_size = 30\nserver_login_retry = 0.2\nadmin_users = {ROLE}\n"
            f"log_connections = 0\nlog_disconnections = 0\nserver_connect_timeout = 5\nquery_wait_timeout = 10\n",
        )
        self.start()

    def command(self):
        return [program("pgbouncer"), self.ini]

    def answers(self, database="pgbouncer"):
        return super().answers("pgbouncer")


def psql(url, text):
    """Rows by line, columns by '|'."""
    env = dict(os.environ, PGCONNECT_TIMEOUT="10", PGOPTIONS="")
    argv = [program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env=env, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"psql: {done.stderr.strip()}")
    return done.stdout.strip()


class Database:
    """One database of some servers, as a weir is told of it: writes through PgBouncer, reads from the replicas."""

    def __init__(self, servers, name):
        self.servers = servers
        self.name = name
        writes = servers.bouncer or servers.primary
        self.settings = {
            "DB_WRITE_URL": writes.url(name),
            "DB_READ_URL": ",".join(r.url(name) for r in servers.replicas) or writes.url(name),
        }

    def write(self, text):
        """Changes it behind weir's back, and waits until every replica shows it."""
        answer = self.servers.primary.sql(text, self.name)
        for replica in self.servers.replicas:
            replica.catch_up(self.servers.primary)
        return answer


class Servers:
    """A primary, its replicas and PgBouncer, which knows them as `weir`, `read-1`, `read-2` ..."""

    def __init__(self, replicas=1, bouncer=True, folder=None):
        self.user = unprivileged()
        self.temporary = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="weir-pg-")
        self.numbers = itertools.count(1)
        self.primary = self.bouncer = None
        self.replicas = []
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o755)  # the servers' user must come through
        try:
            self.primary = Postgres(os.path.join(self.folder, "primary"), self.user)
            for i in range(replicas):
                self.replicas.append(Postgres(os.path.join(self.folder, f"read-{i + 1}"), self.user, of=self.primary))
            if bouncer:
                names = {f"read-{i + 1}": replica for i, replica in enumerate(self.replicas)}
                self.bouncer = Bouncer(
                    os.path.join(self.folder, "bouncer"), self.user, {DATABASE: self.primary, **names}
                )
        except BaseException:
            self.stop()
            raise

    def all(self):
        return [s for s in (self.bouncer, *self.replicas, self.primary) if s is not None]

    def database(self, load=None):
        """A new database for one weir; `load` is SQL for its tables."""
        name = f"{DATABASE}_{next(self.numbers)}"
        self.primary.admin(f"CREATE DATABASE {name} OWNER {ROLE}")
        made = Database(self, name)
        made.write(load or "")
        return made

    def stop(self):
        """All of them, whatever a test has done to them; then what they left behind, when the folder was ours."""
        for server in self.all():
            server.stop()
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    """For tests in C: says where the servers are, and stops them when its standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    servers = Servers(replicas=0)
    try:
        print(f"{servers.primary.port} {servers.bouncer.port}", flush=True)
        sys.stdin.read()
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
