"""`greenlane bench` against a running server: what it counts is what was asked, and a server that stalls is charged for it."""

from __future__ import annotations

import json
import signal
import threading
import time
import xml.etree.ElementTree

import pytest

from feed import following
from harness import Server, eventually

CODES = ["--enterprises", "3000000000:10"]
NANOSECONDS = 1_000_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with following(tmp_path_factory.mktemp("bench")) as server:
        yield server


def bench(server: Server, *arguments: str, code: int = 0) -> list[dict]:
    done = server.command("bench", "--output", "json", *CODES, *arguments, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("arguments, calls, decisions", [
    (["--shape", "unary"], 300, 300),
    (["--shape", "unary", "--connections", "4", "--threads", "2"], 300, 300),
    (["--shape", "stream", "--connections", "2"], 300, 300),
    (["--shape", "batch", "--batch", "10"], 30, 300),
])
def test_every_decision_that_is_counted_was_asked_for_and_given(server, arguments, calls, decisions):
    before = server.metric("greenlane_decisions_total")
    run, = bench(server, "--rate", "200", "--duration", "1500ms", "--warm-up", "500ms", *arguments)
    assert abs(run["decisions"] - decisions) <= 10 and abs(run["calls"] - calls) <= 2, run
    assert run["failures"] == {} and run["asked_per_second"] == 200
    # Those of the warm-up were given too.
    assert abs(server.metric("greenlane_decisions_total") - before - 400) <= 10
    latency = run["latency_ns"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["p99.99"] <= latency["max"]


def test_declarations_of_a_file_are_asked_each_under_a_number_of_its_own(server, tmp_path):
    file = tmp_path / "declarations.json"
    file.write_text(json.dumps({
        "declaration_number": "222520261000000099", "direction": "DIRECTION_IMPORT", "customs_office": "2225",
        "parties": [{"role": "PARTY_ROLE_CONSIGNEE", "customs_code": "3000000001"}],
        "goods": [{"hs_code": "854231", "origin_country": "DE"}]}))
    done = server.command("bench", "--output", "json", "--rate", "100", "--duration", "1s", "--warm-up", "0s",
                          "--declarations", file)
    assert done.returncode == 0, done.stderr
    run, = json.loads(done.stdout)
    assert 95 <= run["decisions"] <= 100
    logged = server.command("audit", "query", "--enterprise", "3000000001", "--limit", "0", "--output", "json")
    records = [json.loads(line)["record"] for line in logged.stdout.splitlines()]
    requests = [record["decision"]["request"] for record in records if "decision" in record]
    numbers = [request["declarationNumber"] for request in requests]
    assert len(numbers) >= 95 and len(set(numbers)) == len(numbers)


def test_a_server_that_stalls_is_charged_for_every_call_that_it_kept_waiting(tmp_path):
    with following(tmp_path) as server:
        stalled = threading.Thread(target=stall, args=(server, server.metric("greenlane_decisions_total") + 50))
        stalled.start()
        run, = bench(server, "--rate", "200", "--duration", "4s", "--warm-up", "0s", "--timeout", "30s")
        stalled.join()
        # A second of four: of the calls a fifth at least would have left meanwhile, and half of these waited for half of it.
        assert run["failures"] == {} and run["calls"] >= 790
        assert run["latency_ns"]["p90"] > 0.3 * NANOSECONDS, run["latency_ns"]


def stall(server: Server, after: float):
    eventually(lambda: server.metric("greenlane_decisions_total") >= after, 60, "the load has begun")
    server.signal(signal.SIGSTOP)
    time.sleep(1)  # the length of the standstill is what is tested
    server.signal(signal.SIGCONT)


def test_what_is_not_answered_is_told_by_its_code_and_by_the_exit_code(tmp_path):
    with following(tmp_path) as server:
        ended = threading.Thread(target=end, args=(server, server.metric("greenlane_decisions_total") + 50))
        ended.start()
        run, = bench(server, "--rate", "200", "--duration", "3s", "--warm-up", "0s", "--timeout", "1s", code=1)
        ended.join()
        assert run["decisions"] >= 50 and run["failed"] > 0 and "Unavailable" in run["failures"], run["failures"]


def end(server: Server, after: float):
    eventually(lambda: server.metric("greenlane_decisions_total") >= after, 60, "the load has begun")
    assert server.stop() == 0


def test_the_curve_is_of_what_the_server_can_do_and_is_drawn(server, tmp_path):
    plot = tmp_path / "curve.svg"
    runs = bench(server, "--curve", "10,30", "--duration", "1s", "--warm-up", "200ms", "--plot", str(plot))
    assert [run["percent_of_capacity"] for run in runs] == [10, 30]
    assert runs[1]["asked_per_second"] == pytest.approx(3 * runs[0]["asked_per_second"])
    drawn = xml.etree.ElementTree.parse(plot)
    names = {element.text.strip() for element in drawn.iter() if element.tag.endswith("text") and element.text}
    assert {"latency by load", "p50", "p99.9", "max"} <= names
    assert sum(element.tag.endswith("polyline") for element in drawn.iter()) >= 6


def test_a_server_elsewhere_is_loaded_only_when_that_is_meant(server):
    there = ["--server", "http://192.0.2.1:50051"]
    done = server.command("bench", *there, "--duration", "1s")
    assert done.returncode == 1 and "--remote" in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [
    ["--enterprises", "12:3"], ["--rate", "0"], ["--rate", "nan"], ["--batch", "1001"], ["--connections", "0"],
    ["--curve", "10", "--rate", "5"], ["--duration", "ten"],
])
def test_a_load_that_cannot_be_is_refused(server, arguments):
    done = server.command("bench", *arguments)
    assert done.returncode in (1, 2) and done.stderr, done.stdout


def test_people_get_a_table(server):
    done = server.command("bench", *CODES, "--rate", "100", "--duration", "1s", "--warm-up", "0s")
    assert done.returncode == 0 and "p99.99" in done.stdout and "decided/s" in done.stdout and "none" in done.stdout
