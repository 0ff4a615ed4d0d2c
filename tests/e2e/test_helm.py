"""The Helm chart: what Helm's own engine makes of it, what Kubernetes' schemas and the program itself say of that, and its
pods run as a kubelet would run them. No cluster is here, so that nothing is installed."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tomllib
import urllib.error
import urllib.request

import helm_python
import kubernetes_validate
import pytest
import yaml

from certificates import Authority
from chart import (CHART, CI, MONITORING, NOBODY, Pod, Refused, configuration, dotted, merged, of_kind, pod_templates,
                   render, texts, values)
from harness import REPO, SECRET, Server, eventually, free_ports
from nats_servers import Servers
from postgres_server import Postgres

BINARY = os.environ.get("GREENLANE_BIN") or str(REPO / "target/debug/greenlane")
NODE_MODULES = os.environ.get("NODE_MODULES") or str(REPO / "target/tests-node/node_modules")
NAMES = [path.name.removesuffix(".values.yaml") for path in CI]
OLDEST, NEWEST = "1.30", "1.37"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# What the chart decides about, so that values cannot.
CHARTS_OWN = {
    "server.grpc_addr", "server.http_addr", "server.data_dir", "server.workers", "server.allow_anonymous_remote",
    "server.allow_plaintext_remote", "tls.certificate_file", "tls.key_file", "tls.client_ca_file", "tls.client_certificates",
    "tls.client_crl_file", "client.address", "client.tls_ca_file", "client.tls_certificate_file", "client.tls_key_file",
    "client.tls_name", "client.token_file",
    "upstream.url", "upstream.tls_ca_file", "upstream.tls_certificate_file", "upstream.tls_key_file",
    "upstream.password_file", "upstream.credentials_file", "policy.directory", "draw.master_secret_file", "draw.master_secret", "audit.directory",
    "audit.replica", "audit.signing_key_file", "auth.callers_file", "auth.jwks_file", "auth.jwks_ca_file",
}
CALLERS = '[[caller]]\nname = "a"\nsubject = "a"\nroles = ["operator"]\n'
MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def check_config(toml: str, folder: pathlib.Path, environment: dict[str, str] | None = None) -> dict[str, str]:
    """Every setting in effect, as the program itself reads that file and these variables."""
    file = folder / "greenlane.toml"
    file.write_text(toml)
    own = {k: v for k, v in os.environ.items() if not k.startswith("GREENLANE_")}
    if "policy" in tomllib.loads(toml):
        # The directory in the file exists in the container only.
        (folder / "policies").mkdir(exist_ok=True)
        own["GREENLANE_POLICY__DIRECTORY"] = str(folder / "policies")
    if "auth" in tomllib.loads(toml):
        # So are these files.
        (folder / "callers.toml").write_text(CALLERS)
        own |= {"GREENLANE_AUTH__CALLERS_FILE": str(folder / "callers.toml"), "GREENLANE_AUTH__JWKS_CA_FILE": ""}
    done = subprocess.run([BINARY, "serve", "--check-config", "--config", str(file), "--output", "json"], cwd=folder,
                          env=own | (environment or {}), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return {row["key"]: row["value"] for row in json.loads(done.stdout)}


def milliseconds(duration: str) -> int | None:
    """A duration such as 1m30s; `None` where it is none."""
    if not re.fullmatch(r"(\d+(ms|s|m|h|d))+", duration):
        return None
    return sum(int(count) * MILLISECONDS[unit] for count, unit in re.findall(r"(\d+)([a-z]+)", duration))


@pytest.fixture(scope="session")
def settings(tmp_path_factory) -> dict[str, str]:
    """The program's settings, with their defaults."""
    return check_config("", tmp_path_factory.mktemp("defaults"))


def environments(objects):
    """Each container's variables that are settings."""
    for each, _, spec in pod_templates(objects):
        for container in spec["containers"]:
            yield each, {variable["name"]: variable.get("value", "postgres://u:p@h/d")
                         for variable in container.get("env", []) if variable["name"].startswith("GREENLANE_")}


# --- what Helm, Kubernetes and the program say ----------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_helm_finds_no_fault_with_the_chart(name):
    report = helm_python.lint(str(CHART), values(name), strict=True, kube_version=f"v{NEWEST}.0")
    # An icon is recommended, which is all that is to be said.
    assert [message for message in report["messages"] if message["severity"] > 1] == [], report


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_kubernetes_takes(name, version):
    objects = [each for each in render(values(name)) if each["apiVersion"] != MONITORING]
    assert len(objects) >= 6
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)
        assert each["metadata"]["namespace"] == "prod"
        assert len(each["metadata"]["name"]) <= 63


