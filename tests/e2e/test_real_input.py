"""Real input: published synthetic import declarations, replayed through a running server.

The file is not part of the project. It is read from where GREENLANE_KR_DECLARATIONS says, or from a `shared/data`
folder beside the checkout; without it the test is skipped.
"""

import json
import math
import os
import pathlib
import subprocess

import pytest

from harness import REPO, Server

BESIDE = REPO.parent / "shared" / "data" / "declarations-kr-train.csv"
DECLARATIONS = pathlib.Path(os.environ.get("GREENLANE_KR_DECLARATIONS", BESIDE))
ROWS = 37_385
# Shipped baseline 24400 ppm; decree 282: strictly below 20 %, the baseline, at least 80 %.
RATES = {"ADVANCED_CERTIFIED": 4_879, "REGULAR": 24_400, "DISCREDITED": 800_000}


def greenlane(server: Server, *words) -> subprocess.CompletedProcess:
    command = [str(server.binary), *map(str, words), "--set", f"server.grpc_addr={server.grpc_addr}",
               "--set", f"server.data_dir={server.data}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=server.tmp)


@pytest.mark.skipif(not DECLARATIONS.exists(), reason="the Korean declarations are not here: set "
                    "GREENLANE_KR_DECLARATIONS to declarations-kr-train.csv (arXiv 2208.02484)")
def test_all_korean_declarations_are_decided_at_the_legal_rates(tmp_path):
    server = Server(tmp_path)
    server.start(wait=False)
    with server:
        server.wait_for_store()
        register = tmp_path / "register.csv"
        greenlane(server, "decide", "--from-csv", DECLARATIONS, "--enterprises", register)
        greenlane(server, "enterprise", "import", register)
        server.wait_ready(30)

        mix = json.loads(greenlane(server, "decide", "--from-csv", DECLARATIONS, "--output", "json").stdout)
        again = json.loads(greenlane(server, "decide", "--from-csv", DECLARATIONS, "--output", "json").stdout)

    assert mix["refused"] == 0
    assert mix == again, "a second replay draws the same"
    tiers = {tier["credit_tier"]: tier for tier in mix["tiers"]}
    assert sum(tier["decided"] for tier in tiers.values()) == ROWS
    assert set(tiers) == set(RATES)
    for name, rate in RATES.items():
        tier = tiers[name]
        assert tier["mean_rate_ppm"] == rate, name
        assert sum(tier["lanes"].values()) == tier["decided"]
        assert tier["lanes"]["RED"] == tier["selected"]
        # Five standard deviations: a false alarm in two million runs.
        share, spread = rate / 1e6, math.sqrt(tier["decided"] * rate / 1e6 * (1 - rate / 1e6))
        assert abs(tier["selected"] - tier["decided"] * share) <= 5 * spread + 1, name
    assert tiers["ADVANCED_CERTIFIED"]["lanes"]["GREEN"] > 0
    assert tiers["REGULAR"]["lanes"]["GREEN"] == 0, "the green channel is a right of certified tiers"
    print(greenlane_table(mix))


def greenlane_table(mix: dict) -> str:
    """The mix as the report shows it."""
    return "\n" + "\n".join(
        f"{tier['credit_tier']}: {tier['decided']} decided, {tier['selected']} selected, {tier['lanes']}"
        for tier in mix["tiers"])
