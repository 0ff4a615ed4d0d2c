"""Replay: a process that never held the registry decides every logged decision again, from the log's files alone."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import struct
import subprocess
import zlib

import pytest

from feed import caught_up, code, decide, following, transaction
from harness import REPO, Server, pb

CERTIFIED, REGULAR = code("ADVANCED_CERTIFIED", 1), code("REGULAR", 1)
PARAMETERS = REPO / "src/policy/parameters.toml"
DECREE = REPO / "src/policy/decrees/cn-gacc-282.toml"


def greenlane(server: Server, tmp_path: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command in an empty folder, with no store, no settings and no server."""
    empty = tmp_path / "elsewhere"
    empty.mkdir(exist_ok=True)
    done = subprocess.run([server.binary, *map(str, arguments)], cwd=empty, env={}, capture_output=True, text=True,
                          timeout=120)
    assert "panicked" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A log of 300 decisions about two enterprises, across a change of the operating parameters and an order; its store is
    gone. Gives the server that is no more, and the log's folder."""
    tmp_path = tmp_path_factory.mktemp("replay")
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "parameters.toml").write_text(PARAMETERS.read_text())
    settings = {"policy.directory": str(policies), "policy.reload_interval": "20ms"}
    with following(tmp_path / "server", settings=settings) as server:
        for number in range(100):
            decide(server, (CERTIFIED, REGULAR)[number % 2], number=number)
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            sql.execute("INSERT INTO control_order (id, kind, basis, customs_office, valid_from, legal_basis, public_reason)"
                        " VALUES ('O-1', 'HOLD', 'EMERGENCY', '0202', '2020-01-01T00:00:00Z', 'Art 1', 'Held')")
        caught_up(server)
        for number in range(100, 200):
            assert decide(server, (CERTIFIED, REGULAR)[number % 2], number=number).lane == pb.LANE_MANUAL
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            sql.execute("DELETE FROM control_order")
        caught_up(server)
        before = decide(server, REGULAR, number=200).policy.parameters_digest
        text = PARAMETERS.read_text()
        assert "default_baseline_ppm" in text
        (policies / "parameters.toml").write_text(
            "\n".join("default_baseline_ppm = 50000" if line.startswith("default_baseline_ppm") else line
                      for line in text.splitlines()))
        number = 201
        while decide(server, REGULAR, number=number).policy.parameters_digest == before:
            number += 1
            assert number < 5_000
        for later in range(number + 1, number + 100):
            decide(server, (CERTIFIED, REGULAR)[later % 2], number=later)
        server.stop()
        log = tmp_path / "log"
        shutil.copytree(server.data / "audit", log)
        shutil.rmtree(server.data)
        shutil.rmtree(policies)
        yield server, log


def groups(held: bytes):
    """The places of the groups of a segment: where each begins, and its payload."""
    at = 128
    while held[at:at + 4] == b"GLG1":
        length, = struct.unpack_from("<I", held, at + 4)
        yield at, held[at + 68:at + 68 + length]
        at += 68 + length


def varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(written + bytes([value]))