def operator_says(objects) -> str:
    """What the Prometheus operator's schemas have against these objects."""
    script = pathlib.Path(__file__).with_name("monitoring.mjs").read_text()
    done = subprocess.run(["node", "--input-type=module", "-e", script], input=json.dumps(objects), text=True,
                          capture_output=True, timeout=60, cwd=NODE_MODULES)
    assert done.returncode == bool(done.stdout) and not done.stderr, done.stderr
    return done.stdout


def test_every_object_of_the_prometheus_operator_is_what_it_takes():
    objects = [each for each in render(values("postgres")) if each["apiVersion"] == MONITORING]
    monitor, rules = sorted(objects, key=lambda each: each["kind"], reverse=True)
    assert (monitor["kind"], rules["kind"]) == ("ServiceMonitor", "PrometheusRule")
    assert operator_says(objects) == ""
    over_tls = [each for each in render(values("tls")) if each["apiVersion"] == MONITORING]
    assert operator_says(over_tls) == "" and over_tls[0]["spec"]["endpoints"] == [{
        "port": "http", "path": "/metrics", "interval": "15s", "scheme": "https", "tlsConfig": {
            "serverName": "demo-greenlane.prod.svc", "ca": {"secret": {"name": "greenlane-tls", "key": "ca.crt"}}}}]
    assert rules["spec"] == yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    for path, value, complaint in (("spec.selectorr", {}, "selectorr"), ("spec.endpoints", [{"port": 1}], "port"),
                                   ("spec.endpoints", [{"interval": "15q"}], "interval"), ("spec.selector", None, "selector")):
        assert complaint in operator_says([merged(monitor, dotted(path, value))])
    rules["spec"]["groups"][0]["rules"][0]["fro"] = "5m"
    assert "groups[0].rules[0].fro" in operator_says([rules])


def test_grafana_gets_the_dashboard_as_it_is():
    board = of_kind(render(values("postgres")), "ConfigMap", "dashboard")
    assert json.loads(board["data"]["greenlane.json"]) == json.loads((CHART / "files/dashboard.json").read_text())
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_oldest_kubernetes_is_the_one_the_chart_names():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={OLDEST}.0-0"


@pytest.mark.parametrize("name", NAMES)
def test_the_program_takes_the_rendered_configuration(name, tmp_path):
    rendered = render(values(name))
    in_effect = check_config(configuration(rendered), tmp_path)
    for section, keys in tomllib.loads(configuration(rendered)).items():
        for key, value in keys.items():
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            same = in_effect[f"{section}.{key}"] == shown or milliseconds(in_effect[f"{section}.{key}"]) == milliseconds(shown)
            assert same or (section, key) == ("policy", "directory"), key
    for each, environment in environments(rendered):
        in_effect = check_config(configuration(rendered), tmp_path, environment)
        assert not environment or in_effect["upstream.url"] == "postgres://***@h/d", each["kind"]


def test_every_setting_of_the_program_is_a_value_or_the_charts_own(settings):
    sections = SCHEMA["properties"]["config"]["properties"]
    keys = {f"{section}.{key}" for section, schema in sections.items() for key in schema["properties"]}
    assert keys | CHARTS_OWN == settings.keys()
    assert not keys & CHARTS_OWN


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_named_in_the_chart_is_one_of_the_programs(name, settings):
    rendered = render(values(name))
    named = {f"{section}.{key}" for section, keys in tomllib.loads(configuration(rendered)).items() for key in keys}
    named |= {variable.removeprefix("GREENLANE_").lower().replace("__", ".")
              for _, environment in environments(rendered) for variable in environment}
    assert named <= settings.keys()
    # Nothing stands in a comment, a note or a template that is not there, either.
    text = "\n".join(path.read_text() for path in CHART.rglob("*") if path.is_file())
    for key in re.findall(rf"\b(?:{'|'.join({key.split('.')[0] for key in settings})})\.[a-z]+_[a-z_]+\b", text):
        assert key in settings, key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("accept", [False, True])
