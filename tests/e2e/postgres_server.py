"""A private PostgreSQL for each test that wants one: own data folder, own port on 127.0.0.1, gone at the end.

The cluster is initialised once, into the target folder; each server starts from a copy of that. PostgreSQL refuses to
run as root, so then it runs as the user postgres, in a folder of its own that that user can reach.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import psycopg

from harness import REPO, eventually, free_ports

SETTINGS = {
    "listen_addresses": "127.0.0.1", "max_connections": "60", "shared_buffers": "64MB", "max_wal_size": "4GB",
    # A killed process loses nothing that it handed to the system; only a lost machine would, and none is lost here.
    "fsync": "off",
    "log_line_prefix": "%m [%p] ", "autovacuum_naptime": "5s", "timezone": "Asia/Shanghai",
}
USER = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def programs() -> pathlib.Path:
    """The folder of the newest PostgreSQL there is."""
    if named := os.environ.get("GREENLANE_POSTGRES_BIN"):
        return pathlib.Path(named)
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not found:
        raise RuntimeError("no PostgreSQL below /usr/lib/postgresql: tests/run.sh installs it")
    return found[-1]


def own(path: pathlib.Path):
    """Gives a folder and all that is in it to the user that the server runs as."""
    if USER:
        subprocess.run(["chown", "-R", "postgres:postgres", str(path)], check=True)


def template() -> pathlib.Path:
    """An initialised data folder, made once for each version."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target")
    made = target / "tests-postgres" / programs().parent.name
    made.parent.mkdir(parents=True, exist_ok=True)
    with open(made.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may be the first at once
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="greenlane-initdb-") as scratch:
                folder = pathlib.Path(scratch)
                own(folder)
                subprocess.run([programs() / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust",
                                "--encoding=UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"], check=True, cwd=folder,
                               stdout=subprocess.DEVNULL, **USER)
                partial = made.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(folder / "data", partial)
                partial.rename(made)
    return made


def children(parent: int) -> list[int]:
    """The processes that this one has started and that still run."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Connection(psycopg.Connection):
    """In autocommit, and with `?` for parameters, so that a test's SQL is the same for either store."""

    def execute(self, query, params=None, **kwargs):
        return super().execute(query.replace("?", "%s"), params, **kwargs)


class Postgres:
    """A PostgreSQL server. Faults: `kill9`, `crash`, `freeze`, `terminate_listeners`, `back_up` with `restore`."""

    def __init__(self, **settings: str):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greenlane-postgres-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self._copy(template(), self.data)
        self.port, = free_ports(1)
        self.settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.data)} | settings
        self.process: subprocess.Popen | None = None

    def _copy(self, source: pathlib.Path, target: pathlib.Path):
        subprocess.run(["cp", "-r", "--reflink=auto", str(source), str(target)], check=True)
        own(target)
        target.chmod(0o700)

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    # --- life ---------------------------------------------------------------------------------

    def start(self, hidden: bool = False, deadline: float = 60.0) -> "Postgres":
        """Starts it, and returns once it takes connections; a hidden one takes those of the tests only."""
        settings = self.settings | ({"listen_addresses": ""} if hidden else {})
        arguments = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        # Should the tests be killed, the server stops by itself.
        tied = ["setpriv", "--pdeathsig", "INT"]
        if USER:
            tied += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*tied, str(programs() / "postgres"), "-D", str(self.data), *arguments],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(self._answers, deadline, f"PostgreSQL takes connections:\n{self.log_tail()}")
        return self

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {self.process.returncode}:\n{self.log_tail()}")
        try:
            self.connect(connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False

    def stop(self):
        """Stops it: connections are closed with a FIN, and everything is written."""
        self._end(signal.SIGINT, self.processes()[:1])

    def kill9(self):
        """Kills all of its processes at once."""
        self._end(signal.SIGKILL, self.processes())

    def crash(self):
        """Ends as after a panic: no checkpoint, so that the next start recovers from the log."""
        self._end(signal.SIGQUIT, self.processes()[:1])

    def _end(self, number: int, pids: list[int]):
        if self.process is None:
            return
        everything = self.processes()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
        # What outlives the first process still holds the shared memory, and would keep the next one from starting.
        eventually(lambda: not any(map(alive, everything)), 30, "PostgreSQL's processes are gone")
        self.process = None

    def __enter__(self) -> "Postgres":
        return self if self.process else self.start()

    def __exit__(self, *_):
        try:
            if self.process and self.process.poll() is None:
                self.thaw()
                self.kill9()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """The first process, then its children."""
        return [] if self.process is None else [self.process.pid, *children(self.process.pid)]

    # --- faults -------------------------------------------------------------------------------

    def freeze(self):
        """Stops every process where it is: connections stay open, and nothing ever comes over them. No FIN, no RST."""
        frozen: list[int] = []
        # The first process first: it starts no more of the others then.
        while new := [pid for pid in self.processes() if pid not in frozen]:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            frozen += new

    def thaw(self):
        """Lets them go on."""
        for pid in reversed(self.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def listeners(self) -> list[int]:
        """The backends that wait for notifications."""
        with contextlib.closing(self.connect()) as sql:
            return [pid for pid, in sql.execute(
                "SELECT pid FROM pg_stat_activity WHERE query ILIKE 'listen%' AND pid <> pg_backend_pid()").fetchall()]

    def terminate_listeners(self) -> int:
        """Ends the connections that wait for notifications; gives how many there were."""
        with contextlib.closing(self.connect()) as sql:
            pids = self.listeners()
            for pid in pids:
                sql.execute("SELECT pg_terminate_backend(?)", (pid,))
        return len(pids)

    def back_up(self, name: str):
        """Stops, keeps a copy of everything under that name, and starts again."""
        self.stop()
        self._copy(self.data, self.folder / name)
        self.start()

    def put_back(self, name: str):
        """What `back_up` kept takes the place of the present data; the server must have been stopped, and stays so."""
        assert self.process is None
        shutil.rmtree(self.data)
        self._copy(self.folder / name, self.data)

    # --- use ----------------------------------------------------------------------------------

    def connect(self, **options) -> Connection:
        """A connection of the tests' own, not over the network."""
        return Connection.connect(host=str(self.data), port=self.port, user="postgres", dbname="postgres",
                                  autocommit=True, **options)

    def log_tail(self, lines: int = 30) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Pooler:
    """PgBouncer before a PostgreSQL, in transaction mode: no notification passes it."""

    def __init__(self, postgres: Postgres):
        self.postgres = postgres
        self.port, = free_ports(1)
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> "Pooler":
        folder = self.postgres.folder
        (folder / "users.txt").write_text('"postgres" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={self.postgres.port} dbname=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 2\n"
            "ignore_startup_parameters = extra_float_digits,options\n")
        tied = ["setpriv", "--pdeathsig", "TERM"]
        if USER:
            tied += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        with open(folder / "pgbouncer.log", "ab") as log:
            self.process = subprocess.Popen(
                [*tied, shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", str(folder / "pgbouncer.ini")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self._answers, 30, "PgBouncer takes connections")
        return self

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError((self.postgres.folder / "pgbouncer.log").read_text())
        try:
            with contextlib.closing(Connection.connect(self.url, connect_timeout=2)) as connection:
                connection.execute("SELECT 1")
            return True
        except psycopg.OperationalError:
            return False

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