def records(payload: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(payload):
        length, shift = 0, 0
        while True:
            byte = payload[at]
            at, length, shift = at + 1, length | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        found.append(payload[at:at + length])
        at += length
    return found


def rewrite(log: pathlib.Path, copy: pathlib.Path, change) -> pathlib.Path:
    """A copy of a log in which `change` was made to each record; checksums are right again, as a forger would see to."""
    copy.mkdir()
    for segment in sorted(log.glob("*.segment")):
        held = segment.read_bytes()
        written = bytearray(held[:128])
        for at, payload in groups(held):
            altered = []
            for encoded in records(payload):
                record = pb.AuditRecord.FromString(encoded)
                change(record)
                altered.append(record.SerializeToString(deterministic=True))
            payload = b"".join(varint(len(each)) + each for each in altered)
            header = bytearray(held[at:at + 68])
            struct.pack_into("<I", header, 4, len(payload))
            struct.pack_into("<I", header, 12, zlib.crc32(payload))
            struct.pack_into("<I", header, 64, zlib.crc32(bytes(header[:64])))
            written += header + payload
        (copy / segment.name).write_bytes(written)
    return copy


def every_record(log: pathlib.Path):
    for segment in sorted(log.glob("*.segment")):
        for _, payload in groups(segment.read_bytes()):
            yield from (pb.AuditRecord.FromString(each) for each in records(payload))


def told(done: subprocess.CompletedProcess, code: int) -> dict:
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def replay(logged, tmp_path, *arguments, code=0) -> dict:
    server, log = logged
    return told(greenlane(server, tmp_path, "audit", "replay", "--log", log, "--output", "json", *arguments), code)


def test_every_decision_replays_as_equal_where_the_registry_was_never_seen(logged, tmp_path):
    decisions = sum(record.HasField("decision") for record in every_record(logged[1]))
    assert decisions >= 300
    summary = replay(logged, tmp_path)
    assert (summary["decisions"], summary["equal"], summary["differs"]) == (decisions, decisions, 0), summary
    table = greenlane(logged[0], tmp_path, "audit", "replay", "--log", logged[1])
    assert table.returncode == 0 and f"{decisions} equal" in table.stdout


def test_one_decision_and_a_period_can_be_chosen(logged, tmp_path):
    entries = [record.decision for record in every_record(logged[1]) if record.HasField("decision")]
    chosen = entries[150].decision
    assert replay(logged, tmp_path, "--decision", chosen.decision_id)["equal"] == 1
    none = greenlane(logged[0], tmp_path, "audit", "replay", "--log", logged[1], "--decision", "nobody")
    assert none.returncode == 2 and "does not hold" in none.stderr
    at = chosen.decided_at.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    early, late = (replay(logged, tmp_path, flag, at)["decisions"] for flag in ("--to", "--from"))
    assert early + late == len(entries) and 149 <= early <= 151


def test_one_altered_fact_differs_and_is_named(logged, tmp_path):
    place = {"seen": 0}

    def forge(record):
        if record.HasField("decision"):
            place["seen"] += 1
            if place["seen"] == 42:
                record.decision.facts.parties[0].enterprise.credit_tier = pb.CREDIT_TIER_DISCREDITED

    forged = rewrite(logged[1], tmp_path / "forged", forge)
    summary = replay((logged[0], forged), tmp_path, code=1)
    assert (summary["differs"], summary["not_replayable"]) == (1, 0)
    assert summary["equal"] == summary["decisions"] - 1
    named, = summary["named"]
    assert named["outcome"] == "DIFFERS" and "credit_tier" in named["differing_fields"]
    entries = [record.decision for record in every_record(forged) if record.HasField("decision")]
    assert named["decision_id"] == entries[41].decision.decision_id
    # Unaltered, the copy is as good as the log.
    same = rewrite(logged[1], tmp_path / "same", lambda record: None)
    assert replay((logged[0], same), tmp_path)["differs"] == 0


def test_a_policy_that_nobody_knows_is_told_by_its_digest(logged, tmp_path):
    digest = "ab" * 32

    def forget(record):
        if record.HasField("decision"):
            record.decision.decision.policy.digest = digest

    forged = rewrite(logged[1], tmp_path / "forged", forget)
    summary = replay((logged[0], forged), tmp_path)
    assert summary["not_replayable"] == summary["decisions"]
    assert len(summary["named"]) == 20 and digest in summary["named"][0]["explanation"]


# --- what if ----------------------------------------------------------------------------------


def what_if(logged, tmp_path, *arguments) -> dict:
    server, log = logged
    return told(greenlane(server, tmp_path, "policy", "what-if", "--log", log, "--output", "json", *arguments), 0)


def test_what_if_with_what_was_in_force_changes_nothing(logged, tmp_path):
    counted = what_if(logged, tmp_path, "--policy", DECREE)
    assert counted["before"] == counted["after"] and counted["not_replayable"] == 0
    assert counted["before"]["decisions"] >= 300
    assert counted["lane_changes"] == [] and counted["enterprises"] == []
    assert greenlane(logged[0], tmp_path, "policy", "what-if", "--log", logged[1], "--policy", DECREE).returncode == 0


def test_a_decree_that_takes_the_green_channel_away_moves_who_had_it(logged, tmp_path):
    candidate = tmp_path / "candidate.toml"
    candidate.write_text("\n".join(
        line.replace("value = true", "value = false") if line.startswith("green_channel") else line
        for line in DECREE.read_text().splitlines()))
    counted = what_if(logged, tmp_path, "--policy", candidate)
    entries = [record.decision.decision for record in every_record(logged[1]) if record.HasField("decision")]
    green = sum(each.lane == pb.LANE_GREEN for each in entries)
    assert green > 50
    assert counted["before"]["lanes"]["GREEN"] == green and counted["after"]["lanes"]["GREEN"] == 0
    # Certified enterprises keep their simplified review: BLUE.
    assert counted["lane_changes"] == [{"before": "GREEN", "after": "BLUE", "decisions": green}]
    most = counted["enterprises"][0]
    assert most["enterprise"] == CERTIFIED and most["decisions"] == green
    assert counted["before"]["inspections"] == counted["after"]["inspections"] == sum(
        each.inspection.selected for each in entries)


def test_other_parameters_inspect_as_their_draws_say(logged, tmp_path):
    text = PARAMETERS.read_text()
    candidate = tmp_path / "parameters.toml"
    candidate.write_text("\n".join("default_baseline_ppm = 1000000" if line.startswith("default_baseline_ppm") else line
                                   for line in text.splitlines()))
    counted = what_if(logged, tmp_path, "--parameters", candidate)
    # Strictly below 20 % of always is 199999 ppm; a regular enterprise is always opened, unless it is held.
    entries = [record.decision for record in every_record(logged[1]) if record.HasField("decision")]
    drawn = [entry for entry in entries if entry.facts.HasField("draw")]

    def selected(entry) -> bool:
        rate = {pb.CREDIT_TIER_ADVANCED_CERTIFIED: 199_999}.get(entry.decision.credit_tier, 1_000_000)
        return entry.facts.draw.value * 1_000_000 >> 64 < rate

    assert counted["after"]["inspections"] == sum(map(selected, drawn))
    tiers = {each["credit_tier"]: each for each in counted["by_tier_and_office"]}
    assert tiers["REGULAR"]["after"]["mean_rate_ppm"] == 1_000_000
    assert tiers["ADVANCED_CERTIFIED"]["after"]["mean_rate_ppm"] == 199_999


def test_a_candidate_that_is_not_lawful_is_refused(logged, tmp_path):
    candidate = tmp_path / "candidate.toml"
    text = DECREE.read_text()
    candidate.write_text(text.replace("ppm = 200000", "ppm = 1000000").replace("STRICTLY_BELOW", "AT_LEAST"))
    assert candidate.read_text() != text
    done = greenlane(logged[0], tmp_path, "policy", "what-if", "--log", logged[1], "--policy", candidate)
    assert done.returncode not in (0, 101) and "ADVANCED_CERTIFIED" in done.stderr
