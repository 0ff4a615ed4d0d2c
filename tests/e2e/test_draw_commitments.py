"""Commitments to the keys of the draw: in the store ahead, compared by every replica, revealed in time, and checked."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import hmac
import json
import pathlib
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from feed import UNGUARDED, code, declare, decide, fill, following, size, transaction
from harness import SECRET, Server, eventually, pb, shifted_clock
from nats_servers import Servers
from postgres_server import Postgres
from relays import Relay

REGULAR = code("REGULAR", 0)
OTHER_SECRET = "ff" + SECRET[2:]
OUTSIDER = pathlib.Path(__file__).with_name("outsider_draw.py")


def month(later_days: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(days=later_days, hours=8)).strftime("%Y-%m")


def next_month() -> str:
    first = (datetime.now(UTC) + timedelta(hours=8)).replace(day=1)
    return (first + timedelta(days=31)).strftime("%Y-%m")


def last_month() -> str:
    first = (datetime.now(UTC) + timedelta(hours=8)).replace(day=1)
    return (first - timedelta(days=1)).strftime("%Y-%m")


def key_of(secret: str, epoch: str) -> bytes:
    """HKDF-SHA-256 (RFC 5869) without salt."""
    extracted = hmac.digest(bytes(32), bytes.fromhex(secret), "sha256")
    return hmac.digest(extracted, epoch.encode() + b"\x01", "sha256")


def told(done: subprocess.CompletedProcess, code: int = 0) -> dict:
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def commitments(server: Server, *arguments: str) -> dict[str, dict]:
    listed = told(server.command("draw", "commitments", "--output", "json", *arguments))
    return {each["epoch"]: each for each in listed["commitments"]}


def test_the_same_commitments_are_told_by_the_server_and_from_the_store(tmp_path):
    with following(tmp_path) as server:
        from_store, from_server = commitments(server), commitments(server, "--from-server")
        assert from_store == from_server
        secret = server.secret().hex()
        for epoch in (month(), next_month()):
            assert from_store[epoch]["commitment"] == hashlib.sha256(key_of(secret, epoch)).hexdigest()
            assert "revealedKey" not in from_store[epoch]
        assert from_store[next_month()]["counts"] and "counts" not in from_store[month()]
        table = server.command("draw", "commitments").stdout
        assert "published late" in table and "published ahead" in table
        # The audit log tells of them as well.
        logged = {record.commitment.epoch: record.commitment.commitment for _, record in records(server)
                  if record.HasField("commitment")}
        assert logged == {epoch: each["commitment"] for epoch, each in from_store.items()}


def test_over_nats_the_second_of_two_replicas_with_different_secrets_refuses_to_draw(tmp_path):
    with contextlib.ExitStack() as exit_:
        postgres = exit_.enter_context(Postgres())
        Server(tmp_path / "migrate", upstream=postgres).migrate()
        with contextlib.closing(postgres.connect()) as sql, transaction(sql):
            fill(sql, "REGULAR", 10)
        nats = exit_.enter_context(Servers(tmp_path))
        exit_.enter_context(Relay(tmp_path / "relay", postgres.url, nats.url, UNGUARDED))
        replicas = [Server(tmp_path / name, upstream=nats) for name in ("first", "second", "third")]
        for replica, secret in zip(replicas, (SECRET, OTHER_SECRET, SECRET), strict=True):
            replica.share_secret(secret)
            exit_.enter_context(replica.start(wait=False))
            replica.wait_ready(60)
        first, second, third = replicas
        assert decide(first, REGULAR) and decide(third, REGULAR)
        with pytest.raises(grpc.RpcError) as refused:
            decide(second, REGULAR)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert f"does not draw in {month()}" in refused.value.details()
        assert "REFUSING TO DRAW" in second.log.read_text()
        assert second.metric("greenlane_draw_commitments", state="disputed") >= 2
        assert commitments(first) == commitments(third, "--from-server")


def test_a_database_that_is_down_at_start_is_tried_again_and_gets_its_commitments(tmp_path):
    with Postgres() as postgres:
        with following(tmp_path, upstream=postgres) as server:
            decide(server, REGULAR)
            with contextlib.closing(postgres.connect()) as sql:
                sql.execute("DELETE FROM draw_commitment")
        assert server.process.poll() == 0
        postgres.freeze()
        # From its snapshot file; it draws, for what it draws can be recomputed.
        server.start(wait=False)
        server.wait_ready()
        assert decide(server, REGULAR)
        eventually(lambda: server.metric("greenlane_draw_commitment_errors_total"), 30, "a failure is counted")
        postgres.thaw()
        eventually(lambda: server.metric("greenlane_draw_commitments", state="ahead"), 60, "it has committed")
        server.stop()


def test_a_key_is_revealed_when_its_time_has_come_and_not_before(tmp_path):
    # Acceptance dates of 40 days keep last month's epoch in use.
    settings = {"server.acceptance_max_behind": "40d"}
    with following(tmp_path, settings=settings) as server:
        former = last_month()
        assert "revealedKey" not in commitments(server)[former]
        early = server.command("draw", "reveal", "--epoch", former)
        assert early.returncode != 0 and "draw.reveal_after" in early.stderr
        never = server.command("--set", "draw.reveal_after=0s", "draw", "reveal", "--epoch", month())
        assert never.returncode != 0, "this month has not ended"
        done = told(server.command("--set", "draw.reveal_after=0s", "--output", "json", "draw", "reveal", "--epoch", former))
        key = key_of(server.secret().hex(), former).hex()
        assert done["revealed_key"] == commitments(server)[former]["revealedKey"] == key
        secret = server.secret().hex()
    # `serve` does it by itself.
    server.stop()
    with contextlib.closing(server.sql()) as sql:
        sql.execute("DELETE FROM draw_commitment")
    server.settings["draw.reveal_after"] = "1s"
    with server.start():
        revealed = eventually(lambda: commitments(server)[former].get("revealedKey"), 30, "the key is revealed")
        assert revealed == key_of(secret, former).hex()
        assert "revealedKey" not in commitments(server)[month()]


def test_commitments_of_a_month_that_has_not_begun_are_there_when_it_begins(tmp_path):
    """By the clock of a server that lives a month later: what was committed to ahead stands, and counts."""
    with following(tmp_path) as server:
        ahead = commitments(server)[next_month()]
    later = (datetime.fromisoformat(next_month() + "-02") - datetime.now(UTC).replace(tzinfo=None)).total_seconds()
    server.environment = shifted_clock(f"+{int(later)}s")
    server.settings |= {"freshness.relief_max_age": "9000h", "freshness.decision_max_age": "9000h"}
    with server.start():
        assert commitments(server)[next_month()] == ahead and ahead["counts"]
        decision = decide(server, REGULAR)
        assert decision.inspection.draw_epoch == next_month()
        checked = told(server.command("--output", "json", "draw", "verify", "--month", next_month()))
        assert checked["holds"] and checked["figures"]["draws_recomputed"] == 1
        assert not any("late" in remark for remark in checked["remarks"])


def test_one_decision_is_verified_by_the_server_and_one_that_is_not_logged_is_not_found(tmp_path):
    with following(tmp_path) as server:
        drawn = decide(server, REGULAR)
        with contextlib.closing(server.sql()) as sql:
            sql.execute("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, legal_basis, public_reason)"
                        f" VALUES ('O-1', 'INSPECT', 'MANDATED', '{REGULAR}', '2020-01-01T00:00:00Z', 'Art 5', 'listed')")
        ordered = decide(server, REGULAR, server.version(), number=2)
        verified = server.audit.VerifyDraw(pb.VerifyDrawRequest(decision_id=drawn.decision_id), timeout=5)
        subject = b"greenlane-draw-v1\x1fdeclaration\x1f" + drawn.declaration_number.encode()
        key = key_of(server.secret().hex(), month())
        draw = int.from_bytes(hmac.digest(key, subject, "sha256")[:8], "big") * 1_000_000 >> 64
        assert verified.valid and verified.draw_ppm == draw
        assert "published late" in verified.explanation, "the store was born in this month"
        verified = server.audit.VerifyDraw(pb.VerifyDrawRequest(decision_id=ordered.decision_id), timeout=5)
        assert verified.valid and "an inspection order mandates" in verified.explanation
        told(server.command("--output", "json", "draw", "verify", "--decision", drawn.decision_id))
        with pytest.raises(grpc.RpcError) as missing:
            server.audit.VerifyDraw(pb.VerifyDrawRequest(decision_id="01939000-0000-7000-8000-000000000000"), timeout=5)
        assert missing.value.code() == grpc.StatusCode.NOT_FOUND


# --- the log, read by the form that ARCHITECTURE.md gives ----------------------------------------


def records(server: Server):
    """Every record of a server's log, with its sequence."""
    for segment in sorted((server.data / "audit").glob("*.segment")):
        held, at = segment.read_bytes(), 128
        while held[at:at + 4] == b"GLG1":
            length, count, _, sequence = struct.unpack_from("<IIIQ", held, at + 4)
            payload, at = held[at + 68:at + 68 + length], at + 68 + length
            place = 0
            for n in range(count):
                bytes_, shift = 0, 0
                while True:
                    byte = payload[place]
                    place, bytes_, shift = place + 1, bytes_ | (byte & 0x7F) << shift, shift + 7
                    if byte < 0x80:
                        break
                yield sequence + n, pb.AuditRecord.FromString(payload[place:place + bytes_])
                place += bytes_


