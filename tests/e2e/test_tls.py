"""TLS as its clients and its operators meet it: openssl, curl, grpcio and the program's own commands against a real replica,
whose certificates another library makes, and which are swapped as Kubernetes swaps a Secret."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time

import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certificates import HOUR, NAME, Authority, Mounted, Pair, TlsServer
from feed import declare, fill
from harness import Server, _stubs, eventually, pb

CODE = "2000000000"
SOON = 30
UNAVAILABLE, UNAUTHENTICATED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED


class Scene:
    """A replica that asks clients for certificates, with what it trusts."""

    def __init__(self, folder, settings=None, lists=True):
        self.authority, self.clients = Authority("Servers"), Authority("Clients")
        self.own, self.pair = self.authority.issue(), self.clients.client()
        self.mounted = Mounted(folder / "tls")
        files = {"crl_pem": self.clients.revoke()} if lists else {}
        self.mounted.put(tls_crt=self.own.certificate, tls_key=self.own.key, ca_crt=self.clients.pem, **files)
        self.server = TlsServer(folder / "replica", self.mounted, self.authority, self.pair, settings)

    def __enter__(self) -> "Scene":
        self.server.start(wait=False)
        self.server.wait_for_store()
        with contextlib.closing(self.server.sql()) as sql:
            fill(sql, "CERTIFIED", 10)
        self.server.wait_ready()
        return self

    def __exit__(self, *_):
        self.server.kill()

    def decide(self, channel: grpc.Channel | None = None, number: int = 1, timeout: float = 10):
        stub = _stubs["FacilitationServiceStub"](channel or self.server.channel)
        return stub.Decide(declare(CODE, number=number), timeout=timeout).decision

    def refused(self, pair: Pair | None, authority: Authority | None = None) -> grpc.RpcError:
        """How a call of a client of its own fails."""
        with self.server.connect(pair, authority) as channel, pytest.raises(grpc.RpcError) as refused:
            self.decide(channel)
        return refused.value

    def handshakes(self, outcome: str) -> float:
        return self.server.metric("greenlane_tls_handshakes_total", outcome=outcome)

    def shown(self, port: str = "grpc") -> str:
        """The serial number of the certificate that a new handshake shows, as openssl reads it."""
        address = self.server.grpc_addr if port == "grpc" else self.server.http_addr
        told = openssl(address, "-showcerts").stdout
        serial = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=told, text=True, capture_output=True, timeout=20)
        assert serial.returncode == 0, told + serial.stderr
        return serial.stdout.strip().removeprefix("serial=")


def openssl(address: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(["openssl", "s_client", "-connect", address, *options], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=SOON)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """For tests that change nothing."""
    with Scene(tmp_path_factory.mktemp("tls")) as own:
        yield own


class Watching:
    """A watch of health over a connection of its own, to its end."""

    def __init__(self, scene: Scene, pair: Pair):
        self.channel = scene.server.connect(pair)
        self.code: grpc.StatusCode | None = None
        self.words = ""
        self.stream = health_pb2_grpc.HealthStub(self.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        next(self.stream)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            for _ in self.stream:
                pass
        except grpc.RpcError as error:
            self.code, self.words = error.code(), error.details()

    def ends(self) -> grpc.StatusCode:
        self.thread.join(60)
        assert not self.thread.is_alive(), "the watch goes on"
        return self.code


# --- what is spoken, and by whom ------------------------------------------------------------------


@pytest.mark.parametrize("version, spoken", [("tls1", None), ("tls1_1", None), ("tls1_2", "TLSv1.2"), ("tls1_3", "TLSv1.3")])
def test_new_versions_alone_are_spoken_on_both_ports(scene, version, spoken):
    for address, protocol in ((scene.server.grpc_addr, "h2"), (scene.server.http_addr, "http/1.1")):
        done = openssl(address, f"-{version}", "-cipher", "DEFAULT@SECLEVEL=0", "-alpn", protocol)
        told = done.stdout + done.stderr
        if spoken:
            assert f"New, {spoken}, Cipher is" in told and f"ALPN protocol: {protocol}" in told, told
        else:
            assert re.search("alert (protocol version|handshake failure)", told) and "Cipher is (NONE)" in told, told


def test_ciphers_without_forward_secrecy_and_other_protocols_are_refused(scene):
    for cipher in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA"):
        done = openssl(scene.server.grpc_addr, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
        assert "alert handshake failure" in done.stderr, done.stderr
    for address, protocol in ((scene.server.grpc_addr, "http/1.1"), (scene.server.http_addr, "h2")):
        done = openssl(address, "-alpn", protocol)
        assert "no application protocol" in done.stdout + done.stderr, done.stderr


def test_a_client_is_served_for_a_certificate_that_is_trusted_and_for_no_other(scene, tmp_path):
    assert scene.decide().lane != pb.LANE_UNSPECIFIED
    server_only = scene.clients.issue("server", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    between = Authority("Between", within=scene.clients)
    bad = {
        "none": (None, "no_certificate"),
        "another authority": (Authority("Clients").client(), "bad_certificate"),
        "the server's own authority": (scene.authority.client(), "bad_certificate"),
        "expired": (scene.clients.client(ends=-60), "bad_certificate"),
        "not good yet": (scene.clients.client(begins=HOUR), "bad_certificate"),
        "of a server": (server_only, "bad_certificate"),
        # Nobody tells whether that authority is revoked, or has revoked anything.
        "without a list": (between.client(), "bad_certificate"),
    }
    for what, (pair, outcome) in bad.items():
        before = scene.handshakes(outcome)
        assert scene.refused(pair).code() == UNAVAILABLE, what
        eventually(lambda: scene.handshakes(outcome) > before, SOON, what)
    # And clients that do not trust the replica: one says so, the other goes.
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Authority("Servers").pem)
    for outcome, call in (
            ("rejected", lambda: openssl(scene.server.grpc_addr, "-verify_return_error", "-CAfile", str(stranger))),
            ("left", lambda: scene.refused(scene.pair, Authority("Servers")))):
        before = scene.handshakes(outcome)
        call()
        eventually(lambda: scene.handshakes(outcome) > before, SOON, outcome)
    assert scene.decide().lane != pb.LANE_UNSPECIFIED


def test_where_a_certificate_is_optional_none_is_as_good_as_one_that_is_trusted(tmp_path):
    with Scene(tmp_path, {"tls.client_certificates": "optional"}, lists=False) as scene:
        between = Authority("Between", within=scene.clients)
        for pair in (None, scene.pair, between.client()):
            with scene.server.connect(pair) as channel:
                assert scene.decide(channel).lane != pb.LANE_UNSPECIFIED
        assert scene.refused(Authority("Clients").client()).code() == UNAVAILABLE


def test_curl_is_answered_over_https_and_never_over_http(scene, tmp_path):
    authority, certificate, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))
    authority.write_bytes(scene.authority.pem)
    certificate.write_bytes(scene.pair.certificate)
    key.write_bytes(scene.pair.key)
    port = scene.server.http_addr.rpartition(":")[2]

    def curl(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["curl", "-sS", "--max-time", "20", "--resolve", f"{NAME}:{port}:127.0.0.1", *arguments],
                              capture_output=True, text=True)

    trusting = ["--cacert", str(authority)]
    assert curl(*trusting, f"https://{NAME}:{port}/livez").stdout.strip() == "ok"
    assert "greenlane_tls_handshakes_total" in curl(*trusting, f"https://{NAME}:{port}/metrics").stdout
    shown = curl(*trusting, "--cert", str(certificate), "--key", str(key), f"https://{NAME}:{port}/v1/status")
    assert '"state"' in shown.stdout, shown
    assert curl(f"https://{NAME}:{port}/livez").returncode == 60, "nobody vouches for it"
    assert curl(*trusting, "--connect-to", f"other.example:443:127.0.0.1:{port}", "https://other.example/").returncode == 60
    before = scene.handshakes("not_tls")
    plain = curl(f"http://{NAME}:{port}/livez")
    assert plain.returncode != 0 and "ok" not in plain.stdout
    assert scene.handshakes("not_tls") == before + 1


def test_whoever_stalls_is_cut_and_hinders_nobody(tmp_path):
    with Scene(tmp_path, {"limits.handshake_timeout": "2s"}) as scene:
        addresses = [scene.server.grpc_addr, scene.server.http_addr]
        stalled = []
        for address in addresses:
            host, _, port = address.rpartition(":")
            for sent in [b"", b"\x16\x03\x01\x02\x00\x01"] * 20:
                stalled.append(socket.create_connection((host, int(port)), timeout=SOON))
                stalled[-1].sendall(sent)
        with scene.server.connect() as channel:
            for number in range(1, 20):
                scene.decide(channel, number)
        assert scene.server.get("/livez").strip() == "ok"
        for each in stalled:
            with each:
                assert each.recv(1) == b"", "it was not cut"
        assert scene.handshakes("timeout") == len(stalled)
        # What is no TLS ends at once, with an alert or without, and alone.
        for address in addresses:
            host, _, port = address.rpartition(":")
            for sent in (b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 64):
                with socket.create_connection((host, int(port)), timeout=SOON) as plain:
                    plain.sendall(sent)
                    with contextlib.suppress(ConnectionResetError):
                        while answer := plain.recv(1024):
                            assert answer[0] == 0x15, answer
        assert scene.handshakes("not_tls") == 6
        assert scene.decide().lane != pb.LANE_UNSPECIFIED


# --- files that change ----------------------------------------------------------------------------


def test_a_pair_is_rotated_under_running_calls_and_none_fails(tmp_path):
    with Scene(tmp_path, {"limits.max_connection_age": "300ms"}) as scene:
        stop, failed, calls = threading.Event(), [], [0] * 4

        def call(caller: int):
            with scene.server.connect() as channel:
                while not stop.is_set():
                    try:
                        scene.decide(channel, number=caller + 1, timeout=SOON)
                        calls[caller] += 1
                    except grpc.RpcError as error:
                        failed.append(error)
                        return

        callers = [threading.Thread(target=call, args=(caller,)) for caller in range(4)]
        for each in callers:
            each.start()
        serials = [scene.shown()]
        assert serials == [scene.own.serial]
        for _ in range(3):
            before = list(calls)
            new = scene.authority.issue()
            scene.mounted.pair(new)
            for port in ("grpc", "http"):
                eventually(lambda: scene.shown(port) == new.serial, SOON, f"a handshake that shows {new.serial}")
            eventually(lambda: failed or all(now > then for now, then in zip(calls, before)), SOON, "calls of every caller")
        stop.set()
        for each in callers:
            each.join()
        assert not failed, failed
        assert scene.server.metric("greenlane_tls_reloads_total", outcome="taken") == 3
        assert scene.server.metric("greenlane_tls_files_refused") == 0


def test_bad_files_are_kept_out_and_told_once_and_good_ones_taken_whole(tmp_path):
    with Scene(tmp_path) as scene:
        mounted, own = scene.mounted, scene.own
        other, expired, early = scene.authority.issue(), scene.authority.issue(ends=-60), scene.authority.issue(begins=HOUR)
        bad = {
            "tls.key_file .*is not the key of the first certificate": {"tls_crt": other.certificate, "tls_key": own.key},
            "tls.certificate_file .*has expired": {"tls_crt": expired.certificate, "tls_key": expired.key},
            "tls.certificate_file .*is not good before": {"tls_crt": early.certificate, "tls_key": early.key},
            "tls.certificate_file .*holds no certificate": {"tls_crt": other.certificate[:200], "tls_key": other.key},
            "tls.key_file .*holds no private key": {"tls_crt": other.certificate, "tls_key": b""},
            "tls.client_ca_file .*holds no certificate": {"ca_crt": b"nothing"},
            "tls.client_crl_file .*holds no certificate revocation list": {"crl_pem": scene.clients.pem},
        }
        good = dict(tls_crt=own.certificate, tls_key=own.key, ca_crt=scene.clients.pem, crl_pem=scene.clients.revoke())
        refused = 0
        for words, files in bad.items():
            mounted.put(**good | files)
            eventually(lambda: re.search(f"refused.*{words}", scene.server.log.read_text()), SOON, words)
            refused += 1
            assert scene.server.metric("greenlane_tls_files_refused") == 1
            assert scene.server.metric("greenlane_tls_reloads_total", outcome="refused") == refused, "told once"
            assert scene.shown() == own.serial
            with scene.server.connect() as channel:
                scene.decide(channel)
            mounted.put(**good)
            eventually(lambda: scene.server.metric("greenlane_tls_files_refused") == 0, SOON, "what is in force, again")
        # A key that others may read is refused too.
        mounted.put(0o644, **good | {"tls_crt": other.certificate, "tls_key": other.key})
        eventually(lambda: "mode 0644 lets others read the key" in scene.server.log.read_text(), SOON, "a refusal")
        assert scene.shown() == own.serial
        mounted.put(0o600)
        eventually(lambda: scene.shown() == other.serial, SOON, "the new pair")
        assert scene.server.metric("greenlane_tls_files_refused") == 0
        told = scene.server.log.read_text() + scene.server.command("serve", "--check-config").stdout
        for pair in (own, other, expired, early):
            assert not any(line in told for line in pair.key.decode().splitlines()), "a key is told"


def test_a_connection_ends_with_its_authority_and_calls_finish(tmp_path):
    with Scene(tmp_path, lists=False) as scene:
        watch = Watching(scene, scene.pair)
        version = scene.server.version()
        version.sequence += 1
        # In flight until the store has one more commit; on the connection that is about to end.
        stub = _stubs["FacilitationServiceStub"](watch.channel)
        call = stub.Decide.future(declare(CODE, version), timeout=60)
        other = Authority("Clients")
        # Both for a while: nobody is cut.
        scene.mounted.put(ca_crt=scene.clients.pem + other.pem)
        eventually(lambda: scene.server.metric("greenlane_tls_reloads_total", outcome="taken") == 1, SOON, "both")
        newcomer = Watching(scene, other.client())
        scene.decide()
        assert watch.thread.is_alive()
        scene.mounted.put(ca_crt=other.pem)
        assert watch.ends() == UNAUTHENTICATED, watch.words
        assert "trusted no longer" in watch.words
        with contextlib.closing(scene.server.sql()) as sql:
            fill(sql, "CERTIFIED", 1, first=10)
        if not call.exception():
            assert call.result().decision.registry_version.sequence >= version.sequence
        else:
            # Its bound for a version that does not come has passed meanwhile: answered, not cut.
            assert "min_registry_version" in call.exception().details(), call.exception()
        assert scene.refused(scene.pair).code() == UNAVAILABLE
        assert newcomer.thread.is_alive()
        scene.server.pair = other.client()
        with scene.server.connect() as channel:
            scene.decide(channel)


def test_who_is_revoked_is_cut_and_nobody_else(tmp_path):
    with Scene(tmp_path) as scene:
        revoked = scene.clients.client("revoked")
        cut, kept = Watching(scene, revoked), Watching(scene, scene.pair)
        scene.mounted.put(crl_pem=scene.clients.revoke(revoked))
        assert cut.ends() == UNAUTHENTICATED
        assert scene.refused(revoked).code() == UNAVAILABLE
        with scene.server.connect() as channel:
            scene.decide(channel)
        assert kept.thread.is_alive()


def test_a_client_certificate_that_expires_ends_its_connection(tmp_path):
    with Scene(tmp_path) as scene:
        watch, kept = Watching(scene, scene.clients.client("short", ends=12)), Watching(scene, scene.pair)
        assert watch.ends() == UNAUTHENTICATED
        assert kept.thread.is_alive()


def test_the_metrics_tell_what_openssl_reads(scene):
    def left(arguments: list[str], text: bytes) -> float:
        done = subprocess.run(["openssl", *arguments, "-noout"], input=text, capture_output=True, timeout=20)
        end = done.stdout.decode().strip().partition("=")[2]
        seconds = subprocess.run(["date", "-u", "-d", end, "+%s"], capture_output=True, text=True, check=True).stdout
        return float(seconds) - time.time()

    files = scene.mounted.files
    for sample, arguments, text in (
            ("greenlane_tls_certificate_expiry_seconds", ["x509", "-enddate"], files["tls.crt"]),
            ('greenlane_tls_client_trust_expiry_seconds{file="client_ca"}', ["x509", "-enddate"], files["ca.crt"]),
            ('greenlane_tls_client_trust_expiry_seconds{file="client_crl"}', ["crl", "-nextupdate"], files["crl.pem"])):
        before = left(arguments, text)
        told = scene.server.metrics()[sample]
        assert left(arguments, text) - 0.01 <= told <= before + 0.01, sample


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture
def flags(scene, tmp_path):
    """Flags of the commands' client."""
    (tmp_path / "ca.pem").write_bytes(scene.authority.pem)
    (tmp_path / "client.pem").write_bytes(scene.pair.certificate)
    (tmp_path / "client.key").write_bytes(scene.pair.key)
    (tmp_path / "client.key").chmod(0o600)
    (tmp_path / "other.pem").write_bytes(Authority("Servers").pem)
    named = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    return {name: (f"--tls-{name}", str(tmp_path / file)) for name, file in named.items()} | {
        "other": ("--tls-ca", str(tmp_path / "other.pem"))}


