"""Latencies of the real server under load at a constant rate: over what it can do, and for a minute at half of that while rows
change and a snapshot is swapped.

    benches/open_loop.py [--enterprises 1000000] [--seconds 60] [--plot curve.svg]

The server has one worker and core 0; whoever loads it and who changes the store have core 1. Everything is on as it is by
default: the audit log, limits, metrics. Run it with the tests' Python (tests/run.sh makes it in target/tests-venv) and
GREENLANE_BIN naming a release build.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/e2e"))

from feed import code, fill  # noqa: E402
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
LONG = 1800.0


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


def change(server, until: threading.Event, swap_after: float):
    """50 commits a second of 20 rows each, and once one that is taken as a snapshot."""
    begun, commit, swapped = time.monotonic(), 0, False
    with contextlib.closing(server.sql()) as sql:
        while not until.wait(max(0.0, begun + commit / 50 - time.monotonic())):
            low = commit * 20 % 2_000
            sql.execute("UPDATE enterprise SET name = ? WHERE customs_code BETWEEN ? AND ?",
                        (f"Firm {commit}", code("REGULAR", low), code("REGULAR", low + 19)))
            commit += 1
            if not swapped and time.monotonic() - begun > swap_after:
                swapped = True
                sql.execute("UPDATE enterprise SET name = 'Swapped' WHERE customs_code BETWEEN ? AND ?",
                            (code("REGULAR", 10_000), code("REGULAR", 10_000 + SWAP)))
    print(f"{commit * 20 / (time.monotonic() - begun):.0f} rows/s changed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enterprises", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--plot", default="curve.svg")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory(prefix="greenlane-open-loop-") as folder, \
            Server(pathlib.Path(folder), SETTINGS).start(wait=False) as server:
        server.wait_for_store()
        with contextlib.closing(server.sql()) as sql:
            fill(sql, "REGULAR", options.enterprises)
        server.wait_ready(LONG)
        pin(server.process.pid, {0})
        curve = bench(server, options.enterprises, "--curve", CURVE, "--duration", "10s", "--plot", options.plot)
        print(json.dumps(curve, indent=1))
        rate = next(run["asked_per_second"] for run in curve if run["percent_of_capacity"] == 50)

        swaps = server.metric("greenlane_upstream_resyncs_total")
        done = threading.Event()
        writer = threading.Thread(target=change, args=(server, done, options.seconds / 2))
        writer.start()
        minute = bench(server, options.enterprises, "--rate", str(rate), "--duration", f"{options.seconds}s")
        done.set()
        writer.join()
        eventually(lambda: server.metric("greenlane_upstream_resyncs_total") > swaps, 60, "a snapshot was swapped")
        print(json.dumps(minute, indent=1))


if __name__ == "__main__":
    main()
