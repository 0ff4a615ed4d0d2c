"""Checks a file of `greenlane audit prove` with the standard library alone: that the record is in the tree of the seal.
Writes proof.seal and proof.sig, whose signature openssl checks:
openssl pkeyutl -verify -pubin -inkey signing.pub -rawin -in proof.seal -sigfile proof.sig"""
import hashlib, json, sys

proof = json.load(open(sys.argv[1]))
open("proof.seal", "w", newline="").write(proof["seal"])
open("proof.sig", "wb").write(bytes.fromhex(proof["signature"]))
seal = dict(line.split(": ") for line in proof["seal"].splitlines()[1:])
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
node, at, last = sha(b"\0", bytes.fromhex(proof["record"])), proof["leaf_index"], int(seal["records"]) - 1
for step in map(bytes.fromhex, proof["path"]):
    left = at % 2 == 1 or at == last
    node = sha(b"\1", step, node) if left else sha(b"\1", node, step)
    while left and at and at % 2 == 0:
        at, last = at // 2, last // 2
    at, last = at // 2, last // 2
good = last == 0 and node.hex() == seal["merkle-root"]
print("the record is in the tree" if good else "NOT in the tree")
sys.exit(not good)