def test_commands_speak_tls_and_say_what_is_wrong(scene, flags, tmp_path):
    own = (*flags["ca"], *flags["cert"], *flags["key"])

    def run(*arguments: str):
        return scene.server.command(*arguments)

    assert "LIVE" in run(*own, "status").stdout
    assert "LIVE" in run("status", "--server", f"https://localhost:{scene.server.grpc_addr.rpartition(':')[2]}", *own).stdout
    asked = run(*own, "priority", "020220261000000001")
    scene.decide()
    eventually(lambda: run(*own, "priority", "020220261000000001").returncode == 0, SOON, f"a shipment: {asked}")
    # As settings, which is how the chart does it.
    scene.server.settings |= {"client.tls_ca_file": flags["ca"][1], "client.tls_certificate_file": flags["cert"][1],
                              "client.tls_key_file": flags["key"][1]}
    try:
        assert "LIVE" in run("status").stdout
    finally:
        for key in ("client.tls_ca_file", "client.tls_certificate_file", "client.tls_key_file"):
            del scene.server.settings[key]
    for arguments, words in (
            (flags["other"], "invalid peer certificate"),
            (own + ("--tls-name", "other.example"), "not valid for name"),
            (flags["ca"], "--tls-cert"),
            (("--server", f"http://{scene.server.grpc_addr}"), ""),
            (("--server", scene.server.grpc_addr), "must be https://host:port"),
            (("--tls-ca", str(tmp_path / "none.pem")), "client.tls_ca_file"),
            (flags["ca"] + ("--tls-cert", flags["ca"][1]) + flags["key"], "client.tls_key_file")):
        done = run(*arguments, "status")
        assert done.returncode == 1 and words in done.stderr and "panicked" not in done.stderr, (arguments, done)


