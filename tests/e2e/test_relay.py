"""`greenlane relay` and replicas that have only NATS, against real servers: one, and a cluster of three.

What the stream holds is read by a decoder of the tests' own and compared with the store's log, row by row. Sizes are small
by default; tests/long.sh makes them large.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import random
import shutil
import signal
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from certificates import Authority, Mounted
from feed import assert_same, code, fill, seconds, size, transaction
from guarded import callers_file
from harness import Server, eventually, free_ports, pb
from issuer import AUDIENCE, ISSUER, Issuer
from nats_accounts import Accounts
from nats_servers import BUCKET_STREAM, STREAM, Servers
from postgres_server import Postgres
from relays import Relay

REGULAR = size("RELAY_REGISTER", 2_000)
WRITES = size("RELAY_WRITES", 1_500)
SETTINGS = {"upstream.heartbeat_interval": "200ms", "upstream.timeout": "2s", "log.level": "info"}
# Signals are not instantaneous, nor are two clocks read at once.
SLACK = 0.1


class SqliteOrigin:
    """The store that relays read; replicas reach its rows over NATS alone."""

    def __init__(self, folder, nats: str, _exit):
        maker = Server(folder / "origin")
        maker.start(wait=False)
        maker.wait_for_store()
        maker.stop()
        self.path, self.store, self.url = maker.db, f"sqlite://{maker.db}", nats

    def connect(self):
        connection = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        connection.execute("PRAGMA busy_timeout = 10000")
        return connection


class PostgresOrigin:
    """The same in a PostgreSQL server of its own."""

    def __init__(self, folder, nats: str, exit_: contextlib.ExitStack):
        postgres = exit_.enter_context(Postgres())
        Server(folder / "origin", upstream=postgres).migrate()
        self.store, self.url, self.connect = postgres.url, nats, postgres.connect


BOTH = pytest.mark.parametrize("origin", [SqliteOrigin, PostgresOrigin], ids=["sqlite", "postgres"])


class Relayed:
    """A store, NATS, relays and replicas."""

    def __init__(self, folder, nodes: int = 1, servers: Servers | None = None, origin=SqliteOrigin):
        self.folder = folder
        self.exit = contextlib.ExitStack()
        self.servers = self.exit.enter_context(servers or Servers(folder, nodes))
        self.origin = origin(folder, self.servers.url, self.exit)
        self.sql = self.exit.enter_context(contextlib.closing(self.origin.connect()))
        self.relays: list[Relay] = []
        self.replicas: list[Server] = []

    def register(self, regular: int = REGULAR):
        with transaction(self.sql):
            for tier, count in (("ADVANCED_CERTIFIED", 100), ("REGULAR", regular), ("DISCREDITED", 100)):
                fill(self.sql, tier, count)

    def relay(self, settings=None, store=None) -> Relay:
        folder = self.folder / f"relay-{len(self.relays)}"
        relay = Relay(folder, store or self.origin.store, self.servers.url, settings)
        self.relays.append(self.exit.enter_context(relay))
        return relay

    def replica(self, settings=None, wait: bool = True) -> Server:
        server = Server(self.folder / f"replica-{len(self.replicas)}", SETTINGS | (settings or {}), upstream=self.origin)
        self.replicas.append(server)
        server.start(wait=False)
        self.exit.callback(server.kill)
        if wait:
            server.wait_ready(60)
        return server

    def same(self, deadline: float = 60.0) -> int:
        """Every replica holds what the store does."""
        return [assert_same(replica, deadline) for replica in self.replicas][-1]

    def audit(self) -> list[dict]:
        """The stream holds the store's log from its first reset on, every row once; gives the resets."""
        log = {row[0]: (*row[:4], parsed(row[4])) for row in self.sql.execute(
            "SELECT sequence, entity, key, op, row FROM change_log").fetchall()}
        messages = self.servers.messages()
        assert len({message["id"] for message in messages}) == len(messages)
        at, resets, open_ = None, [], False
        for message in messages:
            if message["kind"] == "reset":
                at = message["to"]
                resets.append(message)
            else:
                assert at is None or message["from"] == at, (at, message["from"], message["to"])
                assert [(*row[:4], parsed(row[4])) for row in message["rows"]] == [log[row[0]] for row in message["rows"]]
                at, open_ = message["to"], message["open"]
        assert not open_
        assert at == max(log)
        return resets


def parsed(row):
    """A row of the log as PostgreSQL gives it, or as its JSON text says."""
    return json.loads(row) if isinstance(row, str) else row


