"""Figures of the feed with real stores: how soon a change is in force, and how long and large a whole register is.

    benches/feed.py propagation [--seconds 20]        SQLite, PostgreSQL, NATS at 1,000 changed rows a second
    benches/feed.py load [--enterprises 1000000]      from PostgreSQL, NATS and the file; then 20 fresh snapshots each

Run it with the tests' Python (tests/run.sh makes it in target/tests-venv) and GREENLANE_BIN naming a release build.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/e2e"))

from feed import code, fill  # noqa: E402
from harness import Server, eventually  # noqa: E402
from nats_servers import Servers  # noqa: E402
from postgres_server import Postgres  # noqa: E402
from relays import Relay  # noqa: E402

UNGUARDED = {"upstream.max_drift_rows": "1000000000", "upstream.compare_interval": "24h"}
LONG = 1800.0


class Away:
    """A store that the replica reaches over NATS while the figures write it directly."""

    def __init__(self, url, postgres):
        self.url, self.connect = url, postgres.connect


def buckets(server, name: str) -> list[tuple[float, float]]:
    return sorted((float(sample.split('le="')[1].split('"')[0].replace("+Inf", "inf")), count)
                  for sample, count in server.metrics().items() if sample.startswith(f"{name}_bucket"))


def propagation(server, sql, seconds: int) -> str:
    """50 commits a second of 20 rows each."""
    name = "greenlane_upstream_propagation_seconds"
    before = dict(buckets(server, name))
    begun = time.monotonic()
    for commit in range(seconds * 50):
        time.sleep(max(0.0, begun + commit / 50 - time.monotonic()))
        low = commit * 20 % 2_000
        sql.execute("UPDATE enterprise SET name = ? WHERE customs_code BETWEEN ? AND ?",
                    (f"Firm {commit}", code("REGULAR", low), code("REGULAR", low + 19)))
    took = time.monotonic() - begun
    head = server.version(sql).sequence
    eventually(lambda: server.status().registry_version.sequence >= head, 30, "everything is in force")
    counts = [(bound, count - before[bound]) for bound, count in buckets(server, name)]
    total = counts[-1][1]
    quantiles = " ".join(f"p{share:g} <= {next(b for b, c in counts if c >= total * share / 100) * 1000:g} ms"
                         for share in (50, 99, 99.9))
    return f"{seconds * 1000 / took:6.0f} rows/s, {total:.0f} looks: {quantiles}"


def measure_propagation(folder: pathlib.Path, seconds: int):
    with Server(folder / "sqlite", UNGUARDED).start(wait=False) as server:
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql:
            fill(sql, "REGULAR", 2_000)
            server.wait_ready()
            print("SQLite     ", propagation(server, sql, seconds), flush=True)
    with Postgres() as postgres, Servers(folder) as nats:
        server = Server(folder / "postgres", UNGUARDED, upstream=postgres)
        server.migrate()
        with contextlib.closing(postgres.connect()) as sql:
            fill(sql, "REGULAR", 2_000)
            with server.start():
                print("PostgreSQL ", propagation(server, sql, seconds), flush=True)
            with Relay(folder / "relay", postgres.url, nats.url, UNGUARDED), \
                    Server(folder / "nats", UNGUARDED, upstream=Away(nats.url, postgres)).start() as server:
                print("NATS       ", propagation(server, sql, seconds), flush=True)


def memory(server, what: str) -> float:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) / 1024


def loaded(server, kind: str, enterprises: int, begun: float):
    ready = time.monotonic() - begun
    print(f"{kind:11} ready {ready:.2f} s after its start, {enterprises / ready / 1e6:.2f} M rows/s; "
          f"{memory(server, 'VmRSS'):.0f} MiB, at most {memory(server, 'VmHWM'):.0f} MiB", flush=True)


def resyncs(server) -> float:
    return server.metric("greenlane_upstream_resyncs_total")


def again(server, sql, kind: str, times: int):
    """Fresh snapshots, asked for by a new epoch of the store each."""
    held = [memory(server, "VmRSS")]
    for number in range(times):
        before = resyncs(server)
        sql.execute("UPDATE registry_meta SET epoch = ?", (f"{number:032x}",))
        eventually(lambda: resyncs(server) > before and server.status().registry_version.epoch == f"{number:032x}",
                   LONG, "a fresh snapshot is in force")
        held.append(memory(server, "VmRSS"))
    peak = memory(server, "VmHWM")
    print(f"{kind:11} {times} fresh snapshots: {held[1]:.0f} MiB after the first, {held[-1]:.0f} MiB after the last, "
          f"at most {peak:.0f} MiB = {peak / held[0]:.2f} x", flush=True)


def fill_postgres(sql, enterprises: int):
    """As a dump is restored: past the triggers. One row goes through them, so that the log shows where it stands."""
    begun = time.monotonic()
    sql.execute("SET session_replication_role = replica")
    sql.execute(
        "INSERT INTO enterprise (customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until)"
        " SELECT (1000000000 + i)::text, '9111' || lpad(i::text, 14, '0'), '上海' || i || '进出口有限公司',"
        "  CASE WHEN i % 100 = 0 THEN 'ADVANCED_CERTIFIED' WHEN i % 100 = 1 THEN 'DISCREDITED' ELSE 'REGULAR' END,"
        "  DATE '2020-01-01' + i % 365, CASE WHEN i % 100 = 0 THEN DATE '2030-01-01' END"
        f" FROM generate_series(1, {enterprises}) AS i")
    sql.execute("SET session_replication_role = origin")
    sql.execute("UPDATE enterprise SET name = 'First' WHERE customs_code = '1000000001'")
    sql.execute("ANALYZE enterprise")
    print(f"a store of {enterprises} enterprises, made in {time.monotonic() - begun:.0f} s", flush=True)


def measure_load(folder: pathlib.Path, enterprises: int, times: int):
    with Postgres() as postgres, Servers(folder) as nats, contextlib.closing(postgres.connect()) as sql:
        first = Server(folder / "postgres", UNGUARDED, upstream=postgres)
        first.migrate()
        fill_postgres(sql, enterprises)

        begun = time.monotonic()
        with first.start(deadline=LONG):
            loaded(first, "PostgreSQL", enterprises, begun)
            if times:
                again(first, sql, "PostgreSQL", times)
            first.stop(deadline=300)

        begun = time.monotonic()
        with first.start(deadline=LONG):
            loaded(first, "the file", enterprises, begun)
        for line in first.log.read_text().splitlines():
            if "snapshot file" in line:
                print("   ", re.sub(r"\x1b\[[0-9;]*m", "", line)[:200])

        with Relay(folder / "relay", postgres.url, nats.url, UNGUARDED):
            eventually(nats.objects, LONG, "the relay has put a snapshot")
            begun = time.monotonic()
            with Server(folder / "nats", UNGUARDED, upstream=Away(nats.url, postgres)).start(deadline=LONG) as server:
                loaded(server, "NATS", enterprises, begun)
                if times:
                    again(server, sql, "NATS", times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("propagation").add_argument("--seconds", type=int, default=20)
    load = commands.add_parser("load")
    load.add_argument("--enterprises", type=int, default=1_000_000)
    load.add_argument("--snapshots", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenlane-feed-") as folder:
        if options.command == "propagation":
            measure_propagation(pathlib.Path(folder), options.seconds)
        else:
            measure_load(pathlib.Path(folder), options.enterprises, options.snapshots)


if __name__ == "__main__":
    main()
