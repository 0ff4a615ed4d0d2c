"""The dashboard and the alert rules against a real Prometheus that scrapes real replicas at work: every query gives data, and
an alert fires when the thing happens."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from feed import code, fill, transaction
from harness import REPO, Server, eventually, free_ports, pb

FILES = REPO / "helm/files"
BOARD = json.loads((FILES / "dashboard.json").read_text())
RULES = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
# What Grafana puts into queries: here with a scrape a second.
VARIABLES = {"$__rate_interval": "5s", "$__range": "1m", "$namespace": ".*", "$job": ".*", "$instance": ".*", "$credit_tier": ".*"}
REGISTER = {"ADVANCED_CERTIFIED": 60, "REGULAR": 2000, "DISCREDITED": 50}
# Alerts about what is not there look for the absence of a series.
SELECTOR = re.compile(r"\b(?:greenlane_\w+|up)(?:{[^}]*})?")


def panels() -> list[dict]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Every query of the dashboard, by its panel's title and its own letter."""
    result = {}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            result[f"{panel['title']}: {target['refId']}"] = query
    return result


# --- the files ------------------------------------------------------------------------------------


def test_grafana_knows_every_key_of_the_dashboard():
    def lost(given, kept, path):
        match given:
            case dict():
                for key, value in given.items():
                    yield from lost(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"]
            case list():
                for at, value in enumerate(given):
                    yield from lost(value, kept[at], f"{path}[{at}]")

    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(BOARD)))))
    assert list(lost(BOARD, kept, "")) == []


def test_panels_lie_side_by_side_and_explain_themselves():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["description"].endswith(".") and panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_every_variable_of_a_query_is_one_of_the_dashboard():
    known = {variable["name"] for variable in BOARD["templating"]["list"]} | {"__rate_interval", "__range"}
    used = {name for panel in panels() for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
    assert used <= known and {f"${name}" for name in used} <= VARIABLES.keys()


# --- at work --------------------------------------------------------------------------------------


class Prometheus:
    """A Prometheus of Debian's that scrapes these replicas each second, with the alert rules loaded."""

    def __init__(self, folder, replicas: list[Server]):
        self.folder = folder
        self.port, = free_ports(1)
        shutil.copy(FILES / "alerts.yaml", folder)
        targets = [{"targets": [replica.http_addr for replica in replicas], "labels": {"namespace": "prod"}}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{"job_name": "greenlane", "static_configs": targets}]}))

    def __enter__(self) -> "Prometheus":
        with open(self.folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], cwd=self.folder, stdout=log, stderr=log)
        eventually(self._is_ready, 30, "Prometheus is ready")
        return self

    def _is_ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def ask(self, path: str, **arguments: str) -> dict:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["error"]) from None

    def query(self, query: str) -> list[dict]:
        return self.ask("query", query=query)["result"]

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}


def load(server: Server, stop: threading.Event):
    """Decides declarations of every tier, each a new one, until told to stop."""
    number, tiers = 0, list(REGISTER)
    while not stop.is_set():
        number += 1
        server.facilitation.Decide(pb.DecideRequest(
            declaration_number=f"020220261{number:09d}", direction=pb.DIRECTION_IMPORT, customs_office="0202",
            parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=code(tiers[number % len(tiers)], number % 50))]), timeout=10)


@pytest.fixture(scope="module")
def at_work(tmp_path_factory):
    """Two replicas under load, each with a store of its own, and the Prometheus that looks on."""
    folder = tmp_path_factory.mktemp("monitoring")
    settings = {"upstream.compare_interval": "1s", "upstream.max_drift_rows": "100"}
    stop = threading.Event()
    with contextlib.ExitStack() as running:
        replicas = []
        for name in ("one", "two"):
            server = running.enter_context(Server(folder / name, settings).start(wait=False))
            server.wait_for_store()
            with contextlib.closing(server.sql()) as sql, transaction(sql):
                for tier, count in REGISTER.items():
                    fill(sql, tier, count)
            server.wait_ready()
            replicas.append(server)
        prometheus = running.enter_context(Prometheus(folder, replicas))
        threads = [threading.Thread(target=load, args=(server, stop)) for server in replicas]
        running.callback(lambda: [thread.join() for thread in threads])
        running.callback(stop.set)
        for thread in threads:
            thread.start()
        eventually(lambda: prometheus.query('sum(increase(greenlane_decisions_total[5s])) > 0'), 30, "decisions are scraped")
        yield replicas, prometheus


