"""Clocks: what was decided in advance takes effect on time, though upstream is away; a clock that is set hides no age.

At midnight the server's clock is set to seconds before midnight in UTC+8, and each answer is held against the instant at
which the server says that it decided.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import time

from feed import assert_same, code, decide, following, seconds, transaction
from harness import eventually, pb, shifted_clock

CHINA = datetime.timezone(datetime.timedelta(hours=8))
BEFORE = 6.0
RISING, ENDING, HELD = code("REGULAR", 0), code("ADVANCED_CERTIFIED", 0), code("REGULAR", 1)
# While upstream is away for these seconds the data must not be what changes the answers.
SETTINGS = {"freshness.relief_max_age": "1h"}


def test_schedules_ends_and_orders_take_effect_at_their_instant_with_upstream_down(tmp_path, capsys):
    now = datetime.datetime.now(CHINA)
    midnight = (now + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    shift = (midnight - now).total_seconds() - BEFORE
    clock = shifted_clock(f"{shift:+.3f}s")
    tomorrow = midnight.date().isoformat()
    lifted = midnight + datetime.timedelta(seconds=1.5)
    with following(tmp_path, settings=SETTINGS, environment=clock) as server:
        with contextlib.closing(server.sql()) as sql, transaction(sql):
            sql.execute("INSERT INTO scheduled_tier VALUES (?, 'ADVANCED_CERTIFIED', ?)", (RISING, tomorrow))
            sql.execute("UPDATE enterprise SET tier_valid_until = ? WHERE customs_code = ?", (tomorrow, ENDING))
            sql.execute("INSERT INTO control_order (id, kind, basis, enterprise_id, valid_from, valid_to, legal_basis,"
                        " public_reason) VALUES ('o-1', 'HOLD', 'EMERGENCY', ?, '2020-01-01T00:00:00Z', ?, 'law', 'why')",
                        (HELD, lifted.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")))
        assert_same(server)
        os.rename(server.db, server.tmp / "away.db")

        seen = {name: set() for name in ("rising", "ending", "held")}
        begun, decided = time.monotonic(), None
        while decided is None or decided < lifted + datetime.timedelta(seconds=0.5):
            assert time.monotonic() - begun < BEFORE + 20
            for name, enterprise, instant in (("rising", RISING, midnight), ("ending", ENDING, midnight),
                                              ("held", HELD, lifted)):
                decision = decide(server, enterprise)
                decided = decision.decided_at.ToDatetime(datetime.timezone.utc)
                until = decision.valid_until.ToDatetime(datetime.timezone.utc)
                due = decided >= instant
                assert due or until <= instant, f"{name}: grants something until {until}"
                assert decision.freshness == pb.FRESHNESS_FRESH
                advanced = decision.credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED
                expired = pb.REASON_CODE_CERTIFICATION_EXPIRED in {reason.code for reason in decision.reasons}
                if name == "rising":
                    assert advanced == due, f"at {decided}"
                elif name == "ending":
                    assert advanced != due and expired == due, f"at {decided}"
                else:
                    assert (decision.lane == pb.LANE_MANUAL) != due, f"at {decided}"
                seen[name].add(due)
            time.sleep(0.01)
        assert all(each == {False, True} for each in seen.values()), seen
        assert server.status().last_error, "upstream was there all the time"


def test_a_wall_clock_that_is_set_while_upstream_is_away_makes_no_data_young(tmp_path):
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    clock = shifted_clock("") | {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    del clock["FAKETIME"]
    settings = {"freshness.relief_max_age": "2s"}
    with following(tmp_path / "server", settings=settings, environment=clock) as server:
        assert_same(server)
        os.rename(server.db, server.tmp / "away.db")
        away = time.monotonic()
        offset.write_text("-3600\n")
        decision = decide(server, ENDING)
        set_to = decision.decided_at.ToDatetime(datetime.timezone.utc) - datetime.datetime.now(datetime.timezone.utc)
        assert abs(set_to.total_seconds() + 3600) < 10, "the clock was not set back: this proves nothing"
        eventually(lambda: decide(server, ENDING).freshness == pb.FRESHNESS_STALE, 10, "STALE")
        assert seconds(decide(server, ENDING).data_age) > time.monotonic() - away - 0.5
        assert decide(server, ENDING).credit_tier == pb.CREDIT_TIER_REGULAR
        os.rename(server.tmp / "away.db", server.db)
        assert_same(server)
        # A machine that slept finds its wall clock ahead, and the monotonic one where it was.
        os.rename(server.db, server.tmp / "away.db")
        offset.write_text("+3600\n")
        eventually(lambda: decide(server, ENDING).freshness == pb.FRESHNESS_STALE, 1.5, "STALE at once")
        assert seconds(decide(server, ENDING).data_age) > 3_600
        os.rename(server.tmp / "away.db", server.db)
        assert_same(server)
        assert decide(server, ENDING).credit_tier == pb.CREDIT_TIER_ADVANCED_CERTIFIED
