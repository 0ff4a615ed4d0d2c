"""The draw, recomputed by the README's own lines with openssl."""

import re
import subprocess

from harness import REPO, Server


def lines_of_the_readme() -> str:
    """The shell block under the heading "The draw"."""
    section = (REPO / "README.md").read_text().split("## The draw")[1]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL).group(1)


def recomputed(secret_file, epoch: str, number: str) -> int:
    """The draw in ppm as the README's lines print it."""
    first = re.compile(r"^SECRET=.*$", re.MULTILINE)
    script = first.sub(f"SECRET={secret_file} EPOCH={epoch} NUMBER={number}", lines_of_the_readme(), count=1)
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=30, check=True)
    return int(done.stdout)


def test_openssl_recomputes_every_draw_by_the_readme(tmp_path):
    server = Server(tmp_path)
    server.start(wait=False)
    with server:
        server.wait_for_store()
        # A discredited importer is selected four times in five, so both outcomes occur.
        server.sql().execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from) "
                             "VALUES ('3702960005', 'Harbour Foods', 'DISCREDITED', '2020-01-01')")
        server.wait_ready(30)
        pb, outcomes = server.pb, set()
        for serial in range(40):
            number = f"222520261{serial:09}"
            request = pb.DecideRequest(
                declaration_number=number, direction=pb.DIRECTION_IMPORT, customs_office="2225",
                parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code="3702960005")])
            inspection = server.facilitation.Decide(request).decision.inspection
            draw = recomputed(server.data / "draw.secret", inspection.draw_epoch, number)
            assert inspection.selected == (draw < inspection.rate_ppm), (number, draw)
            outcomes.add(inspection.selected)
        assert outcomes == {True, False}