@contextlib.contextmanager
def relayed(folder, nodes: int = 1, replicas: int = 5, relays: int = 1, regular: int = REGULAR, settings=None,
            origin=SqliteOrigin):
    world = Relayed(folder, nodes, origin=origin)
    with world.exit:
        world.register(regular)
        for _ in range(relays):
            world.relay()
        for _ in range(replicas):
            world.replica(settings, wait=False)
        for replica in world.replicas:
            replica.wait_ready(60)
        try:
            yield world
        except BaseException:
            for each in (*world.relays, *world.servers.nodes):
                print(f"--- {each.log}", *each.log.read_text(errors="replace").splitlines()[-25:], sep="\n")
            for replica in world.replicas[:2]:
                print(f"--- {replica.log}", replica.log_tail(25), sep="\n")
            raise


class Writing:
    """Commits of a few rows each from a thread, until so many rows are written."""

    def __init__(self, world: Relayed, rows: int = WRITES, pause: float = 0.002, regular: int = REGULAR):
        self.world, self.rows, self.pause, self.regular = world, rows, pause, regular
        self.written, self.problem = 0, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.go_on = True

    def run(self):
        rng = random.Random(1)
        try:
            with contextlib.closing(self.world.origin.connect()) as sql:
                while self.written < self.rows and self.go_on:
                    with transaction(sql):
                        for _ in range(rng.randint(1, 5)):
                            customs = code("REGULAR", rng.randrange(self.regular))
                            sql.execute("UPDATE enterprise SET name = ? WHERE customs_code = ?",
                                        (f"Firm {self.written}", customs))
                            self.written += 1
                    time.sleep(self.pause)
        except BaseException as problem:  # noqa: BLE001 -- told by the test
            self.problem = problem

    def __enter__(self) -> "Writing":
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.go_on = False
        self.thread.join()
        assert self.problem is None, self.problem

    def past(self, share: float):
        eventually(lambda: self.problem or self.written >= self.rows * share, 120, f"{share} of the writes")

    def done(self):
        self.past(1.0)


class Ages:
    """What a replica claims of its age, all the time: (before, after, age in seconds)."""

    def __init__(self, replica: Server):
        self.replica, self.samples, self.go_on = replica, [], True
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while self.go_on:
            before = time.monotonic()
            status = self.replica.status()
            self.samples.append((before, time.monotonic(), seconds(status.data_age), status.state))
            time.sleep(0.02)

    def __enter__(self) -> "Ages":
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.go_on = False
        self.thread.join()

    def claims(self, since: float, until: float) -> list[float]:
        """When the data was confirmed last, as the answers between two instants have it."""
        return [before - age for before, after, age, _ in self.samples if since <= before and after <= until]


# --- one server ---------------------------------------------------------------------------------------------


@BOTH
def test_replicas_that_have_only_nats_hold_what_the_store_does(tmp_path, origin):
    with relayed(tmp_path, origin=origin) as world:
        world.same()
        with Writing(world) as writing:
            writing.done()
        world.same()
        first, = world.audit()
        assert first["cause"] == 0
        assert all(replica.status().source == "nats" for replica in world.replicas)
        assert all(replica.stop() == 0 for replica in world.replicas)
        assert world.relays[0].stop() == 0


@BOTH
def test_a_commit_too_large_for_a_message_is_seen_whole_and_one_too_large_to_follow_as_a_snapshot(tmp_path, origin):
    with relayed(tmp_path, replicas=2, regular=30_000, origin=origin) as world:
        with transaction(world.sql):
            for n in range(2_000):
                name = f"{random.Random(n).getrandbits(4_000):x}"
                world.sql.execute("UPDATE enterprise SET name = ? WHERE customs_code = ?", (name, code("REGULAR", n)))
        world.same()
        parts = [message for message in world.servers.messages() if message["kind"] == "changes"]
        assert len(parts) > 1 and [part["open"] for part in parts] == [True] * (len(parts) - 1) + [False]
        world.audit()
        with transaction(world.sql):
            world.sql.execute("UPDATE enterprise SET name = 'All' WHERE credit_tier = 'REGULAR'")
        world.same()
        with transaction(world.sql):
            world.sql.execute("UPDATE enterprise SET name = 'One' WHERE customs_code = ?", (code("REGULAR", 5),))
        world.same()
        assert [reset["cause"] for reset in world.audit()] == [0, 4]