def test_every_command_of_a_pod_is_one_of_the_programs(name, accept):
    for each, _, spec in pod_templates(render(values(name, store__acceptDrift=accept))):
        assert ("--accept-drift" in spec["containers"][0]["args"]) == (accept and each["kind"] in ("StatefulSet", "Deployment"))
        command, *arguments = spec["containers"][0]["args"]
        told = subprocess.run([BINARY, command, "--help"], capture_output=True, text=True, timeout=30)
        assert told.returncode == 0, told.stderr
        for flag in (argument for argument in arguments if argument.startswith("--")):
            assert f"{flag} " in told.stdout or f"{flag}\n" in told.stdout, f"{each['kind']}: {flag}"


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, words", [
    ({"replicsa": 3}, ["replicsa", "not allowed"]),
    ({"replicas": 0}, ["/replicas", "minimum"]),
    ({"replicas": "3"}, ["/replicas", "integer"]),
    ({"enterprises": 1.5}, ["/enterprises", "integer"]),
    ({"store.kind": "mysql"}, ["/store/kind", "'embedded', 'postgres', 'nats'"]),
    ({"store.kind": "embedded"}, ["/replicas", "value must be 1"]),
    ({"store.kind": "embedded", "replicas": 1, "autoscaling.enabled": True}, ["/autoscaling/enabled", "false"]),
    ({"store.urlSecret.name": ""}, ["/store/urlSecret/name", "minLength"]),
    ({"store.urlSecret.name": "Under_score"}, ["/store/urlSecret/name", "pattern"]),
    ({"store.url": "postgres://user:password@host/db"}, ["/store", "'url'"]),
    ({"migrate.urlSecret.name": ""}, ["/migrate/urlSecret/name", "minLength"]),
    ({"relay.enabled": True}, ["/relay/enabled", "false"]),
    ({"store.kind": "nats", "relay.enabled": True}, ["/relay/urlSecret/name", "minLength"]),
    ({"draw.secret.name": ""}, ["/draw/secret/name", "minLength"]),
    ({"config.upstream.url": "postgres://"}, ["/config/upstream", "'url'"]),
    ({"config.drain.propagation": "5"}, ["/config/drain/propagation", "pattern"]),
    ({"config.drain.propagation": None}, ["/config/drain", "propagation"]),
    ({"config.audit.durability": "disk"}, ["/config/audit/durability", "'process', 'power', 'off'"]),
    ({"config.limits.max_connections": 0}, ["/config/limits/max_connections", "minimum"]),
    ({"networkPolicy.clients": [{"podSelektor": {}}]}, ["/networkPolicy/clients/0", "podSelektor"]),
    ({"networkPolicy.clients": [{}]}, ["/networkPolicy/clients/0", "minProperties"]),
    ({"podLabels": {"a": 1}}, ["/podLabels/a", "string"]),
    ({"image.digest": "sha256:1234"}, ["/image/digest", "pattern"]),
    ({"anonymous": False}, ["callers.configMap", "callers.secret", "anonymous=true", "each has every role"]),
    ({"callers.configMap": "a"}, ["set one of callers.configMap, callers.secret and anonymous"]),
    ({"anonymous": False, "callers.configMap": "a", "callers.secret": "b"}, ["set one of"]),
    ({"callers.jwksConfigMap": "a", "config.auth": {"jwks_url": "https://a"}}, ["keys come from one place"]),
    ({"config.auth": {"jwks_url": "http://a"}}, ["/config/auth/jwks_url", "pattern"]),
    ({"config.auth": {"callers_file": "a"}}, ["/config/auth", "callers_file"]),
    ({"tls.clientCertificates": "always"}, ["/tls/clientCertificates", "'none', 'optional', 'required'"]),
    ({"tls.clientCertificates": "required"}, ["/tls/secret", "minLength"]),
    ({"tls.key": "-----BEGIN PRIVATE KEY-----"}, ["/tls", "'key'"]),
    ({"config.tls.key_file": "/tls.key"}, ["/config/tls", "'key_file'"]),
])
def test_a_wrong_value_is_refused_by_its_name(change, words):
    given = values("postgres", autoscaling__enabled=False)
    for path, value in change.items():
        given = merged(given, dotted(path, value))
    with pytest.raises(Refused) as refused:
        texts(given)
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_callers_are_known_by_files_that_are_followed_and_keys_that_may_be_fetched():
    objects = render(values("callers"))
    settings = tomllib.loads(configuration(objects))
    assert settings["server"]["allow_anonymous_remote"] is False
    assert settings["auth"] | {"issuer": "", "audience": ""} == {
        "callers_file": "/etc/greenlane-callers/callers.toml", "jwks_ca_file": "/etc/greenlane-callers/jwks-ca.crt",
        "jwks_url": "https://id.customs.example:8443/keys", "issuer": "", "audience": ""}
    spec = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]
    mount, = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "callers")
    # A file that is mounted alone is never changed.
    assert "subPath" not in mount and mount["mountPath"] == "/etc/greenlane-callers"
    sources = {(*source,): source for volume in spec["volumes"] if volume["name"] == "callers"
               for source in volume["projected"]["sources"]}
    assert sources["secret",]["secret"]["items"] == [{"key": "callers", "path": "callers.toml"}]
    assert sources["configMap",]["configMap"]["name"] == "greenlane-issuer-ca"
    egress = of_kind(objects, "NetworkPolicy", "replica")["spec"]["egress"]
    assert [{"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "198.51.100.9/32"}}]}] == [
        rule for rule in egress if {"port": 8443, "protocol": "TCP"} in rule["ports"]]
    endpoint, = of_kind(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "greenlane-scrape", "key": "token"}
    assert operator_says([of_kind(objects, "ServiceMonitor")]) == ""
    from_file = render(values("embedded", anonymous=False, plaintext=True, callers__configMap="who", callers__jwksConfigMap="keys"))
    assert tomllib.loads(configuration(from_file))["auth"] == {
        "callers_file": "/etc/greenlane-callers/callers.toml", "jwks_file": "/etc/greenlane-callers/jwks.json"}


def test_relays_have_the_files_that_callers_are_known_by_and_reach_their_issuer():
    said = {"anonymous": False, "plaintext": True, "callers__configMap": "who"}
    objects = render(values("nats", **said, callers__jwksConfigMap="keys"))
    assert tomllib.loads(configuration(objects))["auth"]["jwks_file"] == "/etc/greenlane-callers/jwks.json"
    relay = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
    mount, = (each for each in relay["containers"][0]["volumeMounts"] if each["name"] == "callers")
    assert mount["mountPath"] == "/etc/greenlane-callers" and "subPath" not in mount
    volume, = (each for each in relay["volumes"] if each["name"] == "callers")
    assert [source["configMap"]["name"] for source in volume["projected"]["sources"]] == ["who", "keys"]
    fetched = render(values("nats", **said, config__auth={"jwks_url": "https://id.customs.example:8443/keys"}))
    egress = of_kind(fetched, "NetworkPolicy", "relay")["spec"]["egress"]
    assert [rule for rule in egress if {"port": 8443, "protocol": "TCP"} in rule["ports"]]


def test_without_values_helm_says_what_is_missing():
    with pytest.raises(Refused) as refused:
        texts({})
    assert all(path in str(refused.value) for path in
               ("/store/urlSecret/name", "/migrate/urlSecret/name", "/draw/secret/name")), str(refused.value)


def test_no_object_of_the_schema_takes_what_it_does_not_know():
    def check(schema, path):
        if isinstance(schema, dict):
            if schema.get("type") == "object" and path != "/properties/global":
                assert schema.get("additionalProperties") in (False, {"type": "string"}), path
            for key, value in schema.items():
                check(value, f"{path}/{key}")

    check(SCHEMA, "")


def test_every_value_is_documented_in_the_schema_and_in_use():
    text = (CHART / "values.yaml").read_text()
    lines = text.splitlines()
    for above, line in zip(lines, lines[1:]):
        if re.match(r" *[A-Za-z_]+: \S", line):
            assert above.strip().startswith("#"), line

    def compare(values_, schema, path):
        known = set(schema["properties"]) - {"global"}
        assert set(values_) == known, path
        for key, value in values_.items():
            below = schema["properties"][key]
            if isinstance(value, dict) and "properties" in below and key != "config":
                compare(value, below, f"{path}/{key}")

    compare(yaml.safe_load(text), SCHEMA, "")
    templates = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    for key in yaml.safe_load(text):
        assert f".Values.{key}" in templates, key


def test_memory_follows_the_number_of_enterprises_and_what_is_held_for_terminals(settings):
    def memory(name, **over):
        container = of_kind(render(values(name, **over)), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert "cpu" not in container["resources"]["limits"]
        return int(container["resources"]["limits"]["memory"].removesuffix("Mi"))

    held = int(settings["shipments.max_bytes"]) + 128 * int(settings["shipments.max_containers"])
    assert memory("nats", enterprises=10_000_000) == 512 + (10_000_000 * 400 + held) // 2**20
    # 1.1 times what a real replica took at most: 413 MiB with a million, through three fresh snapshots.
    assert memory("nats", enterprises=1_000_000) >= 413 * 1.1 + held / 2**20
    assert memory("embedded") == 512 + (10_000 * 400 + 67_108_864 + 128 * 50_000) // 2**20
    assert memory("nats", memoryMiB=9000) == 9000


# --- what every pod and object must hold -----------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_has_as_few_rights_as_can_be(name):
    pods = list(pod_templates(render(values(name))))
    assert pods
    for each, _, spec in pods:
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] == security["runAsGroup"] == NOBODY
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all({"emptyDir", "projected", "configMap"} & volume.keys() for volume in spec.get("volumes", []))
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True and security["capabilities"] == {"drop": ["ALL"]}
            assert security["allowPrivilegeEscalation"] is False and security["privileged"] is False
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]
            assert all(variable.keys() == {"name", "valueFrom"} or "secret" not in variable["value"]
                       for variable in container.get("env", []))


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_finds_its_pods_and_no_others(name):
    objects = render(values(name))
    pods = [(each["metadata"]["name"], metadata["labels"]) for each, metadata, _ in pod_templates(objects)]
    fullname = of_kind(objects, "StatefulSet")["metadata"]["name"]

    def found(selector: dict) -> list[str]:
        return [pod for pod, labels in pods if selector.items() <= labels.items()]

    for each in objects:
        match each["kind"]:
            case "StatefulSet" | "Deployment":
                selector = each["spec"]["selector"]["matchLabels"]
                spread = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
                assert all(part["labelSelector"]["matchLabels"] == selector for part in spread)
                assert [part["topologyKey"] for part in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
                wanted = each["metadata"]["name"]
            case "Service":
                selector, wanted = each["spec"]["selector"], fullname
            case "PodDisruptionBudget":
                selector = each["spec"]["selector"]["matchLabels"]
                wanted = each["metadata"]["name"].removesuffix("-replica")
            case "NetworkPolicy":
                selector = each["spec"]["podSelector"]["matchLabels"]
                wanted = each["metadata"]["name"].removesuffix("-replica")
            case "ServiceMonitor":
                selector = each["spec"]["selector"]["matchLabels"]
                assert selector.items() <= of_kind(objects, "Service")["metadata"]["labels"].items()
                wanted = fullname
            case _:
                continue
        assert found(selector) == [wanted], each["kind"]


def test_names_that_objects_ask_one_another_by_are_there():
    for name in NAMES:
        objects = render(values(name))
        service = of_kind(objects, "Service")
        ports = {port["name"]: port for port in service["spec"]["ports"]}
        replica = of_kind(objects, "StatefulSet")
        container = replica["spec"]["template"]["spec"]["containers"][0]
        listening = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert replica["spec"]["serviceName"] == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
        assert {name: port["targetPort"] for name, port in ports.items()} == {name: name for name in listening}
        server = tomllib.loads(configuration(objects))["server"]
        scheme = {"scheme": "HTTPS"} if values(name).get("tls") else {}
        assert ports["grpc"]["appProtocol"] == ("https" if scheme else "kubernetes.io/h2c")
        assert server["grpc_addr"].endswith(f":{listening['grpc']}")
        assert server["http_addr"].endswith(f":{listening['http']}")
        for probe, path in (("startup", "/startupz"), ("liveness", "/livez"), ("readiness", "/readyz")):
            assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"} | scheme
        for rule in of_kind(objects, "NetworkPolicy", "replica")["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= listening.keys() and rule["from"]
        test = of_kind(objects, "Pod")["spec"]["containers"][0]
        assert test["args"][-1].removeprefix("https://") == f"{service['metadata']['name']}:{ports['http']['port']}"
        assert test["args"][-1].startswith("https://") == bool(scheme)
        for each in objects:
            if each["kind"] == "HorizontalPodAutoscaler":
                assert each["spec"]["scaleTargetRef"]["name"] == replica["metadata"]["name"]
                assert "replicas" not in replica["spec"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {claim["metadata"]["name"] for claim in replica["spec"]["volumeClaimTemplates"]}
        assert mounted == claimed | {volume["name"] for volume in replica["spec"]["template"]["spec"]["volumes"]}


def test_relays_are_probed_over_tls_with_the_same_certificate():
    objects = render(values("nats", tls__secret="pair", tls__caKey=""))
    relay = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
    container, = relay["containers"]
    for probe_ in ("startup", "liveness", "readiness"):
        assert container[f"{probe_}Probe"]["httpGet"]["scheme"] == "HTTPS"
    sources = next(volume for volume in relay["volumes"] if volume["name"] == "configuration")["projected"]["sources"]
    paths = [item["path"] for source in sources if source.get("secret", {}).get("name") == "pair"
             for item in source["secret"]["items"]]
    assert paths == ["tls/tls.crt", "tls/tls.key"]
    said = tomllib.loads(configuration(objects))
    assert [said["tls"][key].removeprefix("/etc/greenlane/") for key in ("certificate_file", "key_file")] == paths
    assert said["server"]["allow_plaintext_remote"] is False


@pytest.mark.parametrize("first, second", [
    ("greenlane", "greenlane-relay"), ("a", "b"), ("greenlane", "greenlane-config"), ("greenlane-replica", "greenlane"),
    ("customs-of-a-port-with-a-very-long-name-north", "customs-of-a-port-with-a-very-long-name-south"),
])
def test_two_releases_in_one_namespace_do_not_meet(first, second):
    def identities(objects):
        return {(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects}

    one, other = render(values("nats"), first), render(values("nats"), second)
    assert not identities(one) & identities(other)
    theirs = [metadata["labels"] for _, metadata, _ in pod_templates(other)]
    for each in one:
        spec = each.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        selector = selector.get("matchLabels", selector)
        assert not selector or not any(selector.items() <= labels.items() for labels in theirs), each["kind"]


@pytest.mark.parametrize("propagation, deadline, sleep", [
    (None, None, None), ("0s", "250ms", 0), ("1m30s", "2m", 15), ("1h", "90s", 600),
])
def test_a_pod_may_take_longer_to_stop_than_every_step_of_the_drain_together(propagation, deadline, sleep, tmp_path):
    over = {path: value for path, value in (("config__drain__propagation", propagation),
                                            ("config__drain__deadline", deadline), ("preStopSeconds", sleep)) if value is not None}
    for name in NAMES:
        objects = render(values(name, **over))
        in_effect = check_config(configuration(objects), tmp_path)
        # Every step there is, as the program itself reads the file: one that is added later counts too.
        steps = [milliseconds(value) for key, value in in_effect.items() if key.startswith("drain.")]
        assert len(steps) >= 4
        # The snapshot file takes a second a million.
        assert milliseconds(in_effect["drain.snapshot"]) >= values(name)["enterprises"] / 1_000
        spec = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]
        hook = spec["containers"][0].get("lifecycle")
        assert (hook is None) == (not values(name, **over).get("preStopSeconds"))
        slept = hook["preStop"]["sleep"]["seconds"] if hook else 0
        # A call is cut at its bound, and half a second later who should have cut it.
        assert spec["terminationGracePeriodSeconds"] >= sum(steps) / 1000 + slept + 5


def test_spans_go_to_the_collector_that_is_named_and_to_nobody_else():
    def told(name: str, endpoint: str) -> tuple[dict, set]:
        objects = render(values(name, traces__endpoint=endpoint))
        spec = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]
        egress = of_kind(objects, "NetworkPolicy", "replica")["spec"]["egress"]
        return ({each["name"]: each.get("value") for each in spec["containers"][0].get("env", [])},
                {port["port"] for rule in egress for port in rule["ports"]})

    for name in NAMES:
        without, ports = told(name, "")
        assert not [variable for variable in without if variable.startswith("OTEL_")]
        for endpoint, port in (("http://collector:4318", 4318), ("https://10.0.0.9:4317/", 4317)):
            given, reached = told(name, endpoint)
            assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == endpoint
            assert given["OTEL_RESOURCE_ATTRIBUTES"] == "service.instance.id=$(POD_NAME)"
            assert reached == ports | {53, port}


def test_the_audit_log_is_deleted_before_the_volume_is_full():
    for name in NAMES:
        given = values(name)
        objects = render(given)
        claim = of_kind(objects, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"]
        gibibytes = int(claim["resources"]["requests"]["storage"].removesuffix("Gi"))
        assert 0 < tomllib.loads(configuration(objects))["audit"]["max_bytes"] < 0.7 * gibibytes * 2**30


# --- pods that run --------------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a pod as a kubelet does")
COLUMNS, ACME = "customs_code, name, credit_tier, tier_effective_from", "('1100000001', 'Acme', 'REGULAR', '2020-01-01')"
POLICY = (REPO / "src/policy/decrees/cn-gacc-251.toml").read_text()


def cluster(folder: pathlib.Path, objects, url: str = "") -> tuple[dict, dict]:
    """The Secrets and ConfigMaps that the values name, and the chart's own."""
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / "signing.key"], check=True)
    public = subprocess.run(["openssl", "pkey", "-in", folder / "signing.key", "-pubout"], check=True, capture_output=True)
    secrets = {"greenlane-draw": {"master-secret": SECRET}, "greenlane-store": {"url": url}, "greenlane-nats": {"url": url},
               "greenlane-store-login": {"password": "marker"}, "greenlane-owner": {"url": url, "address": url},
               "greenlane-signing": {"signing.key": (folder / "signing.key").read_text(), "signing.pub": public.stdout.decode()}}
    return secrets, {of_kind(objects, "ConfigMap", "replica")["metadata"]["name"]:
                     of_kind(objects, "ConfigMap", "replica")["data"], "greenlane-policies": {"cn-gacc-251.toml": POLICY}}


def started(tmp_path, objects, url: str = "") -> tuple[Pod, str]:
    """The replica's pod, on ports of its own, and its HTTP address."""
    grpc_port, http_port = free_ports(2)
    spec = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]
    ports = {"GREENLANE_SERVER__GRPC_ADDR": f"127.0.0.1:{grpc_port}", "GREENLANE_SERVER__HTTP_ADDR": f"127.0.0.1:{http_port}"}
    pod = Pod(tmp_path, spec, *cluster(tmp_path, objects, url), BINARY, ports)
    return pod, f"127.0.0.1:{http_port}"


