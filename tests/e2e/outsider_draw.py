"""Recomputes commitments and draws from an exported log: outsider_draw.py LOG.ndjson COMMITMENTS.json [MONTH=KEY ...]

LOG.ndjson holds a line {"sequence": "..", "record": {an AuditRecord}} for each record, COMMITMENTS.json what
`greenlane draw commitments --output json` prints. Keys that are not revealed there yet can be given.
"""
import hashlib
import hmac
import json
import sys
from datetime import datetime, timedelta


def agrees(entry: dict, keys: dict[str, bytes]) -> bool:
    request, draw, inspection = entry["request"], entry["facts"]["draw"], entry["decision"]["inspection"]
    accepted = datetime.fromisoformat(entry["facts"]["acceptedAt"][:19]) + timedelta(hours=8)
    document = request.get("transportDocumentNumber", "").upper()
    own = ("transport-document", document) if document else ("declaration", request["declarationNumber"])
    kept = entry.get("repeatedDeclaration", False)  # A declaration keeps the epoch and subject of its first draw.
    first = kept or (draw["subjectKind"], draw["subject"], draw["epoch"]) == (*own, accepted.strftime("%Y-%m"))
    message = "\x1f".join(["greenlane-draw-v1", draw["subjectKind"], draw["subject"]]).encode()
    u = int.from_bytes(hmac.digest(keys[draw["epoch"]], message, "sha256")[:8], "big")
    selected = u * 1_000_000 >> 64 < inspection.get("ratePpm", 0)
    return first and u == int(draw["value"]) and selected == inspection.get("selected", False)


log, commitments, *given = sys.argv[1:]
committed = {each["epoch"]: each for each in json.load(open(commitments))["commitments"]}
revealed = {epoch: each["revealedKey"] for epoch, each in committed.items() if "revealedKey" in each}
keys = {epoch: bytes.fromhex(key) for epoch, key in (revealed | dict(each.split("=") for each in given)).items()}
broken = [epoch for epoch, key in keys.items() if hashlib.sha256(key).hexdigest() != committed[epoch]["commitment"]]
decisions = [json.loads(line)["record"].get("decision") for line in open(log)]
drawn = [each for each in decisions if each and each["decision"]["inspection"]["basis"] == "INSPECTION_BASIS_RANDOM"]
wrong = [each["decision"]["decisionId"] for each in drawn if not agrees(each, keys)]
print(f"{len(drawn)} draws, {len(wrong)} wrong {wrong[:9]}, {len(keys)} keys, {len(broken)} not committed to {broken}")
sys.exit(1 if wrong or broken or not drawn else 0)