def test_a_row_larger_than_any_message_stops_nothing(tmp_path):
    with relayed(tmp_path, replicas=2) as world:
        huge = f"{random.Random(1).getrandbits(10_000_000):x}"
        with transaction(world.sql):
            world.sql.execute("INSERT INTO control_order (id, kind, basis, hs_prefix, valid_from, legal_basis,"
                              " public_reason) VALUES ('huge', 'HOLD', 'TARGETED', '0102', '2026-01-01T00:00:00Z',"
                              " 'Article 1', ?)", (huge,))
        world.same()
        with transaction(world.sql):
            world.sql.execute("DELETE FROM control_order WHERE id = 'huge'")
        world.same()


def test_a_restored_backup_is_seen_through_the_relay_as_a_fork_and_a_new_store_as_a_new_epoch(tmp_path):
    with relayed(tmp_path, replicas=2) as world:
        world.same()
        with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
            world.sql.backup(backup)
        with Writing(world, 100) as writing:
            writing.done()
        world.same()
        # Back to the backup, whose history goes another way from there.
        with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
            backup.backup(world.sql)
        with Writing(world, 300) as writing:
            writing.rows = 300
            writing.done()
        world.same()
        world.sql.execute("UPDATE registry_meta SET epoch = lower(hex(randomblob(16)))")
        world.same()
        causes = [message["cause"] for message in world.servers.messages() if message["kind"] == "reset"]
        assert causes[0] == 0 and causes[-1] == 1 and set(causes[1:-1]) <= {2, 3}, causes


def test_a_stream_made_anew_is_no_continuation(tmp_path):
    with relayed(tmp_path, replicas=2) as world:
        world.same()

        async def delete(js):
            await js.delete_stream(STREAM)
        world.servers.ask(delete)
        with Writing(world, 200) as writing:
            writing.done()
        eventually(lambda: world.servers.info() is not None, 30, "the stream")
        world.same()
        world.audit()


def test_relays_tell_where_the_store_stands_and_permit_four_fetches_at_a_time(tmp_path):
    with relayed(tmp_path, replicas=1) as world:
        world.same()
        head = world.servers.request("greenlane.registry.head")
        epoch, sequence = world.sql.execute("SELECT epoch, sequence FROM registry_meta").fetchone()
        assert (head["epoch"], head["sequence"]) == (epoch, sequence)
        assert head["digest"] == world.replicas[0].status().digest
        assert 0 < head["age_ns"] < 1_000_000_000

        def ask(replica: str) -> dict:
            question = json.dumps({"replica": replica}).encode()
            return world.servers.request("greenlane.registry.permit", question)
        permits = {replica: ask(replica)["granted"] for replica in "abcde"}
        assert permits == {"a": True, "b": True, "c": True, "d": True, "e": False}

        def end(replica: str):
            async def tell(client):
                subject = f"greenlane.registry.permit.{head['relay']}"
                await client.publish(subject, json.dumps({"replica": replica, "ended": True}).encode())
            world.servers.connected(tell)
        end("b")
        eventually(lambda: ask("e")["granted"], 10, "room for another")
        assert not ask("f")["granted"]
        waits = world.replica(wait=False)
        eventually(lambda: "listening" in waits.log_tail(), 20, "the replica has started")
        with pytest.raises(TimeoutError):
            waits.wait_ready(2)
        end("a")
        waits.wait_ready(20)


def test_a_connection_is_encrypted_and_both_sides_are_who_they_say(tmp_path):
    made = Certificates(tmp_path / "certificates")
    config = (f'tls {{ cert_file: "{made.path("server.pem")}", key_file: "{made.path("server.key")}",'
              f' ca_file: "{made.path("ca.pem")}", verify: true }}\n'
              'authorization { user: relay, password: "p@ss:w/rd" }')
    login = {"tls": made.context(), "user": "relay", "password": "p@ss:w/rd"}
    servers = Servers(tmp_path, config=config, login=login)
    servers.url = f"tls://relay:p%40ss%3Aw%2Frd@localhost:{servers.nodes[0].port}"
    trust = {"upstream.tls_ca_file": made.path("ca.pem")}
    known = trust | {"upstream.tls_certificate_file": made.path("client.pem"),
                     "upstream.tls_key_file": made.path("client.key")}
    world = Relayed(tmp_path, servers=servers)
    with world.exit:
        world.register()
        relay = world.relay(known)
        world.replica(known)
        world.same()
        assert "p@ss" not in relay.log_text() and "p%40" not in relay.log_text()
        strangers = [world.relay({}), world.relay(trust)]
        for stranger in strangers:
            eventually(lambda: "does not answer" in stranger.log_text(), 30, "a refused connection")
            assert "p@ss" not in stranger.log_text() and "p%40" not in stranger.log_text()
            stranger.kill()
        world.same()


