"""Latencies of the real server under load at a constant rate: over what it can do, for a minute at half of that while rows
change and a snapshot is swapped, and at a modest rate with and without 50,000 changed rows a second, in turn.

    benches/open_loop.py [--enterprises 1000000] [--seconds 60] [--plot curve.svg] [--only curve|minute|rows] [--rate 30000]

A minute by itself needs a rate.

The server has one worker and core 0; whoever loads it has core 1. Who changes many rows takes what the server leaves of its
core. Everything is on as it is by default: the audit log, limits, metrics. Run it with the tests' Python (tests/run.sh makes it in target/tests-venv) and
GREENLANE_BIN naming a release build.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/e2e"))

from feed import code, fill, transaction  # noqa: E402
from harness import Server, eventually  # noqa: E402

SETTINGS = {
    "server.workers": "1",
    # As they are by default.
    "limits.max_queue_delay": "10ms",
    "drain.propagation": "5s",
    # What is changed here changes tiers by the thousand.
    "upstream.max_drift_rows": "1000000000",
}
CURVE = "10,25,50,75,90,100,110,120"
# Rows of one commit from which on it is taken as a fresh snapshot.
SWAP = 10_001
# Enterprises whose changes are recorded, twice each, by commits of so many rows.
RECORDED = 50_000
COMMIT = 1_000
LONG = 1800.0
ROUNDS = 5


def pin(process: int, cores: set[int]):
    for thread in os.listdir(f"/proc/{process}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


def bench(server, enterprises: int, *arguments: str) -> list[dict]:
    """What `greenlane bench` reports of its runs; it may fail above what the server can do."""
    command = [server.binary, "--server", f"http://{server.grpc_addr}", "--output", "json", "bench",
               "--enterprises", f"{code('REGULAR', 0)}:{enterprises}", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LONG)
    return json.loads(run.stdout)


def give_way():
    """This thread takes what the server leaves of its core: what the loader loses it makes up for at once, and the server
    would be measured by that. Stores are written on other machines."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {0})


def record(server):
    """Rows that were changed in truth, to be put into the log again without what it takes to change them."""
    with contextlib.closing(server.sql()) as sql:
        [before] = sql.execute("SELECT sequence FROM registry_meta").fetchone()
        for name in ("Former Firm", "Later Firm"):
            for low in range(0, RECORDED, COMMIT):
                sql.execute("UPDATE enterprise SET name = ? WHERE customs_code BETWEEN ? AND ?",
                            (name, code("REGULAR", low), code("REGULAR", low + COMMIT - 1)))
        sql.execute("CREATE TABLE recording AS SELECT sequence - ? AS number, entity, key, op, row FROM change_log"
                    " WHERE sequence > ?", (before + 1, before))
        sql.execute("CREATE UNIQUE INDEX recording_number ON recording (number)")
        [recorded] = sql.execute("SELECT count(*) FROM recording").fetchone()
        assert recorded == 2 * RECORDED, recorded
        [last] = sql.execute("SELECT sequence FROM registry_meta").fetchone()
    eventually(lambda: server.metric("greenlane_registry_sequence") >= last, 60, "the server has what was recorded")


def replay(sql, number: int, rows: int):
    """A commit of so many recorded rows from one on."""
    with transaction(sql):
        sql.execute("INSERT INTO change_log (sequence, entity, key, op, row, committed_at)"
                    " SELECT sequence + 1 + number - ?, entity, key, op, row, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
                    " FROM recording, registry_meta WHERE number BETWEEN ? AND ?", (number, number, number + rows - 1))
        sql.execute("UPDATE registry_meta SET sequence = sequence + ?", (rows,))


@contextlib.contextmanager
def changing(server, rows: int, swap_after: float | None = None):
    """50 commits a second of so many rows each, as far as there is time for them, and one that is taken as a snapshot."""
    until = threading.Event()

    def change():
        give_way()
        begun, commit = time.monotonic(), 0
        due = begun
        with contextlib.closing(server.sql()) as sql:
            while not until.wait(max(0.0, due - time.monotonic())):
                replay(sql, commit * rows % (2 * RECORDED), rows)
                commit += 1
                # What could not be written in time is not made up for at once.
                due = max(due + 1 / 50, time.monotonic())
        print(f"{commit * rows / (time.monotonic() - begun):.0f} rows/s changed")

    def swap():
        give_way()
        if not until.wait(swap_after):
            with contextlib.closing(server.sql()) as sql:
                replay(sql, 0, SWAP)

    writers = [threading.Thread(target=change)]
    if swap_after is not None:
        writers.append(threading.Thread(target=swap))
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        until.set()
        for writer in writers:
            writer.join()


def curve(server, options) -> float:
    """Gives half of what the server can do."""
    runs = bench(server, options.enterprises, "--curve", CURVE, "--duration", "10s", "--plot", options.plot)
    print(json.dumps(runs, indent=1))
    return next(run["asked_per_second"] for run in runs if run["percent_of_capacity"] == 50)


def minute(server, options, rate: float):
    swaps = server.metric("greenlane_upstream_resyncs_total")
    with changing(server, 20, options.seconds / 2):
        run = bench(server, options.enterprises, "--rate", str(rate), "--duration", f"{options.seconds}s")
    eventually(lambda: server.metric("greenlane_upstream_resyncs_total") > swaps, 60, "a snapshot was swapped")
    print(json.dumps(run, indent=1))


def rows(server, options):
    modest = ("--rate", "2000", "--duration", "8s", "--warm-up", "1s")
    ratios = []
    for number in range(ROUNDS):
        [quiet] = bench(server, options.enterprises, *modest)
        with changing(server, COMMIT):
            [beside] = bench(server, options.enterprises, *modest)
        p99 = [run["latency_ns"]["p99"] / 1e6 for run in (quiet, beside)]
        ratios.append(p99[1] / p99[0])
        print(f"round {number}: p99 {p99[0]:.2f} ms, while rows change {p99[1]:.2f} ms, failures {beside['failures']}")
    print(f"p99 while rows change: {statistics.median(ratios):.2f} x (median; {min(ratios):.2f} to {max(ratios):.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enterprises", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--plot", default="curve.svg")
    parser.add_argument("--only", choices=["curve", "minute", "rows"])
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory(prefix="greenlane-open-loop-") as folder, \
            Server(pathlib.Path(folder), SETTINGS).start(wait=False) as server:
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql:
            fill(sql, "REGULAR", options.enterprises)
        server.wait_ready(LONG)
        pin(server.process.pid, {0})
        if options.only != "curve":
            record(server)
        rate = options.rate
        if options.only in (None, "curve"):
            rate = curve(server, options)
        if options.only in (None, "minute"):
            minute(server, options, rate)
        if options.only in (None, "rows"):
            rows(server, options)


if __name__ == "__main__":
    main()