def test_a_load_speaks_tls_and_says_what_is_wrong(scene, flags):
    load = ("bench", "--rate", "50", "--duration", "1s", "--warm-up", "0s", "--connections", "2", "--output", "json")
    own = (*flags["ca"], *flags["cert"], *flags["key"])
    done = scene.server.command(*own, *load)
    run, = json.loads(done.stdout)
    assert run["decisions"] == 50 and run["failures"] == {}, done
    for arguments, words in ((flags["other"], "invalid peer certificate"),
                             (own + ("--tls-name", "other.example"), "not valid for name")):
        done = scene.server.command(*arguments, *load)
        assert done.returncode == 1 and words in done.stderr and not done.stdout, done


def test_healthcheck_asks_its_own_port_and_verifies_one_that_is_named(scene, flags):
    def check(*arguments: str) -> subprocess.CompletedProcess:
        return scene.server.command("healthcheck", *arguments)

    assert (check().returncode, check("--live").stdout.strip()) == (0, "live")
    named = ("--address", f"https://{scene.server.http_addr}")
    assert check(*named, *flags["ca"]).returncode == 0
    assert check("--address", scene.server.http_addr, *flags["ca"], "--tls-name", NAME).returncode == 0
    for arguments in (named, (*named, *flags["other"]), (*named, *flags["ca"], "--tls-name", "other.example")):
        done = check(*arguments)
        assert done.returncode == 1 and "invalid peer certificate" in done.stderr, done
    plain = check("--address", f"http://{scene.server.http_addr}")
    assert plain.returncode == 1, plain