def of_accounts(folder) -> tuple[Accounts, dict[str, str], Relayed]:
    """Accounts of NATS, the setting that names the credentials for one, and a world where nobody gets in without."""
    accounts = Accounts(folder / "accounts")
    servers = Servers(folder, config=accounts.config, login=accounts.login)
    return accounts, {"upstream.credentials_file": str(accounts.file)}, Relayed(folder, servers=servers)


def test_a_credentials_file_opens_an_account_and_without_it_nobody_gets_in(tmp_path):
    accounts, known, world = of_accounts(tmp_path)
    with world.exit:
        world.register()
        world.relay(known)
        world.replica(known)
        world.same()
        stranger = world.relay({})
        eventually(lambda: "does not answer" in stranger.log_text(), 30, "a refused connection")
        accounts.file.chmod(0o644)
        done = world.replicas[0].command("serve")
        assert done.returncode == 1 and "upstream.credentials_file" in done.stderr and "0644" in done.stderr, done.stderr


def test_a_users_jwt_that_runs_out_is_followed_by_the_one_in_the_file_without_a_restart(tmp_path):
    accounts, known, world = of_accounts(tmp_path)
    with world.exit:
        world.register()
        accounts.write(accounts.issue(seconds=20))
        relay = world.relay(known)
        replica = world.replica(known)
        world.same()
        accounts.write(accounts.token)
        logs = [relay.log_text, replica.log.read_text]
        eventually(lambda: all("disconnected from NATS" in log() for log in logs), 60, "the JWT has run out")
        with Writing(world, 20) as writing:
            writing.done()
        world.same()


