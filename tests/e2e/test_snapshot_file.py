"""The snapshot file: a replica starts from it while upstream is away, says how old it is, and then catches up.

GREENLANE_FILE_ENTERPRISES (20000; 1000000 in the long run) and GREENLANE_FILE_KILLS (6; 200) set the sizes.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
import types

import grpc
import pytest

from feed import UNGUARDED, assert_same, caught_up, code, decide, fill, following, seconds, size
from harness import Server, eventually, pb, shifted_clock
from postgres_server import Postgres
from test_postgres_faults import rows
from test_two_writers import compare_decisions, compare_enterprises
from witness import ADVANCED, DISCREDITED, Witness
from writers import CUSTOMS, SOCIAL, writing

ENTERPRISES = size("FILE_ENTERPRISES", 20_000)
KILLS = size("FILE_KILLS", 6)
RELIEF = 2.0
SETTINGS = {"freshness.relief_max_age": "2s", "upstream.heartbeat_interval": "100ms", "upstream.timeout": "1s"}
REGISTER = (("ADVANCED_CERTIFIED", 10), ("REGULAR", 1_000), ("DISCREDITED", 10))


@pytest.fixture
def postgres():
    with Postgres() as postgres:
        yield postgres


def snapshot(server):
    return server.data / "registry.snapshot"


def verified(server, path=None) -> bool:
    done = server.command("snapshot", "verify", path or snapshot(server))
    assert done.returncode not in (101, 134), done.stdout + done.stderr
    return done.returncode == 0


def refusals(server, cause: str) -> float:
    with contextlib.suppress(OSError):  # it does not listen yet
        return server.metric("greenlane_upstream_refusals_total", cause=cause)
    return 0.0


def first_answer(server) -> float:
    """Starts the server; gives the seconds until it first decides."""
    begun = time.monotonic()
    server.start(wait=False)
    while True:
        with contextlib.suppress(grpc.RpcError):
            decide(server, ADVANCED, timeout=1)
            return time.monotonic() - begun
        assert server.process.poll() is None, server.log_tail()
        assert time.monotonic() - begun < 60, server.log_tail()
        time.sleep(0.005)


@pytest.mark.parametrize("away", ["refuses", "is silent"])
def test_a_start_without_upstream_serves_from_the_file_and_says_its_age(tmp_path, postgres, away, capsys):
    register = (("ADVANCED_CERTIFIED", 10), ("REGULAR", ENTERPRISES), ("DISCREDITED", 10))
    with following(tmp_path, postgres, register, SETTINGS) as server:
        assert_same(server)
        held = server.status()
        begun = time.monotonic()
        assert server.stop() == 0
        stopped = time.monotonic()
        if away == "is silent":
            postgres.freeze()
        else:
            # Changes that the file cannot know are made while the replica is down.
            with contextlib.closing(postgres.connect()) as sql:
                for number in range(50):
                    sql.execute("UPDATE enterprise SET credit_tier = 'CERTIFIED' WHERE customs_code = ?",
                                (code("REGULAR", number),))
            postgres.stop()
        assert verified(server)

        took = first_answer(server)
        status, now = server.status(), time.monotonic()
        assert status.source == "file" and status.digest == held.digest
        assert status.registry_version == held.registry_version
        # The store was heard of last while the server stopped; what has passed since is not forgotten.
        assert now - stopped - 0.1 < seconds(status.data_age) < now - begun + 0.5
        with Witness(server, RELIEF) as witness:
            witness.outages.append([stopped, None])
            eventually(lambda: server.status().state == pb.REGISTRY_STATE_STALE, 10, "STALE")
            assert decide(server, DISCREDITED).credit_tier == pb.CREDIT_TIER_DISCREDITED
            witness.back()
            postgres.thaw() if away == "is silent" else postgres.start()
            assert_same(server)
            assert server.status().source == "postgres"
            # It went on from the file: nothing was read anew.
            assert server.metric("greenlane_upstream_resyncs_total") == 0
            missed = 0 if away == "is silent" else 50
            assert server.metric("greenlane_upstream_changes_total") in (missed, 0)
        assert witness.seen["STALE"] and witness.seen["FRESH"]
    with capsys.disabled():
        print(f"\n{ENTERPRISES} enterprises from the file, upstream {away}: first answer after {took:.2f} s; {witness}")


def test_what_is_served_from_the_file_is_row_by_row_what_the_store_held(tmp_path, postgres):
    """The digest is in the file too, so it proves nothing about the rest."""
    with following(tmp_path, postgres, settings=SETTINGS | UNGUARDED) as server:
        with writing(postgres.url, 1_000) as done:
            done()
        with contextlib.closing(postgres.connect()) as sql:
            sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                        " VALUES (?, 'Firm', 'GOLD', '2020-01-01')", (code("REGULAR", 900),))
            held = rows(sql)
        caught_up(server)
        before = server.status()
        server.stop()
        postgres.stop()
        first_answer(server)
        after = server.status()
        assert after.source == "file"
        for field in ("registry_version", "tiers", "control_orders", "recognised_operators", "quarantine", "digest"):
            assert getattr(after, field) == getattr(before, field)
        assert [row.key for row in after.quarantine] == [code("REGULAR", 900)]
        assert decide(server, code("REGULAR", 900)).parties[0].suspended
        del held["enterprise", code("REGULAR", 900)]
        enterprises, scheduled = compare_enterprises(server, held, types.SimpleNamespace(customs=CUSTOMS, social=SOCIAL))
        assert len(enterprises) > 100 and len(scheduled) > 20 and after.control_orders > 10
        compare_decisions(server, held, enterprises, scheduled, CUSTOMS)
        postgres.start()
        caught_up(server)


def test_a_file_older_than_the_limit_is_stale_from_the_first_answer_on(tmp_path, postgres):
    with following(tmp_path, postgres, REGISTER, SETTINGS) as server:
        server.stop()
        postgres.stop()
        # Nobody waits an hour for a test: the server's wall clock goes on by one.
        server.environment = shifted_clock("+1h")
        first_answer(server)
        decision = decide(server, ADVANCED)
        assert decision.freshness == pb.FRESHNESS_STALE
        assert 3_600 < seconds(decision.data_age) < 3_660
        assert decision.credit_tier == pb.CREDIT_TIER_REGULAR
        assert decide(server, DISCREDITED).credit_tier == pb.CREDIT_TIER_DISCREDITED
        postgres.start()
        assert_same(server)
        assert decide(server, ADVANCED).credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED


def test_a_file_from_the_future_is_stale(tmp_path, postgres):
    with following(tmp_path, postgres, REGISTER, SETTINGS, environment=shifted_clock("+1h")) as server:
        server.stop()
        postgres.stop()
        server.environment = {}
        first_answer(server)
        decision = decide(server, ADVANCED)
        assert decision.freshness == pb.FRESHNESS_STALE, seconds(decision.data_age)
        assert seconds(decision.data_age) > RELIEF
        assert decision.credit_tier == pb.CREDIT_TIER_REGULAR
        postgres.start()
        assert_same(server)


def flip(path, share: float):
    raw = bytearray(path.read_bytes())
    raw[int((len(raw) - 1) * share)] ^= 0x40
    path.write_bytes(raw)


def cut(path, share: float):
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(100_000)),
    "cut in half": lambda path: cut(path, 0.5),
    "cut at the last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer by a byte": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "another first bit": lambda path: flip(path, 0.0),
    "another bit early": lambda path: flip(path, 0.01),
    "another bit in the middle": lambda path: flip(path, 0.5),
    "another last bit": lambda path: flip(path, 1.0),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A server on the embedded store that was stopped in order, for copies of it."""
    with following(tmp_path_factory.mktemp("stopped"), register=REGISTER, settings=SETTINGS) as server:
        server.stop()
    return server