# --- starting and stopping ------------------------------------------------------------------------


def test_a_replica_does_not_start_with_files_that_it_cannot_serve(tmp_path):
    authority = Authority()
    own, expired = authority.issue(), authority.issue(ends=-60)

    def started(words: str, mode: int = 0o600, settings=None, **files: bytes):
        mounted = Mounted(tmp_path / words.replace(" ", "-").replace("/", "-"))
        mounted.put(mode, **{"tls_crt": own.certificate, "tls_key": own.key} | files)
        server = Server(mounted.folder / "replica", mounted.settings() | (settings or {}))
        server.tmp.mkdir()
        done = server.command("serve", "--generate-secret")
        assert done.returncode == 1 and words in done.stderr, (words, done)
        assert not any(line in done.stdout + done.stderr for line in own.key.decode().splitlines())

    started("is not the key of the first certificate", tls_crt=authority.issue().certificate)
    started("has expired", tls_crt=expired.certificate, tls_key=expired.key)
    started("lets others read the key; set it to 0600", mode=0o644)
    started("No such file", settings={"tls.client_ca_file": str(tmp_path / "none.pem")})
    started("set both or neither", settings={"tls.key_file": ""})
    started("set tls.client_ca_file too", settings={"tls.client_crl_file": str(tmp_path / "crl.pem")})