class Certificates:
    """An authority, a server and a client, made with openssl."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        folder.mkdir()
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem")
        for name, extension in (("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                                ("client", "extendedKeyUsage=clientAuth")):
            self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                         "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            (folder / f"{name}.ext").write_text(extension)
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                         "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")

    def openssl(self, *arguments: str):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        context.load_cert_chain(self.path("client.pem"), self.path("client.key"))
        return context


def test_two_snapshots_are_kept_and_the_stream_from_the_older_one_on(tmp_path):
    world = Relayed(tmp_path)
    with world.exit:
        world.register()
        world.relay({"upstream.snapshot_interval": "300ms"})
        for _ in range(2):
            world.replica()
        # Stopped, not standing still: what was sent to it already would lie in its connection.
        asleep = world.replicas[1]
        asleep.stop()
        first = world.servers.info().state.first_seq
        with Writing(world, pause=0.01):
            eventually(lambda: world.servers.info().state.first_seq > first + 20, 60, "a shorter stream")
            snapshots = eventually(lambda: 0 < len(world.servers.objects()) <= 2 and world.servers.objects(), 30, "two")
            assert all(name.startswith("snapshot-") for name in snapshots)
            late = world.replica()
        asleep.start()
        world.same()
        # Two snapshots' metadata and chunks, and what a relay may just be putting.
        eventually(lambda: len(world.servers.subjects(BUCKET_STREAM)) <= 6, 30, "nothing else in the bucket")
        assert late.status().registry_version == asleep.status().registry_version
        assert asleep.metrics().get('greenlane_upstream_resyncs_total{cause="gap"}', 0) >= 1


def test_a_server_killed_and_one_restored_from_an_older_copy_lose_nothing(tmp_path):
    with relayed(tmp_path, replicas=2) as world:
        world.same()
        node = world.servers.nodes[0]
        with Writing(world, 600, pause=0.01) as writing:
            writing.past(0.3)
            node.kill()
            shutil.copytree(node.folder / "jetstream", tmp_path / "copy")
            node.start()
            writing.done()
        world.same()
        world.audit()
        node.kill()
        shutil.rmtree(node.folder / "jetstream")
        shutil.copytree(tmp_path / "copy", node.folder / "jetstream")
        node.start()
        with Writing(world, 100) as writing:
            writing.done()
        world.same()
        world.audit()


# --- relays die, stop, and are two -----------------------------------------------------------------------------


@BOTH
def test_of_two_relays_one_publishes_each_row_and_either_may_die_at_any_time(tmp_path, origin):
    with relayed(tmp_path, relays=2, origin=origin) as world:
        with Writing(world) as writing:
            for turn in range(1, 5):
                writing.past(turn / 5)
                relay = world.relays[turn % 2]
                relay.kill()
                relay.start()
            writing.done()
        world.same()
        assert [reset["cause"] for reset in world.audit()] == [0]


@BOTH
def test_a_relay_that_was_away_goes_on_where_the_stream_stands(tmp_path, origin):
    with relayed(tmp_path, replicas=2, origin=origin) as world:
        world.same()
        world.relays[0].kill()
        with Writing(world, 200) as writing:
            writing.done()
        world.relays[0].start()
        world.same()
        assert [reset["cause"] for reset in world.audit()] == [0], "what the stream missed is read from the store's log"


def test_a_snapshot_half_put_is_never_used(tmp_path):
    world = Relayed(tmp_path)
    with world.exit:
        world.register(size("RELAY_SNAPSHOT", 200_000))

        def chunks():
            info = world.servers.info(BUCKET_STREAM)
            return info and info.state.messages > 0

        async def forget(js):
            for stream in STREAM, BUCKET_STREAM:
                await js.delete_stream(stream)
        for _ in range(5):
            relay = world.relay()
            eventually(chunks, 120, "chunks of the first snapshot")
            relay.kill()
            if half := world.servers.info().state.messages == 0:
                break
            # The snapshot was whole before the relay died: once more, from nothing.
            world.servers.ask(forget)
        assert half, "five snapshots were whole before their relays died"
        replica = world.replica(wait=False)
        second = world.relay()
        replica.wait_ready(120)
        world.same(120)
        assert len(world.audit()) == 1
        assert second.running


def test_without_a_relay_replicas_grow_stale_in_time_and_with_one_again_they_do_not(tmp_path):
    with relayed(tmp_path, replicas=2, settings={"freshness.relief_max_age": "2s"}) as world:
        replica = world.replicas[0]
        with Ages(replica) as ages:
            eventually(lambda: len(ages.samples) > 20, 10, "samples")
            stopped = time.monotonic()
            world.relays[0].kill()
            eventually(lambda: replica.status().state == pb.REGISTRY_STATE_STALE, 10, "STALE")
            stale = time.monotonic()
            assert 2 - 0.2 - SLACK <= stale - stopped <= 2 + 1
            assert all(claim <= stopped + SLACK for claim in ages.claims(stopped, stale))
            eventually(lambda: "relay" in replica.status().last_error, 10, "the reason")
            world.relays[0].start()
            eventually(lambda: replica.status().state == pb.REGISTRY_STATE_LIVE, 30, "LIVE")
        world.same()


def told(url: str, context: ssl.SSLContext | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The code and the text of an answer; 0 where there is none."""
    try:
        request = urllib.request.Request(url, headers=headers or {})
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def test_a_relay_is_ready_while_it_answers_replicas_and_tells_its_figures(tmp_path):
    with relayed(tmp_path, replicas=1) as world:
        relay, address = world.relays[0], f"127.0.0.1:{free_ports(1)[0]}"

        def ask(path: str) -> tuple[int, str]:
            return told(f"http://{address}{path}")

        relay.kill()
        relay.start("--http-addr", address)
        eventually(lambda: ask("/livez")[0] == 200, 20, relay.log_text())
        eventually(lambda: ask("/readyz")[0] == 200, 30, relay.log_text())
        assert ask("/startupz")[0] == 200 and ask("/v1/status")[0] == 404
        figures = ask("/metrics")[1].splitlines()
        assert 'greenlane_registry_state{state="live"} 1' in figures
        sequence = world.replicas[0].status().registry_version.sequence
        assert f"greenlane_registry_sequence {sequence}" in figures
        world.servers.nodes[0].kill()
        eventually(lambda: ask("/readyz")[0] == 503, 20, "unready without the stream")
        assert ask("/livez")[0] == 200
        assert relay.stop() == 0


