"""Somebody who asks for decisions all the time, and holds each answer against what must be true of it then."""

from __future__ import annotations

import collections
import contextlib
import threading
import time

import grpc

from feed import code, decide, seconds, tier_name
from harness import pb

ADVANCED, DISCREDITED = code("ADVANCED_CERTIFIED", 0), code("DISCREDITED", 0)


class Witness(threading.Thread):
    """Asks about one favoured and one discredited enterprise in turn; the first untruth ends it, and the test.

    True is an answer whose freshness is what its age and the limits say, whose age is not below the time since the
    store could last be reached, which grants relief only when FRESH and keeps strictness always, and which is never
    from before the one before it.
    """

    def __init__(self, server, relief: float, expiry: float = 86_400.0, forward: bool = True):
        super().__init__(daemon=True)
        self.server = server
        self.relief = relief
        self.expiry = expiry
        self.forward = forward
        self.outages: list[list[float | None]] = []
        self.seen: collections.Counter[str] = collections.Counter()
        self.oldest = 0.0
        self.slowest = 0.0
        self.failure: BaseException | None = None
        self._position = (None, 0)
        self._ended = threading.Event()

    # --- what the test knows -------------------------------------------------------------------

    def away(self):
        """From now on the store answers nobody, or confirms no longer what is in force."""
        self.outages.append([time.monotonic(), None])

    def back(self):
        """From now on it may."""
        self.outages[-1][1] = time.monotonic()

    @contextlib.contextmanager
    def outage(self, begins, ends):
        """Runs `begins`, at whose end the store answers nobody, and `ends`, from whose beginning on it may."""
        begins()
        self.away()
        yield
        self.back()
        ends()

    # --- asking --------------------------------------------------------------------------------

    def run(self):
        number = 0
        try:
            while not self._ended.is_set():
                number += 1
                for enterprise in (ADVANCED, DISCREDITED):
                    sent = time.monotonic()
                    decision = decide(self.server, enterprise, number=number % 1_000_000)
                    self._hold(enterprise, decision, sent, time.monotonic())
                time.sleep(0.003)
        except grpc.RpcError as error:
            self.failure = AssertionError(f"an answer failed: {error.code()}: {error.details()}")
        except BaseException as error:
            self.failure = error

    def _hold(self, enterprise: str, decision, sent: float, received: float):
        age = seconds(decision.data_age)
        fresh, stale, expired = pb.FRESHNESS_FRESH, pb.FRESHNESS_STALE, pb.FRESHNESS_EXPIRED
        due = expired if age > self.expiry else stale if age > self.relief else fresh
        assert decision.freshness == due, f"{pb.Freshness.Name(decision.freshness)} at {age} s"
        for begun, ended in list(self.outages):
            if begun < sent and (ended is None or received < ended):
                unreachable = sent - begun
                assert age >= unreachable - 1e-6, f"says {age} s, and the store is away since {unreachable} s"
        own = "ADVANCED_CERTIFIED" if enterprise == ADVANCED else "DISCREDITED"
        granted = own if due == fresh or own == "DISCREDITED" else "REGULAR"
        assert tier_name(decision.credit_tier) == granted
        assert tier_name(decision.parties[0].registered_tier) == own
        reasons = {reason.code for reason in decision.reasons}
        assert (pb.REASON_CODE_DATA_STALE in reasons) == (due == stale)
        assert (pb.REASON_CODE_DATA_EXPIRED in reasons) == (due == expired)
        assert (decision.lane == pb.LANE_MANUAL) == (due == expired)
        epoch, sequence = decision.registry_version.epoch, decision.registry_version.sequence
        if self.forward:
            assert (self._position[0] or epoch) == epoch, "another epoch"
            assert sequence >= self._position[1], "the registry went back"
        self._position = (epoch, sequence)
        self.seen[pb.Freshness.Name(due).removeprefix("FRESHNESS_")] += 1
        self.oldest = max(self.oldest, age)
        self.slowest = max(self.slowest, received - sent)

    def check(self):
        """Raises what was wrong with an answer, if something was."""
        if self.failure:
            raise self.failure

    def __enter__(self) -> "Witness":
        self.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        self.join(15)
        if kind is None:
            self.check()
            assert not self.is_alive(), "an answer does not come"

    def __str__(self) -> str:
        return (f"{sum(self.seen.values())} answers {dict(self.seen)}, the oldest data {self.oldest:.2f} s,"
                f" the slowest answer {self.slowest * 1000:.0f} ms")
