"""What port terminals are told, to a client that is not ours: over gRPC, over HTTP, and on the command line."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf import json_format, unknown_fields
from google.rpc import status_pb2

from harness import Server, eventually, pb, violations

ADVANCED, REGULAR = "1100000001", "1100000002"
CONTAINERS = ["CSQU3054383", "MSCU6639870"]
UNDECIDED, BAD_DECLARATION, BAD_CONTAINER = "020220261999999999", "0202X0261000000001", "CSQU3054384"
SOON = 20.0
# What only officers may read, and what would tell why: none of it may reach a terminal.
PUBLIC, CONFIDENTIAL, LEGAL = "PLANTED-PUBLIC-REASON", "PLANTED-CONFIDENTIAL-REASON", "PLANTED-LEGAL-BASIS"


def enterprises(server: Server, tier: str = "ADVANCED_CERTIFIED"):
    with contextlib.closing(server.sql()) as sql:
        sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                    " VALUES (?, 'PLANTED-NAME', ?, '2010-01-01') ON CONFLICT (customs_code)"
                    " DO UPDATE SET credit_tier = excluded.credit_tier", (ADVANCED, tier))
        sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                    " VALUES (?, 'PLANTED-NAME', 'REGULAR', '2010-01-01') ON CONFLICT DO NOTHING", (REGULAR,))


def order(server: Server, name: str, kind: str, hs_prefix: str):
    with contextlib.closing(server.sql()) as sql:
        sql.execute("INSERT INTO control_order (id, kind, basis, hs_prefix, valid_from, legal_basis, public_reason,"
                    " confidential_reason) VALUES (?, ?, 'TARGETED', ?, '2020-01-01T00:00:00Z', ?, ?, ?)",
                    (name, kind, hs_prefix, LEGAL, PUBLIC, CONFIDENTIAL))


def loaded(server: Server):
    """Waits until terminals are answered."""
    def answered():
        try:
            get(server, declaration(UNDECIDED))
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.NOT_FOUND
        return True

    eventually(answered, SOON, "the shipments")


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path, {"shipments.heartbeat_interval": "1s"}).start(wait=False)
    with running:
        running.wait_for_store()
        enterprises(running)
        running.wait_ready()
        running.wait_answering()
        loaded(running)
        yield running
        assert running.stop() == 0, running.log_tail()


def decide(server: Server, serial: int, code: str = ADVANCED, containers=(), hs: str = "847130"):
    request = pb.DecideRequest(
        declaration_number=f"020220261{serial:09}", direction=pb.DIRECTION_IMPORT, customs_office="0202",
        parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=code)],
        goods=[pb.GoodsItem(hs_code=hs, origin_country="KR")], container_numbers=containers,
        min_registry_version=server.version())
    return server.facilitation.Decide(request, timeout=SOON).decision


def in_lane(server: Server, lane, first: int = 1, **more):
    """The first of 200 declarations that comes into that lane."""
    return next(found for serial in range(first, first + 200)
                if (found := decide(server, serial, **more)).lane == lane)


def declaration(number: str):
    return pb.ShipmentKey(declaration_number=number)


def container(number: str):
    return pb.ShipmentKey(container_number=number)


def get(server: Server, key):
    return server.priority.GetPriority(pb.GetPriorityRequest(key=key), timeout=SOON).shipment


class Watcher:
    """A watch whose events are read in the background; `ended` is its status once it has one."""

    def __init__(self, server: Server, *keys, token: str = "", timeout: float | None = None):
        request = pb.WatchPrioritiesRequest(keys=keys, resume_token=token)
        self.call = server.priority.WatchPriorities(request, timeout=timeout)
        self.events: list = []
        self.ended: grpc.RpcError | None = None
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for response in self.call:
                self.events.append((time.monotonic(), response))
        except grpc.RpcError as error:
            self.ended = error

    def shipments(self) -> list:
        return [response.shipment for _, response in self.events if response.HasField("shipment")]

    def heartbeats(self) -> int:
        return sum(response.HasField("heartbeat") for _, response in self.events)

    def wait(self, condition, what: str):
        def check():
            assert self.ended is None, self.ended
            return condition()

        return eventually(check, SOON, what)

    def end(self) -> grpc.RpcError:
        return eventually(lambda: self.ended, SOON, "the end of the watch")


# --- gRPC -------------------------------------------------------------------------------------


def test_a_watcher_hears_the_present_state_and_within_a_second_that_it_was_revoked(server):
    decided = in_lane(server, pb.LANE_GREEN, containers=CONTAINERS)
    by_number, by_container = declaration(decided.declaration_number), container(CONTAINERS[1])
    expected = pb.Shipment(
        declaration_number=decided.declaration_number, container_numbers=CONTAINERS, priority=decided.priority,
        lane=pb.LANE_GREEN, hold=False, revision=1, decision_id=decided.decision_id, decided_at=decided.decided_at,
        valid_until=decided.valid_until, revoked=False)
    assert get(server, by_number) == expected
    watchers = [Watcher(server, key) for key in (by_number, by_container)]
    for watcher in watchers:
        watcher.wait(lambda: watcher.shipments() and watcher.heartbeats(), "the present state")
        assert watcher.shipments()[0].lane == pb.LANE_GREEN
    begun = time.monotonic()
    enterprises(server, "DISCREDITED")
    for watcher in watchers:
        watcher.wait(lambda: watcher.shipments()[-1].revoked, "the revocation")
        heard = next(at for at, response in watcher.events if response.shipment.revoked)
        assert heard - begun < 1.0, heard - begun
        told = watcher.shipments()[-1]
        assert told.hold and told.lane not in (pb.LANE_GREEN, pb.LANE_BLUE)
        assert told.revision > watcher.shipments()[0].revision
        assert told == get(server, by_number)
        watcher.call.cancel()


def test_a_watch_is_alive_while_nothing_changes_and_ends_with_its_deadline(server):
    watcher = Watcher(server, declaration(UNDECIDED), timeout=3.5)
    error = watcher.end()
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert watcher.heartbeats() >= 3 and not watcher.shipments()


def test_a_stopping_server_ends_its_watches_and_the_token_resumes_on_the_next(server):
    decided = in_lane(server, pb.LANE_GREEN)
    key = declaration(decided.declaration_number)
    watcher = Watcher(server, key)
    watcher.wait(watcher.heartbeats, "the present state")
    assert server.stop() == 0
    error = watcher.end()
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    token = dict(error.trailing_metadata())["greenlane-resume-token"]
    server.start(wait=False)
    with contextlib.closing(server.sql()) as sql:
        sql.execute("UPDATE enterprise SET suspended = 1 WHERE customs_code = ?", (ADVANCED,))
    server.wait_ready()
    loaded(server)
    resumed = Watcher(server, key, token=token)
    resumed.wait(lambda: resumed.shipments() and resumed.shipments()[-1].hold, "what changed meanwhile")
    assert resumed.shipments()[-1] == get(server, key)


def test_errors_name_what_is_wrong_however_much_it_is(server):
    def refused(call, request):
        with pytest.raises(grpc.RpcError) as raised:
            answered = call(request, timeout=SOON)
            list(answered)
        return raised.value

    error = refused(server.priority.GetPriority, pb.GetPriorityRequest())
    assert (error.code(), violations(error)) == (grpc.StatusCode.INVALID_ARGUMENT, ["key"])
    error = refused(server.priority.GetPriority, pb.GetPriorityRequest(key=container(BAD_CONTAINER)))
    assert violations(error) == ["key.container_number"]
    error = refused(server.priority.GetPriority, pb.GetPriorityRequest(key=declaration(UNDECIDED)))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    keys = [container(BAD_CONTAINER), declaration(UNDECIDED), declaration(BAD_DECLARATION)]
    error = refused(server.priority.WatchPriorities, pb.WatchPrioritiesRequest(keys=keys))
    assert violations(error) == ["keys[0].container_number", "keys[2].declaration_number"]
    # This client refuses headers over 8 KiB.
    error = refused(server.priority.WatchPriorities, pb.WatchPrioritiesRequest(keys=keys[:1] * 10_000))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    assert violations(error)[0] == "keys[0].container_number" and "10000" in error.details()
    error = refused(server.priority.WatchPriorities, pb.WatchPrioritiesRequest(keys=keys[1:2], resume_token="abc"))
    assert violations(error) == ["resume_token"]
    error = refused(server.priority.BatchGetPriority, pb.BatchGetPriorityRequest(keys=keys * 334))
    assert violations(error) == ["keys"]


# --- HTTP -------------------------------------------------------------------------------------


def http(server: Server, key: str):
    """Code, headers and body of `GET /v1/priority/{key}`."""
    try:
        with urllib.request.urlopen(f"http://{server.http_addr}/v1/priority/{key}", timeout=SOON) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_http_answers_canonical_json(server):
    decided = decide(server, 1, REGULAR, CONTAINERS)
    for key in (decided.declaration_number, CONTAINERS[0]):
        code, headers, body = http(server, key)
        assert (code, headers["Content-Type"], headers["Cache-Control"]) == (200, "application/json", "no-store")
        parsed = json_format.Parse(body, pb.GetPriorityResponse())
        assert parsed.shipment == get(server, declaration(decided.declaration_number))
        shipment = json.loads(body)["shipment"]
        assert shipment["hold"] is True and shipment["revoked"] is False, "nothing is left to be guessed"
    for key, code, number in ((UNDECIDED, 404, 5), (BAD_DECLARATION, 400, 3), (BAD_CONTAINER, 400, 3)):
        found, headers, body = http(server, key)
        assert (found, headers["Cache-Control"]) == (code, "no-store")
        status = json_format.Parse(body, status_pb2.Status())
        assert status.code == number and status.message


# --- what a terminal must not learn --------------------------------------------------------------


def metadata(call) -> list:
    return [*call.initial_metadata(), *(call.trailing_metadata() or ())]


def test_nothing_that_a_terminal_gets_tells_why(server):
    order(server, "PLANTED-HOLD", "HOLD", "2402")
    order(server, "PLANTED-INSPECT", "INSPECT", "9301")
    lanes = {
        pb.LANE_MANUAL: decide(server, 1001, hs="240220", containers=CONTAINERS[:1]),
        pb.LANE_RED: decide(server, 1002, hs="930190", containers=CONTAINERS[1:]),
        pb.LANE_GREEN: in_lane(server, pb.LANE_GREEN),
    }
    for lane, decided in lanes.items():
        assert decided.lane == lane, decided
    numbers = [decided.declaration_number for decided in lanes.values()]
    keys = [*map(declaration, numbers), *map(container, CONTAINERS)]
    gathered: list = []

    def gather(call, *messages):
        gathered.extend([*metadata(call), *messages])

    for key in [*keys, declaration(UNDECIDED), declaration(BAD_DECLARATION), container(BAD_CONTAINER)]:
        try:
            message, call = server.priority.GetPriority.with_call(pb.GetPriorityRequest(key=key), timeout=SOON)
            gather(call, message)
        except grpc.RpcError as error:
            gather(error, error.code().name, error.details())
        gathered.extend([str(part) for part in http(server, getattr(key, key.WhichOneof("key")))])
    batch = pb.BatchGetPriorityRequest(keys=[*keys, declaration(UNDECIDED), container(BAD_CONTAINER)])
    message, call = server.priority.BatchGetPriority.with_call(batch, timeout=SOON)
    gather(call, message)
    watcher = Watcher(server, *keys)
    watcher.wait(watcher.heartbeats, "the present state")
    present = len(watcher.shipments())
    enterprises(server, "SERIOUSLY_DISCREDITED")
    watcher.wait(lambda: len(watcher.shipments()) > present, "the change")
    with contextlib.closing(server.sql()) as sql:
        sql.execute("DELETE FROM control_order WHERE id = 'PLANTED-HOLD'")
    watcher.wait(lambda: any(told.lane != pb.LANE_MANUAL and told.declaration_number == numbers[0]
                             for told in watcher.shipments()), "the end of the order")
    assert server.stop() == 0
    error = watcher.end()
    gather(error, error.code().name, error.details())
    gathered.extend(response for _, response in watcher.events)

    # Every field by name and value, and every byte as text.
    text = "\n".join(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in gathered)
    raw = b"\n".join(part.SerializeToString() for part in gathered if hasattr(part, "SerializeToString"))
    assert all(number in text for number in numbers) and len(watcher.shipments()) > present
    names = [name.removeprefix("CREDIT_TIER_").removeprefix("REASON_CODE_")
             for name in (*pb.CreditTier.keys(), *pb.ReasonCode.keys())]
    assert len(names) > 20, "the contract's own names"
    markers = ["PLANTED", ADVANCED, REGULAR, "CN-GACC", *(name for name in names if name != "UNSPECIFIED")]
    for decided in lanes.values():
        markers += [decided.policy.digest, decided.policy.parameters_digest, decided.registry_version.epoch]
        markers += [reason.text for reason in decided.reasons]
        rate = decided.inspection.rate_ppm
        markers += [f"{rate} ppm", f"rate_ppm: {rate}"] if rate else []
    for marker in markers:
        assert marker and marker not in text and marker.encode() not in raw, marker
    # And no field that the contract does not give a terminal, whatever its value.
    fields = {field.name for field in pb.Shipment.DESCRIPTOR.fields}
    assert fields == {"declaration_number", "container_numbers", "priority", "lane", "hold", "revision", "decision_id",
                      "decided_at", "valid_until", "revoked"}
    for told in watcher.shipments():
        assert len(unknown_fields.UnknownFieldSet(told)) == 0
    names = {name for name, _ in (pair for pair in gathered if isinstance(pair, tuple))}
    assert names <= {"content-type", "date", "grpc-status", "grpc-message", "grpc-status-details-bin",
                     "greenlane-resume-token", "user-agent"}, names


# --- the command line -------------------------------------------------------------------------


def lines(done: subprocess.CompletedProcess) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_priority_shows_the_yard_and_its_exit_code_whether_every_key_has_an_answer(server):
    order(server, "O-1", "HOLD", "2402")
    green = in_lane(server, pb.LANE_GREEN)
    held = decide(server, 1001, hs="240220", containers=CONTAINERS)
    done = server.command("priority", CONTAINERS[0], green.declaration_number)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index(green.declaration_number) < done.stdout.index(CONTAINERS[0]), "what may leave is first"
    row = next(line for line in done.stdout.splitlines() if CONTAINERS[0] in line)
    assert "HOLD" in row and "MANUAL" in row and held.declaration_number in row
    done = server.command("priority", UNDECIDED, green.declaration_number, BAD_CONTAINER, "--output", "json")
    assert done.returncode == 3, done.stdout + done.stderr
    undecided, found, bad = lines(done)
    assert undecided["key"] == UNDECIDED and undecided["error"]["code"] == 5
    assert bad["key"] == BAD_CONTAINER and bad["error"]["code"] == 3
    assert found["shipment"]["hold"] is False
    assert json_format.ParseDict(found["shipment"], pb.Shipment()) == get(server, declaration(green.declaration_number))


def test_priority_reads_keys_from_standard_input(server):
    decided = decide(server, 1, REGULAR)
    text = f"{decided.declaration_number}\n{UNDECIDED} {decided.declaration_number}\n"
    done = subprocess.run([server.binary, "priority", "-", "--output", "json"], env=server._environment(),
                          cwd=server.tmp, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert [line["key"] for line in lines(done)] == [decided.declaration_number, UNDECIDED]
    alone = server.command("priority", "-")  # standard input is empty
    assert alone.returncode == 1 and "standard input" in alone.stderr


def test_completions_know_the_commands(server):
    script = server.command("completions", "bash").stdout
    assert "greenlane__subcmd__watch" in script or "greenlane,watch" in script
    assert "greenlane__subcmd__priority" in script or "greenlane,priority" in script


class Command:
    """A `greenlane watch` whose outputs are read in the background; on a terminal of 120 columns when `on_terminal`."""

    def __init__(self, server: Server, *arguments: str, on_terminal: bool = False):
        self.said, self.complained = "", ""
        if on_terminal:
            self.own, other = pty.openpty()
            fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        else:
            self.own, other = os.pipe()
        self.process = subprocess.Popen(
            [server.binary, "watch", *arguments], env=server._environment(), cwd=server.tmp,
            stdin=subprocess.DEVNULL, stdout=other, stderr=subprocess.PIPE)
        os.close(other)
        self.threads = [threading.Thread(target=self._read, args=each, daemon=True)
                        for each in ((self.own, "said"), (self.process.stderr.fileno(), "complained"))]
        for thread in self.threads:
            thread.start()

    def _read(self, descriptor: int, into: str):
        with contextlib.suppress(OSError):  # a terminal whose other end has closed
            while data := os.read(descriptor, 65536):
                setattr(self, into, getattr(self, into) + data.decode(errors="replace"))

    def screen(self) -> list[str]:
        """What a terminal shows after all that was said: of the codes, only those that `watch` may use are known."""
        shown: list[str] = [""]
        row = column = 0
        for code, text in re.findall(r"\x1b\[([0-9;]*[A-Za-z])|([^\x1b]+)", self.said):
            if code.endswith("A"):
                row -= int(code[:-1])
                assert row >= 0, "above what it drew"
            elif code == "2K":
                shown[row] = ""
            elif code == "J":
                shown[row:] = [shown[row][:column]]
            elif code:
                assert code.endswith("m"), code
            for character in text:
                if character == "\r":
                    column = 0
                elif character == "\n":
                    row += 1
                    shown += [""] * (row + 1 - len(shown))
                else:
                    line = shown[row].ljust(column)
                    shown[row] = line[:column] + character + line[column + 1:]
                    column += 1
                    assert column <= 120, "beyond the border"
        return shown

    def wait(self, condition, what: str, seconds: float = SOON):
        def check():
            assert self.process.poll() is None, self.said + self.complained
            return condition()

        try:
            return eventually(check, seconds, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.said[-3000:]}\n{self.complained}") from None

    def row(self, key: str) -> str:
        return next((line for line in self.screen() if line[2:].startswith(key)), "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(5)
        os.close(self.own)
        self.process.stderr.close()


def test_watch_redraws_its_table_in_place_and_a_revocation_stands_out(server):
    decided = in_lane(server, pb.LANE_GREEN, containers=CONTAINERS)
    number = decided.declaration_number
    with Command(server, UNDECIDED, number, on_terminal=True) as command:
        command.wait(lambda: " open " in command.row(number), "the present state")
        assert "not decided" in command.row(UNDECIDED)
        rows = command.screen()
        assert rows.index(command.row(number)) < rows.index(command.row(UNDECIDED)), "in the order of the yard"
        assert any(server.grpc_addr in line and "s ago" in line for line in rows)
        enterprises(server, "DISCREDITED")
        command.wait(lambda: "HOLD REVOKED" in command.row(number), "the revocation")
        row = command.row(number)
        assert row.startswith("*") and "GREEN > " in row, row
        assert any("REVOKED, do not let out" in line and number in line for line in command.screen())
        assert sum(number in line for line in command.screen()) == 2, "drawn over, not below"
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(10) == 0


def test_watch_prints_an_event_a_line_and_finds_its_server_again(server):
    decided = in_lane(server, pb.LANE_GREEN)
    number = decided.declaration_number
    with Command(server, number, "--output", "json") as command:
        events = lambda: [json.loads(line) for line in command.said.splitlines(keepends=True) if line.endswith("\n")]
        told = lambda: [event["shipment"] for event in events() if "shipment" in event]
        command.wait(lambda: told() and any("heartbeat" in event for event in events()), "state and heartbeat")
        assert all(event["token"] for event in events())
        first = json_format.ParseDict(told()[0], pb.Shipment())
        assert first == get(server, declaration(number)) and told()[0]["hold"] is False
        server.stop()
        command.wait(lambda: server.grpc_addr in command.complained, "a complaint about the server")
        server.start(wait=False)
        with contextlib.closing(server.sql()) as sql:
            sql.execute("UPDATE enterprise SET suspended = 1 WHERE customs_code = ?", (ADVANCED,))
        command.wait(lambda: told()[-1]["hold"], "what changed meanwhile", 40)
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(10) == 0


def test_watch_prints_lines_for_people_where_there_is_no_terminal(server):
    decided = decide(server, 1, REGULAR, CONTAINERS)
    with Command(server, CONTAINERS[0]) as command:
        command.wait(lambda: command.said.endswith("\n"), "a line")
        (line,) = command.said.splitlines()
        assert decided.declaration_number in line and " HOLD " in line and CONTAINERS[1] in line, line


def test_a_silent_server_is_asked_again_and_meanwhile_nothing_may_leave(server):
    number = in_lane(server, pb.LANE_GREEN).declaration_number
    with Command(server, number, on_terminal=True) as command:
        command.wait(lambda: " open " in command.row(number), "the present state")
        server.signal(signal.SIGSTOP)
        try:
            command.wait(lambda: "HOLD, no word" in command.row(number), "the end of patience", 60)
            command.wait(lambda: "nothing was heard for" in command.complained, "a complaint", 10)
        finally:
            server.signal(signal.SIGCONT)
        command.wait(lambda: " open " in command.row(number), "the server again", 60)


def test_what_no_other_try_would_change_ends_the_watch(server):
    done = server.command("watch", BAD_CONTAINER, BAD_DECLARATION)
    assert done.returncode == 1
    assert "keys[0].container_number" in done.stderr and "keys[1].declaration_number" in done.stderr
    assert "panicked" not in done.stderr