def test_the_figures_of_a_relay_over_tls_are_for_operators_where_callers_are_asked_who_they_are(tmp_path):
    authority, issuer, mounted = Authority("Servers"), Issuer("ES256"), Mounted(tmp_path / "tls")
    mounted.pair(authority.issue())
    (tmp_path / "callers.toml").write_text(callers_file())
    (tmp_path / "keys.json").write_text(issuer.jwks())
    settings = mounted.settings() | {
        "tls.reload_interval": "100ms", "auth.callers_file": str(tmp_path / "callers.toml"),
        "auth.jwks_file": str(tmp_path / "keys.json"), "auth.issuer": ISSUER, "auth.audience": AUDIENCE}
    address, operator = f"127.0.0.1:{free_ports(1)[0]}", issuer.token("operator", "es256")

    def ask(path: str, token: str | None = None, trusted: Authority = authority) -> tuple[int, str]:
        context = ssl.create_default_context(cadata=trusted.pem.decode())
        return told(f"https://{address}{path}", context, {"authorization": f"Bearer {token}"} if token else {})

    with relayed(tmp_path / "world", replicas=1) as world:
        world.relays[0].kill()
        relay = world.relay(settings)
        relay.kill()
        relay.start("--http-addr", address)
        eventually(lambda: ask("/readyz")[0] == 200, 30, relay.log_text())
        assert ask("/livez")[0] == ask("/startupz")[0] == 200, "probes are for anybody"
        assert ask("/metrics")[0] == ask("/metrics", "made-up")[0] == 401
        assert ask("/metrics", issuer.token("operator", "es256", expires_in=-3600))[0] == 401
        assert ask("/metrics", issuer.token("auditor", "es256"))[0] == 403
        assert 'greenlane_registry_state{state="live"} 1' in ask("/metrics", operator)[1].splitlines()
        # A changed file is in force without a start, and so is another pair.
        (tmp_path / "callers.toml").write_text(callers_file(operator=""))
        eventually(lambda: ask("/metrics", operator)[0] == 401, 20, "an operator no more")
        other = Authority("Others")
        mounted.pair(other.issue())
        eventually(lambda: ask("/livez", trusted=other)[0] == 200, 20, "the other pair")
        assert ask("/livez")[0] == 0
        relay.kill()
        open_to_all = world.relay(settings | {"auth.open_metrics": "true"})
        open_to_all.kill()
        open_to_all.start("--http-addr", address)
        eventually(lambda: ask("/metrics", trusted=other)[0] == 200, 30, open_to_all.log_text())


@pytest.mark.parametrize("stopped", ["relay", "nats", "replica"])
def test_a_process_that_stands_still_makes_nothing_look_fresher_than_it_is(tmp_path, stopped):
    with relayed(tmp_path, replicas=1) as world:
        replica = world.replicas[0]
        process = {"relay": world.relays[0], "nats": world.servers.nodes[0], "replica": replica}[stopped]
        with Ages(replica) as ages:
            eventually(lambda: len(ages.samples) > 20, 10, "samples")
            process.signal(signal.SIGSTOP)
            since = time.monotonic()
            time.sleep(4)  # the length of the standstill is what is tested
            until = time.monotonic()
            process.signal(signal.SIGCONT)
            eventually(lambda: ages.claims(until + 0.5, time.monotonic() + 1)[-1:] > [until], 30, "fresh again")
        during, after = ages.claims(since, until), ages.claims(until, time.monotonic())
        assert all(claim <= since + SLACK for claim in during)
        if stopped == "relay":
            # Questions that waited for it are answered, with the age that its last look at the store has.
            assert not [claim for claim in after if since + SLACK < claim < until - SLACK]
        world.same()


# --- three servers ---------------------------------------------------------------------------------------------


def test_a_cluster_loses_a_server_and_then_the_leader_and_no_change(tmp_path):
    with relayed(tmp_path, nodes=3, relays=2) as world:
        world.same()
        assert world.servers.info().config.num_replicas == 3
        assert world.servers.info(BUCKET_STREAM).config.num_replicas == 3
        with Writing(world) as writing:
            writing.past(0.2)
            leader = eventually(world.servers.leader, 30, "a leader")
            other = next(node for node in world.servers.nodes if node is not leader)
            other.kill()
            writing.past(0.4)
            other.start()

            def whole():
                cluster = world.servers.info().cluster
                return cluster and all(peer.current for peer in cluster.replicas)
            eventually(lambda: quietly(whole), 60, "three copies again")
            writing.past(0.6)
            leader = eventually(world.servers.leader, 30, "a leader")
            leader.kill()
            world.relays[0].kill()
            writing.past(0.8)
            leader.start()
            writing.done()
        world.same(120)
        assert [reset["cause"] for reset in world.audit()] == [0]


def quietly(condition):
    """The condition, or nothing while it cannot be told."""
    try:
        return condition()
    except Exception:  # noqa: BLE001 -- a server is away
        return None
