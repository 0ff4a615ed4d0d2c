"""The command line as its users meet it: what it prints, what it refuses, what its exit codes say."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess

import pytest

from harness import REPO, Server, eventually, free_ports

BINARY = os.environ.get("GREENLANE_BIN") or str(REPO / "target/debug/greenlane")
SECRET = "5ec2e7" * 11
POLICIES = ("CN-GACC-225", "CN-GACC-237", "CN-GACC-251", "CN-GACC-282")
COLUMNS = "customs_code,social_credit_code,name,credit_tier,tier_effective_from,tier_valid_until,suspended"
ADVANCED, REGULAR = "1100000001", "1100000002"


def greenlane(*arguments, cwd, settings=None, stdin=None) -> subprocess.CompletedProcess:
    """Runs the command with these settings and no others; its two outputs are also joined, as `said`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GREENLANE_")}
    for key, value in (settings or {}).items():
        environment["GREENLANE_" + key.upper().replace(".", "__")] = str(value)
    done = subprocess.run([BINARY, *map(str, arguments)], cwd=cwd, env=environment, input=stdin or "",
                          capture_output=True, text=True, timeout=60)
    done.said = done.stdout + done.stderr
    return done


def succeeded(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    assert done.returncode == 0, done.said
    return done


def refused(done: subprocess.CompletedProcess, *words: str) -> subprocess.CompletedProcess:
    """It failed, told why on the error output in these words, and did not panic."""
    assert done.returncode not in (0, 101), done.said
    assert "panicked" not in done.said and "RUST_BACKTRACE" not in done.said, done.said
    assert all(word in done.stderr for word in words), done.said
    return done


def leaves(document) -> list:
    """Every value in a JSON document, whatever holds it."""
    if isinstance(document, dict):
        return [leaf for value in document.values() for leaf in leaves(value)]
    if isinstance(document, list):
        return [leaf for value in document for leaf in leaves(value)]
    return [document]


# --- configuration ----------------------------------------------------------------------------


def addresses() -> dict[str, str]:
    grpc_port, http_port = free_ports(2)
    return {"server.grpc_addr": f"127.0.0.1:{grpc_port}", "server.http_addr": f"127.0.0.1:{http_port}"}


def line_of(text: str, key: str) -> str:
    return next((line for line in text.splitlines() if key in line), "")


def test_check_config_prints_each_value_and_where_it_came_from(tmp_path):
    in_file = '[freshness]\nrelief_max_age = "7m"\n[server]\nhttp_addr = "127.0.0.1:1"\n'
    (tmp_path / "greenlane.toml").write_text(in_file)
    settings = {"freshness.decision_max_age": "35h", "server.http_addr": "127.0.0.1:58080",
                "draw.master_secret": SECRET}
    done = succeeded(greenlane("serve", "--check-config", cwd=tmp_path, settings=settings))
    from_file = line_of(done.stdout, "relief_max_age")
    assert "7m" in from_file and "greenlane.toml" in from_file
    for key, value in (("decision_max_age", "35h"), ("http_addr", "127.0.0.1:58080")):
        from_environment = line_of(done.stdout, key)
        assert value in from_environment and "GREENLANE_" in from_environment
    by_default = line_of(done.stdout, "grpc_addr")
    assert "127.0.0.1:50051" in by_default and "default" in by_default
    assert SECRET not in done.said, "the secret is shown"
    assert not (tmp_path / "greenlane-data").exists(), "a check leaves nothing behind"


def test_an_unknown_key_is_an_error_that_suggests_the_nearest(tmp_path):
    (tmp_path / "greenlane.toml").write_text('[freshness]\nrelief_maxage = "7m"\n')
    refused(greenlane("serve", "--check-config", cwd=tmp_path), "relief_maxage", "relief_max_age", "greenlane.toml")
    (tmp_path / "greenlane.toml").unlink()
    environment = {"server.grpc_adress": "127.0.0.1:1"}
    done = refused(greenlane("serve", "--check-config", cwd=tmp_path, settings=environment))
    assert "grpc_adress" in done.stderr.lower() and "grpc_addr" in done.stderr.lower().replace("grpc_adress", "")


@pytest.mark.parametrize("settings, words", [
    ({"freshness.relief_max_age": "soon"}, ["relief_max_age", "soon"]),
    ({"freshness.relief_max_age": "48h", "freshness.decision_max_age": "1h"}, ["relief_max_age", "decision_max_age"]),
    ({"server.grpc_addr": "localhost"}, ["grpc_addr"]),
])
def test_a_bad_value_is_refused_by_name(tmp_path, settings, words):
    refused(greenlane("serve", "--check-config", cwd=tmp_path, settings=settings), *words)


def test_a_missing_configuration_file_that_was_named_is_an_error(tmp_path):
    refused(greenlane("serve", "--check-config", "--config", "nowhere.toml", cwd=tmp_path), "nowhere.toml")


def test_serve_refuses_to_start_without_a_secret(tmp_path):
    refused(greenlane("serve", cwd=tmp_path, settings=addresses()), "secret", "--generate-secret")


def test_a_secret_file_that_others_can_read_is_refused(tmp_path):
    secret = tmp_path / "draw.secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    settings = addresses() | {"draw.master_secret_file": secret}
    done = refused(greenlane("serve", cwd=tmp_path, settings=settings), "draw.secret", "600")
    assert SECRET not in done.said


def test_the_secret_that_serve_makes_is_for_its_owner_alone(server):
    assert stat.S_IMODE((server.data / "draw.secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("key", ["server.grpc_addr", "server.http_addr"])
def test_without_authentication_only_loopback_is_served(tmp_path, key):
    settings = addresses() | {"draw.master_secret": SECRET}
    settings[key] = settings[key].replace("127.0.0.1", "0.0.0.0")
    refused(greenlane("serve", cwd=tmp_path, settings=settings), key.split(".")[1], "loopback")


def test_an_unknown_command_is_a_usage_error(tmp_path):
    refused(greenlane("serv", cwd=tmp_path), "serve")
    assert greenlane("serv", cwd=tmp_path).returncode == 2


def test_completions_are_valid_bash(tmp_path):
    script = succeeded(greenlane("completions", "bash", cwd=tmp_path)).stdout
    assert "complete" in script and "greenlane" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


# --- with a server ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose registry the command line filled: the import makes it ready."""
    with Server(tmp_path_factory.mktemp("server")).start(wait=False) as running:
        running.wait_for_store()
        rows = [f"{ADVANCED},,Harbour Trading,ADVANCED_CERTIFIED,2020-01-01,,0",
                f"{REGULAR},,Old Mill,REGULAR,2020-01-01,,0"]
        succeeded(enterprise_import(running, rows))
        assert query(running, "SELECT count(*) FROM enterprise") == [(2,)]
        running.wait_ready()
        yield running


def run(server: Server, *arguments, stdin=None) -> subprocess.CompletedProcess:
    return greenlane(*arguments, cwd=server.tmp, settings=server.settings, stdin=stdin)


def run_json(server: Server, *arguments):
    return json.loads(succeeded(run(server, *arguments, "--output", "json")).stdout)


def enterprise_import(server: Server, rows: list[str], *options: str) -> subprocess.CompletedProcess:
    file = server.tmp / "enterprises.csv"
    file.write_text("\n".join([COLUMNS, *rows, ""]))
    return run(server, "enterprise", "import", file, *options)


def query(server: Server, text: str, *values) -> list[tuple]:
    connection = server.sql()
    try:
        return connection.execute(text, values).fetchall()
    finally:
        connection.close()


def declaration(customs_code: str, serial: int = 1, **more) -> dict:
    return {"declarationNumber": f"020220261{serial:09}", "direction": "DIRECTION_IMPORT", "customsOffice": "0202",
            "parties": [{"role": "PARTY_ROLE_CONSIGNEE", "customsCode": customs_code}]} | more


def decide(server: Server, *documents: dict) -> list[dict]:
    """Decides through an NDJSON file; one answer a line."""
    file = server.tmp / "declarations.ndjson"
    file.write_text("".join(json.dumps(document) + "\n" for document in documents))
    lines = succeeded(run(server, "decide", file, "--output", "json")).stdout.splitlines()
    return [json.loads(line) for line in lines]


def lane(server: Server, customs_code: str) -> str:
    found = [leaf for leaf in leaves(decide(server, declaration(customs_code))) if str(leaf).startswith("LANE_")]
    assert len(found) == 1, found
    return found[0]


def test_import_names_each_bad_line_and_imports_nothing(server):
    before = query(server, "SELECT count(*) FROM enterprise")
    rows = ["1200000001,,Good One,CERTIFIED,2026-04-01,,0", "12x,,Short Code,REGULAR,2020-01-01,,0",
            "1200000003,,No Such Tier,GOLD,2020-01-01,,0", "1200000004,,No Such Day,REGULAR,2020-02-30,,0",
            "1200000005,,Good Two,DISCREDITED,2020-01-01,,1"]
    done = refused(enterprise_import(server, rows))
    for line, word in ((3, "12x"), (4, "GOLD"), (5, "2020-02-30")):
        named = [text for text in done.stderr.splitlines() if f"line {line}" in text]
        assert len(named) == 1 and word in named[0], done.said
    assert "line 2" not in done.said and "line 6" not in done.said
    assert query(server, "SELECT count(*) FROM enterprise") == before

    done = succeeded(enterprise_import(server, rows, "--skip-bad"))
    assert all(f"line {line}" in done.stderr for line in (3, 4, 5)), done.said
    found = query(server, "SELECT customs_code, credit_tier, suspended FROM enterprise WHERE customs_code LIKE '12%'")
    assert sorted(found) == [("1200000001", "CERTIFIED", 0), ("1200000005", "DISCREDITED", 1)]


def test_enterprise_set_is_in_force_and_shown(server):
    code = "1300000001"
    assert lane(server, code) != "LANE_GREEN"
    succeeded(run(server, "enterprise", "set", code, "--name", "Lantern Foods", "--tier", "ADVANCED_CERTIFIED",
                  "--effective-from", "2020-01-01"))
    eventually(lambda: "Lantern Foods" in run(server, "enterprise", "show", code).stdout, 5, "shown")
    shown = run_json(server, "enterprise", "show", code)
    assert code in leaves(shown) and "Lantern Foods" in leaves(shown)
    assert any(str(leaf).endswith("ADVANCED_CERTIFIED") for leaf in leaves(shown))
    eventually(lambda: "CREDIT_TIER_ADVANCED_CERTIFIED" in leaves(decide(server, declaration(code))), 5, "in force")
    refused(run(server, "enterprise", "set", code, "--name", "Lantern Foods", "--tier", "GOLD"), "GOLD")
    refused(run(server, "enterprise", "show", "1399999999"), "1399999999")


def test_an_order_holds_until_it_is_ended(server):
    succeeded(run(server, "order", "add", "--id", "ORDER-7", "--kind", "HOLD", "--basis", "EMERGENCY",
                  "--enterprise-id", ADVANCED, "--legal-basis", "Customs Law Art 6", "--public-reason", "Recall"))
    eventually(lambda: lane(server, ADVANCED) == "LANE_MANUAL", 5, "the order in force")
    assert lane(server, REGULAR) != "LANE_MANUAL"
    listed = run(server, "order", "list").stdout
    assert "ORDER-7" in listed and "HOLD" in listed
    assert "ORDER-7" in leaves(run_json(server, "order", "list"))
    succeeded(run(server, "order", "end", "ORDER-7"))
    eventually(lambda: lane(server, ADVANCED) != "LANE_MANUAL", 5, "the order at its end")
    assert query(server, "SELECT valid_to IS NOT NULL FROM control_order WHERE id = 'ORDER-7'") == [(1,)]
    refused(run(server, "order", "end", "ORDER-8"), "ORDER-8")
    refused(run(server, "order", "add", "--id", "ORDER-9", "--kind", "HOLD", "--basis", "EMERGENCY",
                "--legal-basis", "Customs Law Art 6", "--public-reason", "Selects nothing"))
    assert query(server, "SELECT count(*) FROM control_order") == [(1,)]


def test_decide_reads_json_ndjson_and_the_standard_input(server):
    one = server.tmp / "one.json"
    one.write_text(json.dumps(declaration(REGULAR), indent=2))
    assert "REGULAR" in succeeded(run(server, "decide", one)).stdout
    by_file = run_json(server, "decide", one)
    by_stdin = json.loads(succeeded(run(server, "decide", "-", "--output", "json", stdin=one.read_text())).stdout)
    assert "CREDIT_TIER_REGULAR" in leaves(by_file) and "CREDIT_TIER_REGULAR" in leaves(by_stdin)
    answers = decide(server, *(declaration(REGULAR, serial) for serial in range(1, 26)))
    assert len(answers) == 25
    for serial, answer in enumerate(answers, start=1):
        assert f"020220261{serial:09}" in leaves(answer), "not in order"


def test_decide_tells_what_is_wrong_with_a_declaration(server):
    bad = server.tmp / "bad.json"
    bad.write_text(json.dumps(declaration(REGULAR, customsOffice="22a5")))
    refused(run(server, "decide", bad), "customs_office")
    bad.write_text('{"declarationNumber": ')
    refused(run(server, "decide", bad), "bad.json")
    refused(run(server, "decide", server.tmp / "nowhere.json"), "nowhere.json")


def test_status_tells_the_state_and_what_if_there_is_no_server(server):
    epoch, sequence = query(server, "SELECT epoch, sequence FROM registry_meta")[0]
    assert "LIVE" in succeeded(run(server, "status")).stdout
    status = run_json(server, "status")
    assert epoch in leaves(status) and str(sequence) in map(str, leaves(status))
    nobody = addresses()
    refused(greenlane("status", cwd=server.tmp, settings=nobody), nobody["server.grpc_addr"])


# --- policies: no server needed ---------------------------------------------------------------


def test_policies_are_listed_shown_and_compared(tmp_path):
    listed = succeeded(greenlane("policy", "list", cwd=tmp_path)).stdout
    assert all(policy in listed for policy in POLICIES)
    as_json = json.loads(succeeded(greenlane("policy", "list", "--output", "json", cwd=tmp_path)).stdout)
    assert set(POLICIES) <= set(leaves(as_json))
    shown = succeeded(greenlane("policy", "show", "CN-GACC-251", cwd=tmp_path)).stdout
    assert "CN-GACC-251" in shown and "ADVANCED_CERTIFIED" in shown and "Art 30" in shown
    assert "高级认证企业" in shown, "the official name of the tier"
    json.loads(succeeded(greenlane("policy", "show", "CN-GACC-251", "--output", "json", cwd=tmp_path)).stdout)
    difference = succeeded(greenlane("policy", "diff", "CN-GACC-237", "CN-GACC-251", cwd=tmp_path)).stdout
    assert "CERTIFIED" in difference and "REDUCED_ORIGIN_SURVEY_SAMPLING" in difference
    refused(greenlane("policy", "show", "CN-GACC-999", cwd=tmp_path), "CN-GACC-999")
    refused(greenlane("policy", "diff", "CN-GACC-237", "CN-GACC-999", cwd=tmp_path), "CN-GACC-999")


def test_the_shipped_policies_pass_their_proof_and_their_cases(tmp_path):
    succeeded(greenlane("policy", "check", cwd=tmp_path))
    succeeded(greenlane("policy", "test", cwd=tmp_path))


def test_a_policy_that_favours_the_worse_tier_fails_the_check(tmp_path):
    shipped = (REPO / "src/policy/decrees/cn-gacc-251.toml").read_text()
    broken = tmp_path / "cn-gacc-251.toml"
    # A reward turned into a burden: an advanced certified enterprise would be inspected more than a regular one.
    broken.write_text(shipped.replace('rule = "STRICTLY_BELOW", ppm = 200000', 'rule = "AT_LEAST", ppm = 900000', 1))
    assert broken.read_text() != shipped
    refused(greenlane("policy", "check", broken, cwd=tmp_path), "ADVANCED_CERTIFIED")
    broken.write_text(shipped[: len(shipped) // 2] + "\n[[[\n")
    refused(greenlane("policy", "check", broken, cwd=tmp_path), "cn-gacc-251.toml")
