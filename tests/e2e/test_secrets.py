"""Secrets: taken from files, changed without a stop, and told to nobody: not in logs, errors, figures or core dumps."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pathlib
import resource
import signal
import subprocess
import types
import urllib.error
import urllib.request

import pytest

from feed import UNGUARDED, code, decide, fill, transaction
from harness import SECRET, Server, eventually
from nats_servers import Servers
from postgres_server import Postgres
from relays import Relay
from test_draw_commitments import commitments, key_of, month, next_month

REGULAR = code("REGULAR", 0)
NEW_SECRET = "7e57" * 16
FIRST, SECOND = "PLANTED-first-word", "PLANTED-second-word"
LOUD = {"log.level": "trace", "log.request_sample": "1"}


def write(file: pathlib.Path, text: str, mode: int = 0o600) -> pathlib.Path:
    """Puts a file in its place at once, as whoever rotates secrets does."""
    aside = file.with_suffix(".new")
    aside.write_text(text)
    aside.chmod(mode)
    return aside.rename(file)


def page(server: Server, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{server.http_addr}{path}", timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def said(server: Server) -> str:
    """All that a replica says to anybody but a caller who may ask for it."""
    texts = [server.log.read_text(errors="replace")]
    if server.process.poll() is None:
        texts += [page(server, path) for path in ("/metrics", "/console/figures", "/v1/status", "/v1/decide", "/")]
    for arguments in (["serve", "--check-config"], ["serve", "--check-config", "--output", "json"], ["draw", "commitments"],
                      ["draw", "reveal", "--epoch", month()], ["status"]):
        done = server.command(*arguments)
        texts += [done.stdout, done.stderr]
    return "\n".join(texts)


def silent(server: Server, *secrets: str | bytes):
    """Nothing of what the replica says holds a secret, in any of the ways in which one might be written."""
    text = said(server)
    forms = [form for secret in map(lambda s: s.encode() if isinstance(s, str) else s, secrets)
             for form in (secret.decode(errors="replace"), secret.hex(), base64.b64encode(secret).decode(),
                          str(list(secret))[1:-1])]
    assert len(text) > 10_000 and forms
    for form in forms:
        assert form not in text and form.upper() not in text, form


# --- rotation ---------------------------------------------------------------------------------------


def test_the_master_secret_is_replaced_from_a_month_on(tmp_path):
    file = write(tmp_path / "secrets", f"{SECRET}  # since 2024\n{next_month()} {NEW_SECRET}\n")
    with Server(tmp_path, {"draw.master_secret_file": str(file)}).start(wait=False) as server:
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
        server.wait_ready()
        eventually(lambda: next_month() in commitments(server), 30, "commitments")
        told = commitments(server)
        for epoch, secret in ((month(), SECRET), (next_month(), NEW_SECRET)):
            assert told[epoch]["commitment"] == hashlib.sha256(key_of(secret, epoch)).hexdigest()
        assert decide(server, REGULAR)
        assert server.command("draw", "verify", "--month", month()).returncode == 0
        silent(server, SECRET, NEW_SECRET, bytes.fromhex(SECRET), bytes.fromhex(NEW_SECRET))


@pytest.mark.parametrize("text, message", [
    ("\n", "there is no master secret"),
    (f"{SECRET}\n{NEW_SECRET}\n", "line 2: "),
    (f"{SECRET}\n2027-13 {NEW_SECRET}\n", "line 2: "),
    (f"{SECRET[:-2]}\n", "line 1: a master secret must have at least 32 bytes"),
    (f"{SECRET[:-1]}x\n", "line 1: a master secret must be hexadecimal"),
])
def test_a_file_of_master_secrets_that_cannot_be_read_is_refused_by_its_line(tmp_path, text, message):
    file = write(tmp_path / "secrets", text)
    done = Server(tmp_path, {"draw.master_secret_file": str(file)}).command("serve")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert SECRET[:-2] not in done.stdout + done.stderr and NEW_SECRET not in done.stdout + done.stderr


def test_a_signing_key_is_replaced_and_the_log_verifies_by_both(tmp_path):
    server = Server(tmp_path)
    with server.start(wait=False):
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
        server.wait_ready()
        assert decide(server, REGULAR)
        assert server.stop() == 0
    log = server.data / "audit"
    (log / "signing.key").rename(tmp_path / "old.key")
    (log / "signing.pub").rename(tmp_path / "old.pub")
    old = (tmp_path / "old.key").read_text().splitlines()[1]
    with server.start():
        assert decide(server, REGULAR)
        silent(server, old, (log / "signing.key").read_text().splitlines()[1])
        assert server.stop() == 0
    both = ["--public-key", tmp_path / "old.pub", "--public-key", log / "signing.pub"]
    assert server.command("audit", "verify", *both).returncode == 0
    alone = server.command("audit", "verify", "--public-key", log / "signing.pub")
    assert alone.returncode == 1 and "another public key" in alone.stdout, alone.stdout


def test_a_database_password_is_replaced_while_a_replica_runs(tmp_path):
    with Postgres() as postgres:
        rules = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (postgres.data / "pg_hba.conf").write_text(rules)
        with contextlib.closing(postgres.connect()) as sql:
            sql.execute("SELECT pg_reload_conf()")
            sql.execute(f"CREATE ROLE greenlane LOGIN SUPERUSER PASSWORD '{FIRST}'")
        file = write(tmp_path / "password", f"{FIRST}\n")
        store = types.SimpleNamespace(url=postgres.url.replace("postgres@", "greenlane@"), connect=postgres.connect)
        server = Server(tmp_path / "replica", LOUD | UNGUARDED | {"upstream.password_file": str(file)}, upstream=store)
        server.migrate()
        with contextlib.closing(postgres.connect()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
        with server.start():
            assert decide(server, REGULAR)
            with contextlib.closing(postgres.connect()) as sql:
                sql.execute(f"ALTER ROLE greenlane PASSWORD '{SECOND}'")
                sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'greenlane'")
                with transaction(sql):
                    fill(sql, "ADVANCED_CERTIFIED", 1)
            eventually(lambda: "password authentication failed" in server.log.read_text(), 30, "a login that fails")
            assert decide(server, REGULAR), "what is held in memory is still decided on"
            write(file, f"{SECOND}\n")
            server.wait_answering(deadline=60)
            silent(server, FIRST, SECOND, SECRET)
        assert_refused_when_open_to_others(server, file)


def assert_refused_when_open_to_others(server: Server, file: pathlib.Path):
    file.chmod(0o644)
    done = server.command("serve")
    assert done.returncode == 1 and "upstream.password_file" in done.stderr and "0644" in done.stderr, done.stderr


def test_a_password_of_nats_is_replaced_while_a_replica_runs(tmp_path):
    def users(word: str) -> str:
        return ('authorization { users: [ { user: relay, password: "relay" }, '
                f'{{ user: replica, password: "{word}" }} ] }}')

    file = write(tmp_path / "password", FIRST)
    login = {"user": "relay", "password": "relay"}
    with Postgres() as postgres, Servers(tmp_path, config=users(FIRST), login=login) as nats:
        Server(tmp_path / "migrate", upstream=postgres).migrate()
        with contextlib.closing(postgres.connect()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
        node = nats.nodes[0]
        address = f"nats://{{}}@127.0.0.1:{node.port}"
        store = types.SimpleNamespace(url=address.format("replica"), connect=postgres.connect)
        server = Server(tmp_path / "replica", LOUD | UNGUARDED | {"upstream.password_file": str(file)}, upstream=store)
        with Relay(tmp_path / "relay", postgres.url, address.format("relay:relay"), UNGUARDED), server.start(wait=False):
            server.wait_ready(60)
            config = node.folder / "server.conf"
            config.write_text(config.read_text().replace(FIRST, SECOND))
            node.signal(signal.SIGHUP)  # it reads its file again, and puts out whoever has changed
            eventually(lambda: "disconnected from NATS" in server.log.read_text(), 30, "the replica is put out")
            with contextlib.closing(postgres.connect()) as sql, transaction(sql):
                fill(sql, "ADVANCED_CERTIFIED", 1)
            write(file, SECOND)
            server.wait_answering(deadline=60)
            silent(server, FIRST, SECOND)


# --- memory -----------------------------------------------------------------------------------------


def dumps_core(process: subprocess.Popen) -> bool:
    """Ends a process by a signal that dumps core; whether it did."""
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.fixture
def unlimited_core_dumps():
    """Whatever is started meanwhile may dump core, as far as this user may allow it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_process_that_crashes_leaves_no_secrets_in_a_core_dump(tmp_path, unlimited_core_dumps):
    (tmp_path / "other").mkdir()
    if not dumps_core(subprocess.Popen(["sleep", "60"], cwd=tmp_path / "other")):
        pytest.skip("nothing dumps core here")
    with Server(tmp_path / "server").start(wait=False) as server:
        server.wait_for_store()
        assert not dumps_core(server.process)