def test_every_query_of_the_dashboard_gives_data(at_work):
    replicas, prometheus = at_work
    waiting = queries()

    def answered() -> bool:
        with contextlib.closing(replicas[0].sql()) as sql:
            # So that changes come in force meanwhile.
            sql.execute("UPDATE enterprise SET name = name || 'x' WHERE customs_code = ?", (code("REGULAR", 1),))
        for title, query in list(waiting.items()):
            numbers = [sample["value"][1] for sample in prometheus.query(query)]
            # One of the four states holds at a time.
            if any(number != "NaN" for number in numbers) or title.startswith("State: ") and title != "State: B":
                del waiting[title]
        return not waiting

    try:
        eventually(answered, 40, "every query has data")
    except TimeoutError:
        pytest.fail(f"no data: {waiting}")
    # And they are the figures of what goes on.
    assert float(prometheus.query(queries()["Replicas in a state to decide: A"])[0]["value"][1]) == 2
    assert float(prometheus.query(queries()["Oldest data: A"])[0]["value"][1]) < 5
    assert float(prometheus.query(queries()["Decisions a second: A"])[0]["value"][1]) > 5
    half, most, _ = (float(prometheus.query(queries()[f"How long decisions take: {letter}"])[0]["value"][1]) for letter in "ABC")
    assert 0 < half <= most < 1
    slow = prometheus.query(queries()["How long calls take: A"])
    assert [float(sample["value"][1]) > 0 for sample in slow if sample["metric"]["method"] == "Decide"] == [True]
    rates = {sample["metric"]["method"]: float(sample["value"][1]) for sample in prometheus.query(queries()["Calls a second: A"])}
    assert rates["Decide"] > 5 and rates["unknown"] == 0
    assert {sample["metric"]["cause"] for sample in prometheus.query(queries()["Turned away: A"])} == {
        "max_connections", "max_connections_per_address", "new_connections", "preface", "stream_resets", "control_frames", "protocol",
        "stalled", "unfinished_bytes", "overload", "caller_rate", "caller_calls", "late", "http_calls", "max_watches", "slow_watch"}
    policy, = prometheus.query(queries()["Policy in force: A"])
    assert policy["metric"]["id"] == "CN-GACC-282" and policy["value"][1] == "2"
    assert prometheus.query(queries()["Next policy takes effect in: A"])[0]["value"][1] == "+Inf"
    tiers = {sample["metric"]["credit_tier"]: float(sample["value"][1])
             for sample in prometheus.query(queries()["Enterprises by tier: A"])}
    with contextlib.closing(replicas[0].sql()) as sql:
        stored = dict(sql.execute("SELECT credit_tier, count(*) FROM enterprise GROUP BY credit_tier"))
    assert {tier: count for tier, count in tiers.items() if count} == stored


def test_every_variable_of_the_dashboard_finds_its_values(at_work):
    _, prometheus = at_work
    for variable in BOARD["templating"]["list"][1:]:
        query = re.sub(r"\$\w+", ".*", variable["query"]["query"])
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        assert prometheus.ask(f"label/{label}/values", **{"match[]": selector}), variable["name"]


def test_every_series_that_an_alert_looks_at_is_there_and_none_fires_without_cause(at_work):
    _, prometheus = at_work
    for rule in RULES:
        for selector in SELECTOR.findall(rule["expr"]):
            assert eventually(lambda: prometheus.query(selector), 20, f"{rule['alert']}: {selector}"), rule["alert"]
        prometheus.query(rule["expr"])
    told = prometheus.ask("rules")["groups"]
    assert {rule["name"] for group in told for rule in group["rules"]} == {rule["alert"] for rule in RULES}
    assert {rule["health"] for group in told for rule in group["rules"]} <= {"ok", "unknown"}
    assert prometheus.firing() == set()


def test_alerts_fire_when_a_register_is_emptied_or_differs(at_work):
    replicas, prometheus = at_work
    with contextlib.closing(replicas[0].sql()) as sql:
        sql.execute("DELETE FROM enterprise WHERE credit_tier = 'REGULAR' AND customs_code >= ?", (code("REGULAR", 100),))
    eventually(lambda: "GreenlaneDataRefused" in prometheus.firing(), 30, "what is refused is told")
    with contextlib.closing(replicas[1].sql()) as sql:
        # Past the triggers: what no log tells.
        triggers = sql.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        sql.execute("BEGIN IMMEDIATE")
        for name, _ in triggers:
            sql.execute(f"DROP TRIGGER {name}")
        sql.execute("UPDATE enterprise SET suspended = 1 WHERE customs_code = ?", (code("REGULAR", 2),))
        for _, text in triggers:
            sql.execute(text)
        sql.execute("COMMIT")
    eventually(lambda: "GreenlaneRegistryDiffers" in prometheus.firing(), 30, "what differs is told")
    assert prometheus.firing() == {"GreenlaneDataRefused", "GreenlaneRegistryDiffers"}