def probe(address: str, path: str, authority: Authority | None = None) -> int:
    """The status; over TLS where there is an authority by which it is trusted."""
    scheme, context = ("https", ssl.create_default_context(cadata=authority.pem.decode())) if authority else ("http", None)
    try:
        return urllib.request.urlopen(f"{scheme}://{address}{path}", timeout=5, context=context).status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def stopped(pod: Pod):
    pod.process.send_signal(signal.SIGTERM)
    assert pod.process.wait(60) == 0, pod.log.read_text()


@as_root
def test_the_embedded_pod_is_filled_by_exec_answers_and_comes_back_with_its_volume(tmp_path):
    objects = render(values("embedded", config__drain__propagation="50ms"))
    pod, address = started(tmp_path, objects)
    line = "customs_code,social_credit_code,name,credit_tier,tier_effective_from,tier_valid_until,suspended\n"
    register = line + "1100000001,,Acme,ADVANCED_CERTIFIED,2020-01-01,,0\n"
    with pod:
        eventually(lambda: probe(address, "/livez") == 200, 20, f"alive\n{pod.log.read_text()}")
        assert probe(address, "/readyz") == 503, "an empty register is no data"
        filled = pod.run("enterprise", "import", "-", input=register)
        assert filled.returncode == 0, filled.stderr
        eventually(lambda: probe(address, "/readyz") == 200, 20, "ready")
        assert probe(address, "/startupz") == 200
        status = pod.run("--output", "json", "status")
        assert json.loads(status.stdout)["registry"]["state"] == "REGISTRY_STATE_LIVE", status.stderr
        stopped(pod)
    with pod:
        eventually(lambda: probe(address, "/readyz") == 200, 20, "ready again")
        stopped(pod)
    owners = {(path.stat().st_uid, path.name) for path in (pod.root / "var/lib/greenlane").rglob("*")}
    assert {owner for owner, _ in owners} == {NOBODY}
    assert {"greenlane.db", "registry.snapshot", "signing.key"} <= {name for _, name in owners}


