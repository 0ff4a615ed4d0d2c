"""`audit verify` and `audit prove`, and the same with openssl and a script that knows nothing of the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from audit_log import Reading, Segment, segments
from feed import code, declare, following
from harness import E2E, REPO, eventually, pb

DECISIONS = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A stopped server with several sealed segments."""
    with following(tmp_path_factory.mktemp("proof"), settings={"audit.segment_bytes": "65536"}) as server:
        requests = [declare(code("REGULAR", number % 10), number=number + 1) for number in range(DECISIONS)]
        for first in range(0, DECISIONS, 20):
            server.facilitation.BatchDecide(pb.BatchDecideRequest(requests=requests[first:first + 20]), timeout=10)
        eventually(lambda: len(list((server.data / "audit").glob("*.index"))) >= 3, 20, "seals and their indexes")
        assert server.stop() == 0
        yield server


def log(server):
    return server.data / "audit"


def public_key(server):
    return log(server) / "signing.pub"


def openssl(server, seal, signature) -> bool:
    return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public_key(server), "-rawin",
                           "-in", seal, "-sigfile", signature], capture_output=True).returncode == 0


def sealed_decisions(server) -> list[str]:
    sealed = [path for path in segments(log(server)) if path.with_suffix(".seal").exists()]
    records = (record for path in sealed for record in Segment(path).records)
    return [record.decision.decision.decision_id for record in records if record.HasField("decision")]


def test_every_seal_is_signed_so_that_openssl_verifies_it(server):
    seals = sorted(log(server).glob("*.seal"))
    assert len(seals) >= 3
    assert all(openssl(server, seal, seal.with_suffix(".sig")) for seal in seals)
    assert not openssl(server, seals[0], seals[1].with_suffix(".sig"))


def test_the_script_of_the_readme_is_the_one_that_is_tested():
    script = (E2E / "check_proof.py").read_text()
    readme = (REPO / "README.md").read_text()
    shown = re.search(r"```python\n(import hashlib.*?)```", readme, re.S).group(1)
    assert shown.strip() in script


def test_a_proof_is_checked_offline_by_the_program_by_a_script_and_by_openssl(server, tmp_path):
    decisions = sealed_decisions(server)
    assert len(decisions) > DECISIONS / 2
    for decision in decisions[:: len(decisions) // 12]:
        folder = tmp_path / decision
        folder.mkdir()
        file = folder / "proof.json"
        done = server.command("audit", "prove", decision, "--to", file)
        assert done.returncode == 0, done.stderr

        # With the public key alone: another folder, no settings, no log.
        shutil.copy(public_key(server), folder / "signing.pub")
        offline = [server.binary, "--output", "json", "audit", "verify", "--proof", "proof.json", "--public-key", "signing.pub"]
        done = subprocess.run(offline, cwd=folder, env={}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["decision_id"] == decision

        script = [sys.executable, E2E / "check_proof.py", "proof.json"]
        assert subprocess.run(script, cwd=folder, capture_output=True).returncode == 0
        assert openssl(server, folder / "proof.seal", folder / "proof.sig")

        proof = json.loads(file.read_text())
        record = pb.AuditRecord.FromString(bytes.fromhex(proof["record"]))
        assert record.decision.decision.decision_id == decision
        record.decision.decision.lane = pb.LANE_GREEN if record.decision.decision.lane != pb.LANE_GREEN else pb.LANE_RED
        file.write_text(json.dumps(proof | {"record": record.SerializeToString().hex()}))
        assert subprocess.run(offline, cwd=folder, env={}, capture_output=True).returncode == 1
        assert subprocess.run(script, cwd=folder, capture_output=True).returncode == 1


def test_a_decision_that_is_not_sealed_yet_or_unknown_has_no_proof(server):
    reading = Reading(log(server))
    reading.read()
    unsealed = set(reading.decisions) - set(sealed_decisions(server))
    done = server.command("audit", "prove", unsealed.pop())
    assert done.returncode == 1 and "no seal yet" in done.stderr, done.stderr
    done = server.command("audit", "prove", "00000000-0000-7000-8000-000000000000")
    assert done.returncode == 1 and "does not hold" in done.stderr


def test_exit_codes_tell_good_from_bad_and_from_unreadable(server, tmp_path):
    verify = ["--output", "json", "audit", "verify"]
    done = server.command(*verify)
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["decisions"] == DECISIONS and report["good"] and report["reach"] == {"by": "nothing"}
    assert "nothing shows how far the log went" in server.command("audit", "verify").stdout

    copy = tmp_path / "copy"
    shutil.copytree(log(server), copy)
    segment = segments(copy)[1]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x10
    segment.write_bytes(data)
    done = server.command(*verify, "--log", copy)
    assert done.returncode == 1
    fault = json.loads(done.stdout)["faults"][0]
    assert fault["segment"] == int(segment.stem) and fault["offset"] <= len(data) // 2
    assert "first bad record" in server.command("audit", "verify", "--log", copy).stdout

    assert server.command(*verify, "--log", tmp_path / "nowhere", "--public-key", public_key(server)).returncode == 2
    assert server.command(*verify, "--public-key", tmp_path / "nowhere").returncode == 2