def copy_of(stopped, folder) -> Server:
    shutil.copytree(stopped.data, folder / "data")
    return Server(folder, SETTINGS)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_loudly_and_the_store_is_read(tmp_path, stopped, damage):
    server = copy_of(stopped, tmp_path)
    assert verified(server)
    DAMAGE[damage](snapshot(server))
    assert not verified(server)
    with server.start():
        assert_same(server)
        # What does not even begin like one is none of ours.
        assert refusals(server, "torn") + refusals(server, "foreign") == 1
        assert server.metric("greenlane_upstream_resyncs_total", cause="first") == 1
        assert "ERROR" in server.log.read_text()
        server.stop()
    assert verified(server), "the stop did not leave a whole one in its place"


def test_a_damaged_file_is_no_ground_to_decide_on_while_upstream_is_away(tmp_path, postgres):
    with following(tmp_path, postgres, REGISTER, SETTINGS) as server:
        server.stop()
        postgres.stop()
        flip(snapshot(server), 0.7)
        server.start(wait=False)
        eventually(lambda: refusals(server, "torn") == 1, 10, "a refusal")
        time.sleep(1.5)  # well past the moment at which a whole one is put in force
        assert server.status().state == pb.REGISTRY_STATE_LOADING
        with pytest.raises(grpc.RpcError) as caught:
            decide(server, ADVANCED)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        postgres.start()
        server.wait_ready()
        assert_same(server)