def test_plaintext_is_served_on_loopback_unless_it_is_asked_for_in_so_many_words(tmp_path):
    remote = {"server.grpc_addr": "0.0.0.0:0", "server.allow_anonymous_remote": "true"}
    server = Server(tmp_path, remote)
    server.tmp.mkdir(exist_ok=True)
    done = server.command("serve", "--check-config")
    assert done.returncode == 1 and "plaintext is served on loopback only" in done.stderr, done
    server.settings |= {"server.allow_plaintext_remote": "true"}
    assert server.command("serve", "--check-config").returncode == 0
    own = Authority().issue()
    mounted = Mounted(tmp_path / "tls")
    mounted.pair(own)
    server.settings |= {"server.allow_plaintext_remote": "false"} | mounted.settings()
    assert server.command("serve", "--check-config").returncode == 0


def test_a_drain_ends_connections_over_tls_in_order_whoever_stalls(tmp_path):
    with Scene(tmp_path, {"limits.handshake_timeout": "10m", "drain.deadline": "3s"}) as scene:
        watch = Watching(scene, scene.pair)
        stalled = []
        for address in (scene.server.grpc_addr, scene.server.http_addr):
            host, _, port = address.rpartition(":")
            stalled.append(socket.create_connection((host, int(port)), timeout=SOON))
        # Its turn has come when one that came later is served.
        scene.decide()
        scene.server.get("/livez")
        assert scene.server.stop(60) == 0, scene.server.log_tail()
        assert watch.ends() == UNAVAILABLE
        assert "stopping" in watch.words
        for each in stalled:
            with each:
                assert each.recv(1) == b""