def export(server: Server, file: pathlib.Path):
    with open(file, "w") as log:
        for sequence, record in records(server):
            log.write(json.dumps({"sequence": str(sequence), "record": MessageToDict(record)}) + "\n")


def outsider(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-I", OUTSIDER, *map(str, arguments)], capture_output=True, text=True)


def test_an_outsider_and_the_month_check_agree_with_a_hundred_thousand_draws(tmp_path):
    count = size("OUTSIDER_DRAWS", 100_000)
    assert len(OUTSIDER.read_text().splitlines()) < 40
    with following(tmp_path, register=(("ADVANCED_CERTIFIED", 1), ("REGULAR", 1), ("DISCREDITED", 1))) as server:
        parties = [code(tier, 0) for tier in ("ADVANCED_CERTIFIED", "REGULAR", "DISCREDITED")]

        def batch(first: int):
            requests = [declare(parties[n % 3], number=n,
                                transport_document_number=f"bl-{n}" if n % 4 == 0 else "") for n in range(first, first + 1000)]
            results = server.facilitation.BatchDecide(pb.BatchDecideRequest(requests=requests), timeout=60).results
            return sum(result.decision.inspection.selected for result in results)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            selected = sum(pool.map(batch, range(1, count + 1, 1000)))
        # Retries, one with a transport document that was not sent before, and both keep their draw.
        for number, document in ((1, ""), (1, "bl-late"), (4, "bl-4")):
            server.facilitation.Decide(declare(parties[1], number=number, transport_document_number=document), timeout=5)
        export(server, tmp_path / "log.ndjson")
        (tmp_path / "commitments.json").write_text(server.command("draw", "commitments", "--output", "json").stdout)
        key = key_of(server.secret().hex(), month())

        checked = told(server.command("--output", "json", "draw", "verify", "--month", month(), timeout=300))
        figures = checked["figures"]
        assert checked["holds"] and checked["findings"] == []
        assert figures["decisions"] == figures["draws"] == figures["draws_recomputed"] == count + 3
        assert selected <= figures["selected_by_draw"] <= selected + 3
        done = outsider(tmp_path / "log.ndjson", tmp_path / "commitments.json", f"{month()}={key.hex()}")
        assert done.returncode == 0 and done.stdout.startswith(f"{count + 3} draws, 0 wrong"), done.stdout + done.stderr

        # An auditor with the key alone, and one with a wrong one.
        elsewhere = Server(tmp_path / "auditor")
        elsewhere.tmp.mkdir()
        arguments = ("--output", "json", "draw", "verify", "--month", month(), "--log", server.data / "audit", "--no-store")
        assert told(elsewhere.command(*arguments, "--key", key.hex(), timeout=300))["holds"]
        wrong = told(elsewhere.command(*arguments, "--key", "00" * 32, timeout=300), code=1)
        assert not wrong["holds"] and wrong["figures"]["draws_that_do_not_agree"] == count + 3
        assert len(wrong["findings"]) == 20 and all(finding["decision_id"] for finding in wrong["findings"])
        done = outsider(tmp_path / "log.ndjson", tmp_path / "commitments.json", f"{month()}={'00' * 32}")
        assert done.returncode == 1

        # One altered draw among them all.
        lines = (tmp_path / "log.ndjson").read_text().splitlines()
        at = next(n for n, line in enumerate(lines) if '"value"' in line)
        altered = json.loads(lines[at])
        altered["record"]["decision"]["facts"]["draw"]["value"] = "1"
        lines[at] = json.dumps(altered)
        (tmp_path / "altered.ndjson").write_text("\n".join(lines))
        done = outsider(tmp_path / "altered.ndjson", tmp_path / "commitments.json", f"{month()}={key.hex()}")
        assert done.returncode == 1 and altered["record"]["decision"]["decision"]["decisionId"] in done.stdout