@as_root
def test_the_postgresql_pods_migrate_and_serve_with_secrets_by_reference(tmp_path):
    over = {"store__tlsSecret": "", "config__drain__propagation": "50ms", "config__upstream__min_enterprises": 1}
    objects = render(values("postgres", **over))
    with Postgres() as postgres:
        migration = of_kind(objects, "Job")["spec"]["template"]["spec"]
        made = Pod(tmp_path / "migrate", migration, *cluster(tmp_path, objects, postgres.url), BINARY).run()
        assert made.returncode == 0, made.stderr
        with postgres.connect() as sql:
            sql.execute(f"INSERT INTO enterprise ({COLUMNS}) VALUES {ACME}")
        pod, address = started(tmp_path, objects, postgres.url)
        with pod:
            eventually(lambda: probe(address, "/readyz") == 200, 20, f"ready\n{pod.log.read_text()}")
            stopped(pod)
        trim = of_kind(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        trimmed = Pod(tmp_path / "trim", trim, *cluster(tmp_path, objects, postgres.url), BINARY).run()
        assert trimmed.returncode == 0 and "trimmed" in trimmed.stdout, trimmed.stderr


@as_root
def test_the_nats_pods_feed_and_follow_it(tmp_path):
    over = {"store__tlsSecret": "", "store__credentialsSecret": {"name": ""}, "config__drain__propagation": "50ms"}
    objects = render(values("nats", **over))
    with Postgres() as postgres, Servers(tmp_path / "nats") as nats:
        migration = of_kind(objects, "Job")["spec"]["template"]["spec"]
        secrets, config_maps = cluster(tmp_path, objects, postgres.url)
        assert Pod(tmp_path / "migrate", migration, secrets, config_maps, BINARY).run().returncode == 0
        with postgres.connect() as sql:
            sql.execute(f"INSERT INTO enterprise ({COLUMNS}) VALUES {ACME}")
        secrets["greenlane-nats"] = {"url": nats.url}
        feeding = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
        arguments, http = feeding["containers"][0]["args"], f"127.0.0.1:{free_ports(1)[0]}"
        arguments[arguments.index("--http-addr") + 1] = http
        with Pod(tmp_path / "relay", feeding, secrets, config_maps, BINARY) as relay:
            pod, address = started(tmp_path, objects, nats.url)
            with pod:
                eventually(lambda: probe(address, "/readyz") == 200, 30, f"ready\n{relay.log.read_text()}{pod.log.read_text()}")
                assert probe(http, "/readyz") == 200
                stopped(pod)
            stopped(relay)


@as_root
def test_the_pod_with_tls_is_probed_asked_and_given_another_certificate_over_tls(tmp_path):
    over = {"config__drain__propagation": "50ms", "config__tls__reload_interval": "100ms", "tls__clientCertificates": "optional"}
    objects = render(values("tls", **over))
    authority, clients = Authority("Servers"), Authority("Clients")
    name = tomllib.loads(configuration(objects))["client"]["tls_name"]
    own, other = authority.issue(name), authority.issue(name)
    grpc_port, http_port = free_ports(2)
    secrets, config_maps = cluster(tmp_path, objects)
    secrets |= {"greenlane-clients": {"ca.crt": clients.pem.decode(), "crl.pem": clients.revoke().decode()},
                "greenlane-tls": {"tls.crt": own.certificate.decode(), "tls.key": own.key.decode(), "ca.crt": authority.pem.decode()}}
    address = f"127.0.0.1:{http_port}"
    ports = {"GREENLANE_SERVER__GRPC_ADDR": f"127.0.0.1:{grpc_port}", "GREENLANE_SERVER__HTTP_ADDR": address}
    spec = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]
    pod = Pod(tmp_path, spec, secrets, config_maps, BINARY, ports)
    test = of_kind(objects, "Pod")["spec"]
    test["containers"][0]["args"][-1] = f"https://{address}"
    tested = Pod(tmp_path / "test", test, secrets, {}, BINARY)
    with pod:
        eventually(lambda: probe(address, "/livez", authority) == 200, 20, f"alive\n{pod.log.read_text()}")
        assert pod.run("healthcheck", "--live").returncode == 0 and pod.run("healthcheck").returncode == 1
        assert tested.run().returncode == 1
        line = "customs_code,social_credit_code,name,credit_tier,tier_effective_from,tier_valid_until,suspended\n"
        assert pod.run("enterprise", "import", "-", input=line + "1100000001,,Acme,REGULAR,2020-01-01,,0\n").returncode == 0
        eventually(lambda: pod.run("healthcheck").returncode == 0, 20, "ready")
        done = tested.run()
        assert done.returncode == 0, done.stderr
        status = pod.run("status")
        assert "LIVE" in status.stdout, status.stderr
        assert probe(address, "/livez") == 0, "plaintext"
        # As a kubelet swaps a Secret.
        configuration_files = pod.root / "etc/greenlane"
        held = configuration_files / "..2026_11_25"
        shutil.copytree(configuration_files / "..data", held, symlinks=True)
        for file, content in (("tls.crt", other.certificate), ("tls.key", other.key)):
            (held / "tls" / file).write_bytes(content)
        for file in (held, *held.rglob("*")):
            os.chown(file, 0, NOBODY)
        (configuration_files / "..next").symlink_to(held.name)
        (configuration_files / "..next").rename(configuration_files / "..data")
        eventually(lambda: other.serial in pod.log.read_text(), 20, f"the new certificate\n{pod.log.read_text()}")
        assert probe(address, "/readyz", authority) == 200
        stopped(pod)


@as_root
def test_the_test_pod_tells_a_ready_replica_from_one_that_is_not(tmp_path):
    objects = render(values("embedded"))
    spec = of_kind(objects, "Pod")["spec"]
    with Server(tmp_path / "server").start(wait=False) as server:
        spec["containers"][0]["args"][-1] = server.http_addr
        pod = Pod(tmp_path, spec, {}, {}, BINARY)
        server.wait_for_store()
        eventually(lambda: probe(server.http_addr, "/livez"), 20, "it listens")
        asked = pod.run()
        assert asked.returncode == 1 and "503 not ready" in asked.stderr, asked
        with server.sql() as sql:
            sql.execute(f"INSERT INTO enterprise ({COLUMNS}) VALUES {ACME}")
        server.wait_ready()
        assert pod.run().returncode == 0