def test_a_file_of_another_store_is_refused_as_foreign(tmp_path, stopped):
    with following(tmp_path, register=(("REGULAR", 30), ("ADVANCED_CERTIFIED", 10), ("DISCREDITED", 10)),
                   settings=SETTINGS) as server:
        server.stop()
        shutil.copy(snapshot(stopped), snapshot(server))
        server.start()
        assert_same(server)
        assert not decide(server, code("REGULAR", 500)).parties[0].known
        assert refusals(server, "foreign") == 1
        assert "ERROR" in server.log.read_text()


def test_a_file_from_before_the_log_begins_leads_to_a_fresh_snapshot(tmp_path, postgres):
    with following(tmp_path, postgres, REGISTER, SETTINGS) as server:
        server.stop()
        with contextlib.closing(postgres.connect()) as sql:
            for number in range(5):
                sql.execute("UPDATE enterprise SET credit_tier = 'CERTIFIED' WHERE customs_code = ?",
                            (code("REGULAR", number),))
        trimmed = server.command("--set", "upstream.change_log_retention=0s", "migrate", "--trim")
        assert trimmed.returncode == 0, trimmed.stdout + trimmed.stderr
        with contextlib.closing(postgres.connect()) as sql:
            assert sql.execute("SELECT count(*) FROM change_log").fetchone()[0] <= 1
        server.start()
        assert_same(server)
        assert server.metric("greenlane_upstream_resyncs_total", cause="gap") == 1


def test_kill_9_while_the_file_is_written_leaves_a_usable_one(tmp_path, capsys):
    settings = SETTINGS | {"upstream.snapshot_interval": "20ms"}
    rng, found = random.Random(5), 0
    with following(tmp_path, register=(("REGULAR", ENTERPRISES),), settings=settings) as server:
        for number in range(KILLS):
            eventually(snapshot(server).exists, 30, "a file")
            with contextlib.closing(server.sql()) as sql:
                fill(sql, "ADVANCED_CERTIFIED", 10, first=10 * number)
            time.sleep(rng.random() * 0.3)
            server.kill()
            found += len(list(server.data.glob("registry.snapshot?*")))
            assert verified(server)
            server.start()
            assert_same(server)
            assert server.metric("greenlane_upstream_refusals_total") == 0
        assert len(list(server.data.glob("*snapshot*"))) <= 2, "files that were begun pile up"
    with capsys.disabled():
        print(f"\n{KILLS} kills, {found} in the midst of a file")
