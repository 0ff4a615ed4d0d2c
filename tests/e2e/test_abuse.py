"""HTTP/2 as an abuser speaks it: each abuse is cut and counted, honest calls beside it are answered, nothing panics, and the
process stays below a bound of memory.

No time is asserted. The limits are far below their defaults, so that they are reached soon.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import resource
import signal
import struct
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2

import raw_http2 as raw
from harness import Server, eventually, pb
from raw_http2 import Connection, call, frame, message, request_headers, settings

SOON = 60
# What an idle server has, and what an abuser may add to it, in a build without optimisation.
MOST_RESIDENT = 400 << 20
SETTINGS = {
    "server.workers": "2",
    "limits.max_control_frames": "100",
    "limits.max_stream_resets": "50",
    "limits.max_concurrent_streams": "100",
    "limits.preface_timeout": "500ms",
    "limits.stall_timeout": "1s",
    "limits.max_connection_idle": "0s",
    "limits.max_connections_per_address": "0",
    "limits.max_new_connections": "0",
    "limits.max_new_connections_per_address": "0",
}
REQUEST = pb.DecideRequest(
    declaration_number="020220261000000001", direction=pb.DIRECTION_IMPORT, customs_office="0202",
    parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code="4403180001")],
    goods=[pb.GoodsItem(hs_code="8471300000", origin_country="DE")],
    transport_mode=pb.TRANSPORT_MODE_SEA, trade_mode=pb.TRADE_MODE_GENERAL)
BYTES = REQUEST.SerializeToString()


def registered(server: Server) -> Server:
    server.start(wait=False).wait_for_store()
    with contextlib.closing(server.sql()) as sql:
        sql.execute("INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)"
                    " VALUES ('4403180001', 'Honest', 'REGULAR', '2020-01-01')")
    server.wait_ready()
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with registered(Server(tmp_path_factory.mktemp("abuse"), SETTINGS)) as server:
        yield server


def resident(server: Server) -> int:
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def shed(server: Server, cause: str) -> float:
    return server.metric("greenlane_requests_shed_total", cause=cause)


@contextlib.contextmanager
def honest(server: Server):
    """Calls one after the other, on connections of their own, all of which must be answered; and then looks at the process."""
    stop, answered = threading.Event(), [0, 0]

    def caller(number: int):
        with grpc.insecure_channel(server.grpc_addr, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            decide = channel.unary_unary(raw.DECIDE, pb.DecideRequest.SerializeToString, pb.DecideResponse.FromString)
            while not stop.is_set():
                assert decide(REQUEST, timeout=SOON).decision.decision_id
                answered[number] += 1
                # They share a processor with the abuser.
                stop.wait(0.005)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(caller, number) for number in range(2)]
        try:
            eventually(lambda: all(answered), SOON, "honest callers are answered")
            before = list(answered)
            yield
            eventually(lambda: all(now > then for now, then in zip(answered, before)), SOON, "they still are")
        finally:
            stop.set()
        for each in callers:
            each.result(SOON)
    assert server.process.poll() is None and "panicked" not in server.log.read_text()
    assert resident(server) < MOST_RESIDENT


def is_goaway(reason: int):
    return lambda kind, flags, stream, payload: kind == raw.GOAWAY and int.from_bytes(payload[4:8], "big") == reason


def test_resets_before_a_call_is_looked_at_are_cut(server):
    """CVE-2023-44487 as it was seen: calls and their resets in one write."""
    before = shed(server, "protocol") + shed(server, "stream_resets")
    with honest(server), Connection(server.grpc_addr) as abuser:
        stream = 1
        while not abuser.ended and stream < 1 << 20:
            burst = b""
            for stream in range(stream, stream + 512, 2):
                burst += frame(raw.HEADERS, raw.END_HEADERS, stream, request_headers())
                burst += frame(raw.RST_STREAM, 0, stream, struct.pack(">I", raw.CANCEL))
            stream += 2
            abuser.send(burst)
            while not abuser.ended and abuser.readable(0):
                abuser.next()
        assert abuser.ended
        eventually(lambda: shed(server, "protocol") + shed(server, "stream_resets") == before + 1, SOON, "it is counted")


def test_resets_of_calls_that_have_begun_are_cut(server):
    """The same with patience: each call is under way when it is reset, so that the library sees nothing odd."""
    before = shed(server, "stream_resets")
    with honest(server), Connection(server.grpc_addr) as abuser:
        for stream in range(1, 1 << 20, 2):
            # The answer to a ping shows that what came before it was read.
            if not abuser.send(frame(raw.HEADERS, raw.END_HEADERS, stream, request_headers()),
                               frame(raw.DATA, 0, stream, b"\0"), frame(raw.PING, payload=struct.pack(">Q", stream))):
                break
            if abuser.until(lambda kind, flags, *_: kind == raw.PING and flags == raw.ACK) is None:
                break
            if not abuser.send(frame(raw.RST_STREAM, 0, stream, struct.pack(">I", raw.CANCEL))):
                break
        assert 100 < stream < 1 << 12, stream
        eventually(lambda: shed(server, "stream_resets") == before + 1, SOON, "it is counted")


def test_headers_without_an_end_are_cut(server):
    """The CONTINUATION flood (CVE-2024-27316 and its like)."""
    before = shed(server, "protocol")
    with honest(server), Connection(server.grpc_addr) as abuser:
        abuser.send(frame(raw.HEADERS, 0, 1, request_headers()))
        field = raw.literal("x", "y" * 100)
        sent, told = 0, False
        # What else is said, such as the settings of the greeting, does not end a flood.
        while sent < 100_000 and not told and not abuser.ended and abuser.send(frame(raw.CONTINUATION, 0, 1, field)):
            sent += 1
            while not told and not abuser.ended and abuser.readable(0):
                found = abuser.next()
                told = found is not None and is_goaway(raw.ENHANCE_YOUR_CALM)(*found)
        assert told or abuser.until(is_goaway(raw.ENHANCE_YOUR_CALM)) or abuser.ended
        assert sent < 100_000
        eventually(lambda: shed(server, "protocol") == before + 1, SOON, "it is counted")


FLOODS = {
    "ping": frame(raw.PING, payload=b"\0" * 8),
    "settings": frame(raw.SETTINGS),
    "window_update": frame(raw.WINDOW_UPDATE, payload=struct.pack(">I", 1)),
    "priority": frame(raw.PRIORITY, 0, 9, struct.pack(">IB", 0, 1)),
    "unknown": frame(0xEE, payload=b"?"),
    "empty_data": frame(raw.DATA, 0, 1),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_frames_that_carry_nothing_of_a_call_are_cut(server, flood):
    before = shed(server, "control_frames")
    with honest(server), Connection(server.grpc_addr) as abuser:
        abuser.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_headers()))
        sent = 0
        while sent < 100_000 and abuser.send(FLOODS[flood] * 10) and not abuser.ended:
            sent += 10
            while not abuser.ended and abuser.readable(0):
                abuser.next()
        assert sent < 100_000
        eventually(lambda: shed(server, "control_frames") == before + 1, SOON, "it is counted")


def test_who_is_cut_hears_why(server):
    with Connection(server.grpc_addr) as abuser:
        abuser.send(FLOODS["ping"] * 110)
        assert abuser.goaway() == raw.ENHANCE_YOUR_CALM


def test_answers_that_a_window_keeps_back_are_given_up(server):
    """Window starvation (CVE-2019-9511 and 9517): the peer asks, and lets nothing come."""
    before = shed(server, "stalled")
    with honest(server), Connection(server.grpc_addr, first=settings(initial_window_size=0)) as abuser:
        streams = range(1, 101, 2)
        abuser.send(*(call(stream, BYTES) for stream in streams))
        reset = set()
        while reset != set(streams):
            found = abuser.until(lambda kind, *_: kind == raw.RST_STREAM)
            assert found is not None, "the connection is kept: others may use it"
            reset.add(found[2])
        assert shed(server, "stalled") == before + len(streams)


@pytest.mark.parametrize("window", [0, 1000], ids=["nothing", "something"])
def test_a_stream_whose_answers_are_not_taken_is_given_up_and_one_that_says_nothing_is_not(server, window):
    before = shed(server, "stalled")
    path = "/greenlane.v1.FacilitationService/DecideStream"
    asked = pb.DecideStreamRequest(request=REQUEST).SerializeToString()
    with honest(server), Connection(server.grpc_addr) as idle, \
            Connection(server.grpc_addr, first=settings(initial_window_size=window)) as abuser:
        idle.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_headers(path)), frame(raw.DATA, 0, 1, message(asked)))
        assert idle.until(lambda kind, *_: kind == raw.DATA)
        abuser.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_headers(path)))
        # HTTP/2 takes what is ready while there is a byte of window, and from then on nothing.
        while shed(server, "stalled") == before:
            assert not abuser.ended and abuser.send(frame(raw.DATA, 0, 1, message(asked)))
        eventually(lambda: shed(server, "stalled") == before + 1, SOON, "it is given up")
        if window == 0:
            # Where answers are on their way already, it would be told behind them.
            _, _, stream, payload = abuser.until(lambda kind, *_: kind == raw.RST_STREAM)
            assert (stream, int.from_bytes(payload, "big")) == (1, raw.CANCEL)
        # It has said nothing for as long.
        idle.send(frame(raw.DATA, raw.END_STREAM, 1, message(asked)))
        assert idle.until(lambda kind, *_: kind == raw.DATA)
        assert idle.until(lambda kind, flags, *_: kind == raw.HEADERS and flags & raw.END_STREAM)


def test_of_long_answers_that_are_hardly_taken_little_is_held(server):
    """Windows of a byte: whatever HTTP/2 was given for them it keeps, and lets go when they open after all."""
    before = shed(server, "stalled")
    path = "/greenlane.v1.FacilitationService/BatchDecide"
    batch = message(pb.BatchDecideRequest(requests=[REQUEST] * 100).SerializeToString())
    streams = range(1, 21, 2)
    with honest(server), Connection(server.grpc_addr, first=settings(initial_window_size=1)) as abuser:
        # There is room for a MiB of requests from then on.
        assert abuser.until(lambda kind, *_: kind == raw.WINDOW_UPDATE)
        for stream in streams:
            abuser.send(frame(raw.HEADERS, raw.END_HEADERS, stream, request_headers(path)),
                        frame(raw.DATA, raw.END_STREAM, stream, batch))
        taken = {abuser.until(lambda kind, *_: kind == raw.DATA)[2]: 1 for _ in streams}
        assert taken.keys() == set(streams)
        eventually(lambda: shed(server, "stalled") == before + len(streams), SOON, "they are given up")
        for stream in streams:
            abuser.send(frame(raw.WINDOW_UPDATE, 0, stream, struct.pack(">I", 1 << 20)))
        reset = set()
        while reset != set(streams):
            kind, _, stream, payload = abuser.until(lambda kind, *_: kind in (raw.DATA, raw.HEADERS, raw.RST_STREAM))
            if kind == raw.DATA and stream not in reset:
                taken[stream] += len(payload)
                abuser.send(frame(raw.WINDOW_UPDATE, payload=struct.pack(">I", len(payload))))
            elif kind == raw.RST_STREAM:
                reset.add(stream)
        # Each answer has 50 KiB and more.
        assert max(taken.values()) <= 16 << 10, taken


def test_a_peer_that_reads_nothing_is_cut(server):
    """As above, but with the socket's window instead of HTTP/2's."""
    before = shed(server, "stalled")
    window = settings(initial_window_size=0x7FFFFFFF)
    with honest(server), Connection(server.grpc_addr, first=window, receive_buffer=4096) as abuser:
        abuser.send(frame(raw.WINDOW_UPDATE, payload=struct.pack(">I", 0x7FFF0000)))
        # There is room for a MiB of requests from then on.
        assert abuser.until(lambda kind, *_: kind == raw.WINDOW_UPDATE)
        body = message(pb.BatchDecideRequest(requests=[REQUEST] * 900).SerializeToString())
        parts = [body[at:at + 16_000] for at in range(0, len(body), 16_000)]
        for stream in range(1, 30, 2):
            abuser.send(frame(raw.HEADERS, raw.END_HEADERS, stream,
                              request_headers("/greenlane.v1.FacilitationService/BatchDecide")))
            abuser.send(*(frame(raw.DATA, 0, stream, part) for part in parts[:-1]))
            abuser.send(frame(raw.DATA, raw.END_STREAM, stream, parts[-1]))
        eventually(lambda: shed(server, "stalled") > before, SOON, "it is counted")


def test_a_connection_that_says_nothing_is_closed(server):
    before = shed(server, "preface")
    with honest(server), contextlib.ExitStack() as held:
        silent = [held.enter_context(Connection(server.grpc_addr, greet=False)) for _ in range(3)]
        silent[1].send(raw.PREFACE[:10])
        silent[2].send(raw.PREFACE[:23])
        for each in silent:
            assert each.next() in (None, (raw.SETTINGS, 0, 0, b"")) or each.goaway() is None
        eventually(lambda: shed(server, "preface") == before + 3, SOON, "they are counted")


def test_a_request_that_never_ends_is_given_up(server):
    before = shed(server, "stalled")
    with honest(server), Connection(server.grpc_addr) as abuser:
        body = message(BYTES)
        abuser.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_headers()),
                    frame(raw.HEADERS, raw.END_HEADERS, 3, request_headers()), frame(raw.DATA, 0, 3, body[:20]))
        # The third comes byte by byte.
        abuser.send(frame(raw.HEADERS, raw.END_HEADERS, 5, request_headers()))
        ended = {}
        dribbled = 0
        while len(ended) < 3:
            if 5 not in ended and dribbled < len(body) - 1:
                abuser.send(frame(raw.DATA, 0, 5, body[dribbled:dribbled + 1]))
                dribbled += 1
            while abuser.readable(0.02):
                kind, _, stream, payload = abuser.next()
                if kind == raw.HEADERS:
                    ended[stream] = payload
        assert ended.keys() == {1, 3, 5}
        assert shed(server, "stalled") == before + 3
    stub = server.channel.stream_stream("/greenlane.v1.FacilitationService/DecideStream")
    assert list(stub(iter(()), timeout=SOON)) == [], "an honest stream beside it"


def test_a_message_too_long_is_refused_before_it_is_sent(server):
    with honest(server), Connection(server.grpc_addr) as abuser:
        abuser.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_headers()),
                    frame(raw.DATA, 0, 1, b"\0" + struct.pack(">I", (1 << 20) + 1)))
        assert abuser.until(lambda kind, flags, *_: kind == raw.HEADERS and flags & raw.END_STREAM)
    with pytest.raises(grpc.RpcError) as refused:
        server.facilitation.Decide(pb.DecideRequest(declaration_number="9" * (1 << 20)), timeout=SOON)
    assert refused.value.code() == grpc.StatusCode.OUT_OF_RANGE
    many = b"\x0a\x00" * (1 << 19)
    batch = server.channel.unary_unary("/greenlane.v1.FacilitationService/BatchDecide")
    with honest(server), pytest.raises(grpc.RpcError) as refused:
        batch(many, timeout=SOON)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_headers_too_large_are_refused_and_far_too_large_ones_cut(server):
    before = shed(server, "protocol")
    with honest(server):
        with Connection(server.grpc_addr) as abuser:
            abuser.send(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, request_headers(x="y" * 16_100)))
            kind, _, stream, payload = abuser.until(lambda kind, *_: kind == raw.HEADERS)
            # 431, by the code of RFC 7541, appendix B.
            assert (stream, b"\x69\x90\xff" in payload) == (1, True)
            # The connection is kept.
            abuser.send(call(3, BYTES))
            assert abuser.until(lambda kind, flags, stream, _: stream == 3 and flags & raw.END_STREAM)
        with Connection(server.grpc_addr) as abuser:
            # One entry of the table, named again and again (the HPACK bomb, CVE-2016-6581).
            fields = request_headers() + b"\x40" + raw.literal("x", "y" * 4000)[1:] + b"\xbe" * 100
            abuser.send(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, fields))
            assert abuser.goaway() == raw.ENHANCE_YOUR_CALM
        eventually(lambda: shed(server, "protocol") == before + 1, SOON, "it is counted")


def test_streams_beyond_the_limit_are_refused_and_those_within_answered(server):
    with honest(server), Connection(server.grpc_addr) as abuser:
        # Before the limit is acknowledged it does not hold.
        abuser.until(lambda kind, flags, *_: kind == raw.SETTINGS and not flags)
        abuser.send(frame(raw.SETTINGS, raw.ACK), frame(raw.PING, payload=b"\1" * 8))
        abuser.until(lambda kind, flags, *_: kind == raw.PING and flags == raw.ACK)
        streams = list(range(1, 2 * 150, 2))
        abuser.send(*(frame(raw.HEADERS, raw.END_HEADERS, stream, request_headers()) for stream in streams))
        refused = {abuser.until(lambda kind, *_: kind == raw.RST_STREAM)[2] for _ in range(50)}
        assert refused == set(streams[100:])
        abuser.send(*(frame(raw.DATA, raw.END_STREAM, stream, message(BYTES)) for stream in streams[:100]))
        answered = {abuser.until(lambda kind, flags, *_: kind == raw.HEADERS and flags & raw.END_STREAM)[2]
                    for _ in range(100)}
        assert answered == set(streams[:100])


def test_thousands_of_idle_connections_are_held_and_cost_little(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(4000, (hard - 1000) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = resident(server)
    try:
        with honest(server), contextlib.ExitStack() as held:
            for number in range(count):
                held.enter_context(Connection(server.grpc_addr, source=f"127.0.{number // 1000}.{number % 200 + 1}"))
            with Connection(server.grpc_addr) as last:
                last.send(frame(raw.PING, payload=b"\2" * 8))
                assert last.until(lambda kind, flags, *_: kind == raw.PING and flags == raw.ACK)
            grown = resident(server) - before
            # A write buffer of 16 KiB, and the state of HTTP/2.
            assert grown < count * (64 << 10) + (50 << 20), grown / count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_connections_are_told_to_go_and_those_with_a_call_are_not(tmp_path):
    with registered(Server(tmp_path, SETTINGS | {"limits.max_connection_idle": "500ms"})) as server:
        watch = server.health.Watch(health_pb2.HealthCheckRequest())
        next(watch)
        with Connection(server.grpc_addr) as idle, Connection(server.grpc_addr) as hears:
            # One that does not answer the GOAWAY is closed all the same.
            assert idle.until(lambda kind, *_: kind == raw.GOAWAY) and idle.goaway() in (0, None)
            assert hears.until(lambda kind, *_: kind == raw.GOAWAY)
        assert not watch.done()
        watch.cancel()


def test_connections_from_one_address_are_bounded(tmp_path):
    bounds = {"limits.max_connections_per_address": "5", "limits.max_new_connections_per_address": "20"}
    with registered(Server(tmp_path, SETTINGS | bounds)) as server, contextlib.ExitStack() as held:
        for _ in range(5):
            held.enter_context(Connection(server.grpc_addr, source="127.0.0.9"))

        def refused(cause: str) -> bool:
            with Connection(server.grpc_addr, source="127.0.0.9") as another:
                another.until(lambda *_: False)
            return shed(server, cause) > 0

        eventually(lambda: refused("max_connections_per_address"), SOON, "one too many")
        held.close()
        # Now there is room, but they come too fast.
        def hurry() -> bool:
            for _ in range(50):
                Connection(server.grpc_addr, source="127.0.0.9", greet=False).socket.close()
            return shed(server, "new_connections") > 0

        eventually(hurry, SOON, "too fast")
        with honest(server):
            pass


def test_a_drain_waits_for_no_connection_without_a_call(tmp_path):
    """Whether they have said nothing yet, do not answer, or do not read: the drain may take ten minutes, and does not."""
    settings_ = SETTINGS | {"drain.deadline": "10m", "limits.preface_timeout": "10m"}
    with registered(Server(tmp_path, settings_)) as server, contextlib.ExitStack() as held:
        held.enter_context(Connection(server.grpc_addr, greet=False))
        held.enter_context(Connection(server.grpc_addr))
        server.signal(signal.SIGTERM)
        assert server.process.wait(SOON) == 0
