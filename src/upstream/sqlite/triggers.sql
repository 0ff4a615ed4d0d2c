-- Triggers run inside the writer's own SQLite, of any age and with any settings, so:
--   * only old SQL (3.24 is needed by writers who use upserts, 3.16 is enough here);
--   * nothing hangs on recursive_triggers, which decides whether REPLACE fires DELETE triggers;
--   * nothing hangs on the order in which two triggers of one event fire (it is undefined): one trigger writes the
--     log for each event, the others only refuse;
--   * no statement here can meet a conflict, because the outer statement's OR IGNORE or OR REPLACE overrides ours.

-- Two write-only views stand for the procedures that SQLite lacks: an INSERT into them runs their trigger.

CREATE VIEW IF NOT EXISTS registry_change AS SELECT entity, key, op, row FROM change_log;

CREATE TRIGGER IF NOT EXISTS registry_change_is_logged INSTEAD OF INSERT ON registry_change
BEGIN
  -- Without this a write would pass unlogged (no row) or take two numbers (two rows).
  SELECT RAISE(ABORT, 'registry_meta must have exactly one row')
   WHERE (SELECT count(*) FROM registry_meta) <> 1;
  -- The number comes from a row and not from max(sequence): trimming may empty the log, and in PostgreSQL the same
  -- row is the lock that keeps numbers in commit order.
  INSERT INTO change_log (sequence, entity, key, op, row, committed_at)
  SELECT sequence + 1, NEW.entity, NEW.key, NEW.op, NEW.row, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    FROM registry_meta;
  UPDATE registry_meta SET sequence = sequence + 1;
END;

-- `touched` is 1 when the row was written again with nothing changed but updated_at.
CREATE VIEW IF NOT EXISTS former_enterprise AS
  SELECT customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended,
         updated_at, 0 AS touched
    FROM enterprise;

CREATE TRIGGER IF NOT EXISTS former_enterprise_is_recorded INSTEAD OF INSERT ON former_enterprise
BEGIN
  -- A touch moves updated_at, the only trace of when the row began, so its past must be kept or it would have been
  -- unknown then. A nightly job that touches every row must not add a million rows a night: it stretches the last one
  -- if that is the same row and there was no time between.
  UPDATE enterprise_history
     SET recorded_to = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
   WHERE NEW.touched
     AND rowid = (SELECT rowid FROM enterprise_history WHERE customs_code = NEW.customs_code
                   ORDER BY recorded_to DESC, rowid DESC LIMIT 1)
     AND recorded_to >= strftime('%Y-%m-%dT%H:%M:%fZ', NEW.updated_at)
     AND social_credit_code IS NEW.social_credit_code AND name IS NEW.name AND credit_tier IS NEW.credit_tier
     AND tier_effective_from IS NEW.tier_effective_from AND tier_valid_until IS NEW.tier_valid_until
     AND suspended IS NEW.suspended;
  -- Writers may or may not keep updated_at: the end of the row before bounds a stale one, the present a future one.
  -- strftime brings '2026-01-01 08:00:00' and '...+08:00' to the one form that compares as text; what it cannot read
  -- says nothing about the beginning.
  INSERT INTO enterprise_history (customs_code, social_credit_code, name, credit_tier, tier_effective_from,
                                  tier_valid_until, suspended, recorded_from, recorded_to)
  SELECT NEW.customs_code, NEW.social_credit_code, NEW.name, NEW.credit_tier, NEW.tier_effective_from,
         NEW.tier_valid_until, NEW.suspended,
         min(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
             max(coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', NEW.updated_at), '0000-01-01T00:00:00.000Z'),
                 coalesce((SELECT max(recorded_to) FROM enterprise_history WHERE customs_code = NEW.customs_code),
                          '0000-01-01T00:00:00.000Z'))),
         strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
   WHERE NOT (NEW.touched AND EXISTS (
           SELECT 1 FROM enterprise_history
            WHERE customs_code = NEW.customs_code AND recorded_to = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
              AND social_credit_code IS NEW.social_credit_code AND name IS NEW.name
              AND credit_tier IS NEW.credit_tier AND tier_effective_from IS NEW.tier_effective_from
              AND tier_valid_until IS NEW.tier_valid_until AND suspended IS NEW.suspended));
END;

-- What must be refused -----------------------------------------------------------------------------------------------
-- A key that the log cannot name: SQLite lets NULL into a TEXT PRIMARY KEY, any number of times, and a '|' within a
-- composite key makes two rows share one.
-- A BLOB: json_object refuses it up to SQLite 3.44 and takes it for JSONB from 3.45, where X'00' is logged as null; as
-- a key, X'41' and 'A' are two to the table and one to the log. Infinity, for which old json_object writes no JSON.
-- A rowid: REPLACE with an explicit one removes a row of another key without firing a thing (a BEFORE INSERT trigger
-- sees -1 when none was given).
-- Other NULLs are let through: under OR REPLACE the NOT NULL constraints turn them into the column's default.
-- RAISE(ABORT) undoes the statement even under OR FAIL and OR IGNORE.

CREATE TRIGGER IF NOT EXISTS enterprise_refused_insert BEFORE INSERT ON enterprise
WHEN 'blob' IN (typeof(NEW.customs_code), typeof(NEW.social_credit_code), typeof(NEW.name), typeof(NEW.credit_tier),
                typeof(NEW.tier_effective_from), typeof(NEW.tier_valid_until), typeof(NEW.suspended),
                typeof(NEW.updated_at))
  OR NEW.customs_code IS NULL OR NEW.suspended IN (9e999, -9e999)
  OR (NEW.rowid <> -1 AND EXISTS (SELECT 1 FROM enterprise
                                   WHERE rowid = NEW.rowid AND customs_code IS NOT NEW.customs_code))
BEGIN
  SELECT RAISE(ABORT, 'enterprise: the key must be text, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS enterprise_refused_update BEFORE UPDATE ON enterprise
WHEN 'blob' IN (typeof(NEW.customs_code), typeof(NEW.social_credit_code), typeof(NEW.name), typeof(NEW.credit_tier),
                typeof(NEW.tier_effective_from), typeof(NEW.tier_valid_until), typeof(NEW.suspended),
                typeof(NEW.updated_at))
  OR NEW.customs_code IS NULL OR NEW.suspended IN (9e999, -9e999)
  OR NEW.rowid <> OLD.rowid
BEGIN
  SELECT RAISE(ABORT, 'enterprise: the key must be text, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS scheduled_tier_refused_insert BEFORE INSERT ON scheduled_tier
WHEN 'blob' IN (typeof(NEW.customs_code), typeof(NEW.credit_tier), typeof(NEW.effective_from))
  OR coalesce(instr(NEW.customs_code, '|'), 0) + coalesce(instr(NEW.effective_from, '|'), 0) > 0
  OR (NEW.rowid <> -1 AND EXISTS (SELECT 1 FROM scheduled_tier WHERE rowid = NEW.rowid AND NOT (
          customs_code IS NEW.customs_code AND effective_from IS NEW.effective_from)))
BEGIN
  SELECT RAISE(ABORT, 'scheduled_tier: the key must be text without |, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS scheduled_tier_refused_update BEFORE UPDATE ON scheduled_tier
WHEN 'blob' IN (typeof(NEW.customs_code), typeof(NEW.credit_tier), typeof(NEW.effective_from))
  OR coalesce(instr(NEW.customs_code, '|'), 0) + coalesce(instr(NEW.effective_from, '|'), 0) > 0
  OR NEW.rowid <> OLD.rowid
BEGIN
  SELECT RAISE(ABORT, 'scheduled_tier: the key must be text without |, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS recognised_operator_refused_insert BEFORE INSERT ON recognised_operator
WHEN 'blob' IN (typeof(NEW.aeo_code), typeof(NEW.country), typeof(NEW.programme), typeof(NEW.name),
                typeof(NEW.valid_from), typeof(NEW.valid_until), typeof(NEW.suspended))
  OR NEW.aeo_code IS NULL OR NEW.suspended IN (9e999, -9e999)
  OR (NEW.rowid <> -1 AND EXISTS (SELECT 1 FROM recognised_operator
                                   WHERE rowid = NEW.rowid AND aeo_code IS NOT NEW.aeo_code))
BEGIN
  SELECT RAISE(ABORT, 'recognised_operator: the key must be text, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS recognised_operator_refused_update BEFORE UPDATE ON recognised_operator
WHEN 'blob' IN (typeof(NEW.aeo_code), typeof(NEW.country), typeof(NEW.programme), typeof(NEW.name),
                typeof(NEW.valid_from), typeof(NEW.valid_until), typeof(NEW.suspended))
  OR NEW.aeo_code IS NULL OR NEW.suspended IN (9e999, -9e999)
  OR NEW.rowid <> OLD.rowid
BEGIN
  SELECT RAISE(ABORT, 'recognised_operator: the key must be text, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS mutual_recognition_refused_insert BEFORE INSERT ON mutual_recognition
WHEN 'blob' IN (typeof(NEW.country), typeof(NEW.programme), typeof(NEW.direction), typeof(NEW.transport_modes),
                typeof(NEW.effective_from), typeof(NEW.effective_to))
  OR coalesce(instr(NEW.country, '|'), 0) + coalesce(instr(NEW.programme, '|'), 0) +
     coalesce(instr(NEW.direction, '|'), 0) + coalesce(instr(NEW.transport_modes, '|'), 0) +
     coalesce(instr(NEW.effective_from, '|'), 0) > 0
  OR (NEW.rowid <> -1 AND EXISTS (SELECT 1 FROM mutual_recognition WHERE rowid = NEW.rowid AND NOT (
          country IS NEW.country AND programme IS NEW.programme AND direction IS NEW.direction AND
          transport_modes IS NEW.transport_modes AND effective_from IS NEW.effective_from)))
BEGIN
  SELECT RAISE(ABORT, 'mutual_recognition: the key must be text without |, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS mutual_recognition_refused_update BEFORE UPDATE ON mutual_recognition
WHEN 'blob' IN (typeof(NEW.country), typeof(NEW.programme), typeof(NEW.direction), typeof(NEW.transport_modes),
                typeof(NEW.effective_from), typeof(NEW.effective_to))
  OR coalesce(instr(NEW.country, '|'), 0) + coalesce(instr(NEW.programme, '|'), 0) +
     coalesce(instr(NEW.direction, '|'), 0) + coalesce(instr(NEW.transport_modes, '|'), 0) +
     coalesce(instr(NEW.effective_from, '|'), 0) > 0
  OR NEW.rowid <> OLD.rowid
BEGIN
  SELECT RAISE(ABORT, 'mutual_recognition: the key must be text without |, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS control_order_refused_insert BEFORE INSERT ON control_order
WHEN 'blob' IN (typeof(NEW.id), typeof(NEW.kind), typeof(NEW.basis), typeof(NEW.enterprise_id),
                typeof(NEW.hs_prefix), typeof(NEW.origin_country), typeof(NEW.customs_office),
                typeof(NEW.container_number), typeof(NEW.direction), typeof(NEW.valid_from), typeof(NEW.valid_to),
                typeof(NEW.legal_basis), typeof(NEW.public_reason), typeof(NEW.confidential_reason))
  OR NEW.id IS NULL
  OR (NEW.rowid <> -1 AND EXISTS (SELECT 1 FROM control_order WHERE rowid = NEW.rowid AND id IS NOT NEW.id))
BEGIN
  SELECT RAISE(ABORT, 'control_order: the key must be text, no column a BLOB, and rowid left alone');
END;

CREATE TRIGGER IF NOT EXISTS control_order_refused_update BEFORE UPDATE ON control_order
WHEN 'blob' IN (typeof(NEW.id), typeof(NEW.kind), typeof(NEW.basis), typeof(NEW.enterprise_id),
                typeof(NEW.hs_prefix), typeof(NEW.origin_country), typeof(NEW.customs_office),
                typeof(NEW.container_number), typeof(NEW.direction), typeof(NEW.valid_from), typeof(NEW.valid_to),
                typeof(NEW.legal_basis), typeof(NEW.public_reason), typeof(NEW.confidential_reason))
  OR NEW.id IS NULL
  OR NEW.rowid <> OLD.rowid
BEGIN
  SELECT RAISE(ABORT, 'control_order: the key must be text, no column a BLOB, and rowid left alone');
END;

-- enterprise ---------------------------------------------------------------------------------------------------------
-- Its two unique columns let OR REPLACE remove a row of another customs code, and no trigger fires for that row. A
-- BEFORE trigger cannot know whether it will: the same trigger fires for OR IGNORE, DO NOTHING and DO UPDATE. So it
-- notes who is in the way, and whoever empties the notes logs those that are gone.

CREATE TRIGGER IF NOT EXISTS displaced_enterprise_is_settled AFTER DELETE ON displaced_enterprise
WHEN NOT EXISTS (SELECT 1 FROM enterprise WHERE customs_code = OLD.customs_code)
BEGIN
  INSERT INTO former_enterprise
  VALUES (OLD.customs_code, OLD.social_credit_code, OLD.name, OLD.credit_tier, OLD.tier_effective_from,
          OLD.tier_valid_until, OLD.suspended, OLD.updated_at, 0);
  INSERT INTO registry_change VALUES ('enterprise', OLD.customs_code, 'DELETE', NULL);
END;

-- Notes of a statement that came to nothing are settled first: they would pass for this one's.
-- The WHEN keeps a bulk load, in which nothing collides, from paying for the body.
CREATE TRIGGER IF NOT EXISTS enterprise_before_insert BEFORE INSERT ON enterprise
WHEN EXISTS (SELECT 1 FROM enterprise WHERE customs_code = NEW.customs_code)
  OR EXISTS (SELECT 1 FROM enterprise WHERE social_credit_code = NEW.social_credit_code)
BEGIN
  DELETE FROM displaced_enterprise;
  INSERT INTO displaced_enterprise
  SELECT customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended,
         updated_at
    FROM enterprise
   WHERE customs_code = NEW.customs_code OR social_credit_code = NEW.social_credit_code;
END;

CREATE TRIGGER IF NOT EXISTS enterprise_after_insert AFTER INSERT ON enterprise
BEGIN
  -- Replaced under its own key: the UPSERT tells it all, but the history wants the row that went.
  INSERT INTO former_enterprise
  SELECT customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended,
         updated_at,
         social_credit_code IS NEW.social_credit_code AND name IS NEW.name AND credit_tier IS NEW.credit_tier
           AND tier_effective_from IS NEW.tier_effective_from AND tier_valid_until IS NEW.tier_valid_until
           AND suspended IS NEW.suspended
    FROM displaced_enterprise
   WHERE customs_code = NEW.customs_code;
  -- Logs the displaced before the UPSERT: a social credit code must not stand twice while the log is replayed.
  DELETE FROM displaced_enterprise;
  INSERT INTO registry_change
  VALUES ('enterprise', NEW.customs_code, 'UPSERT',
          json_object('customs_code', NEW.customs_code, 'social_credit_code', NEW.social_credit_code,
                      'name', NEW.name, 'credit_tier', NEW.credit_tier,
                      'tier_effective_from', NEW.tier_effective_from, 'tier_valid_until', NEW.tier_valid_until,
                      'suspended', NEW.suspended, 'updated_at', NEW.updated_at));
END;

CREATE TRIGGER IF NOT EXISTS enterprise_before_update BEFORE UPDATE ON enterprise
WHEN NEW.customs_code IS NOT OLD.customs_code OR NEW.social_credit_code IS NOT OLD.social_credit_code
  OR EXISTS (SELECT 1 FROM displaced_enterprise)
BEGIN
  DELETE FROM displaced_enterprise;
  INSERT INTO displaced_enterprise
  SELECT customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended,
         updated_at
    FROM enterprise
   WHERE (customs_code = NEW.customs_code OR social_credit_code = NEW.social_credit_code)
     AND customs_code <> OLD.customs_code;
END;

CREATE TRIGGER IF NOT EXISTS enterprise_after_update AFTER UPDATE ON enterprise
BEGIN
  -- The row whose key this one moved to, if REPLACE let it.
  INSERT INTO former_enterprise
  SELECT customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended,
         updated_at, 0
    FROM displaced_enterprise
   WHERE customs_code = NEW.customs_code;
  DELETE FROM displaced_enterprise;
  INSERT INTO former_enterprise
  SELECT OLD.customs_code, OLD.social_credit_code, OLD.name, OLD.credit_tier, OLD.tier_effective_from,
         OLD.tier_valid_until, OLD.suspended, OLD.updated_at,
         NEW.customs_code IS OLD.customs_code AND NEW.social_credit_code IS OLD.social_credit_code
           AND NEW.name IS OLD.name AND NEW.credit_tier IS OLD.credit_tier
           AND NEW.tier_effective_from IS OLD.tier_effective_from AND NEW.tier_valid_until IS OLD.tier_valid_until
           AND NEW.suspended IS OLD.suspended
   WHERE NEW.customs_code IS NOT OLD.customs_code OR NEW.social_credit_code IS NOT OLD.social_credit_code
      OR NEW.name IS NOT OLD.name OR NEW.credit_tier IS NOT OLD.credit_tier
      OR NEW.tier_effective_from IS NOT OLD.tier_effective_from OR NEW.tier_valid_until IS NOT OLD.tier_valid_until
      OR NEW.suspended IS NOT OLD.suspended OR NEW.updated_at IS NOT OLD.updated_at;
  -- An UPSERT of the new key would leave the old one standing in every replica.
  INSERT INTO registry_change
  SELECT 'enterprise', OLD.customs_code, 'DELETE', NULL WHERE NEW.customs_code <> OLD.customs_code;
  INSERT INTO registry_change
  VALUES ('enterprise', NEW.customs_code, 'UPSERT',
          json_object('customs_code', NEW.customs_code, 'social_credit_code', NEW.social_credit_code,
                      'name', NEW.name, 'credit_tier', NEW.credit_tier,
                      'tier_effective_from', NEW.tier_effective_from, 'tier_valid_until', NEW.tier_valid_until,
                      'suspended', NEW.suspended, 'updated_at', NEW.updated_at));
END;

-- With recursive_triggers on, REPLACE comes through here: while the row still stands its note is settled as "not
-- gone", so that it is logged once, below.
CREATE TRIGGER IF NOT EXISTS enterprise_before_delete BEFORE DELETE ON enterprise
BEGIN
  DELETE FROM displaced_enterprise WHERE customs_code = OLD.customs_code;
END;

CREATE TRIGGER IF NOT EXISTS enterprise_after_delete AFTER DELETE ON enterprise
BEGIN
  INSERT INTO former_enterprise
  VALUES (OLD.customs_code, OLD.social_credit_code, OLD.name, OLD.credit_tier, OLD.tier_effective_from,
          OLD.tier_valid_until, OLD.suspended, OLD.updated_at, 0);
  INSERT INTO registry_change VALUES ('enterprise', OLD.customs_code, 'DELETE', NULL);
END;

-- The other four have no unique column beside their key: a row that REPLACE removes always has the key of the UPSERT
-- that follows, so nothing needs noting.

CREATE TRIGGER IF NOT EXISTS scheduled_tier_after_insert AFTER INSERT ON scheduled_tier
BEGIN
  INSERT INTO registry_change
  VALUES ('scheduled_tier', NEW.customs_code || '|' || NEW.effective_from, 'UPSERT',
          json_object('customs_code', NEW.customs_code, 'credit_tier', NEW.credit_tier,
                      'effective_from', NEW.effective_from));
END;

CREATE TRIGGER IF NOT EXISTS scheduled_tier_after_update AFTER UPDATE ON scheduled_tier
BEGIN
  INSERT INTO registry_change
  SELECT 'scheduled_tier', OLD.customs_code || '|' || OLD.effective_from, 'DELETE', NULL
   WHERE NEW.customs_code <> OLD.customs_code OR NEW.effective_from <> OLD.effective_from;
  INSERT INTO registry_change
  VALUES ('scheduled_tier', NEW.customs_code || '|' || NEW.effective_from, 'UPSERT',
          json_object('customs_code', NEW.customs_code, 'credit_tier', NEW.credit_tier,
                      'effective_from', NEW.effective_from));
END;

CREATE TRIGGER IF NOT EXISTS scheduled_tier_after_delete AFTER DELETE ON scheduled_tier
BEGIN
  INSERT INTO registry_change
  VALUES ('scheduled_tier', OLD.customs_code || '|' || OLD.effective_from, 'DELETE', NULL);
END;

CREATE TRIGGER IF NOT EXISTS recognised_operator_after_insert AFTER INSERT ON recognised_operator
BEGIN
  INSERT INTO registry_change
  VALUES ('recognised_operator', NEW.aeo_code, 'UPSERT',
          json_object('aeo_code', NEW.aeo_code, 'country', NEW.country, 'programme', NEW.programme,
                      'name', NEW.name, 'valid_from', NEW.valid_from, 'valid_until', NEW.valid_until,
                      'suspended', NEW.suspended));
END;

CREATE TRIGGER IF NOT EXISTS recognised_operator_after_update AFTER UPDATE ON recognised_operator
BEGIN
  INSERT INTO registry_change
  SELECT 'recognised_operator', OLD.aeo_code, 'DELETE', NULL WHERE NEW.aeo_code <> OLD.aeo_code;
  INSERT INTO registry_change
  VALUES ('recognised_operator', NEW.aeo_code, 'UPSERT',
          json_object('aeo_code', NEW.aeo_code, 'country', NEW.country, 'programme', NEW.programme,
                      'name', NEW.name, 'valid_from', NEW.valid_from, 'valid_until', NEW.valid_until,
                      'suspended', NEW.suspended));
END;

CREATE TRIGGER IF NOT EXISTS recognised_operator_after_delete AFTER DELETE ON recognised_operator
BEGIN
  INSERT INTO registry_change VALUES ('recognised_operator', OLD.aeo_code, 'DELETE', NULL);
END;

CREATE TRIGGER IF NOT EXISTS mutual_recognition_after_insert AFTER INSERT ON mutual_recognition
BEGIN
  INSERT INTO registry_change
  VALUES ('mutual_recognition',
          NEW.country || '|' || NEW.programme || '|' || NEW.direction || '|' || NEW.transport_modes || '|'
            || NEW.effective_from, 'UPSERT',
          json_object('country', NEW.country, 'programme', NEW.programme, 'direction', NEW.direction,
                      'transport_modes', NEW.transport_modes, 'effective_from', NEW.effective_from,
                      'effective_to', NEW.effective_to));
END;

CREATE TRIGGER IF NOT EXISTS mutual_recognition_after_update AFTER UPDATE ON mutual_recognition
BEGIN
  INSERT INTO registry_change
  SELECT 'mutual_recognition',
         OLD.country || '|' || OLD.programme || '|' || OLD.direction || '|' || OLD.transport_modes || '|'
           || OLD.effective_from, 'DELETE', NULL
   WHERE NEW.country <> OLD.country OR NEW.programme <> OLD.programme OR NEW.direction <> OLD.direction
      OR NEW.transport_modes <> OLD.transport_modes OR NEW.effective_from <> OLD.effective_from;
  INSERT INTO registry_change
  VALUES ('mutual_recognition',
          NEW.country || '|' || NEW.programme || '|' || NEW.direction || '|' || NEW.transport_modes || '|'
            || NEW.effective_from, 'UPSERT',
          json_object('country', NEW.country, 'programme', NEW.programme, 'direction', NEW.direction,
                      'transport_modes', NEW.transport_modes, 'effective_from', NEW.effective_from,
                      'effective_to', NEW.effective_to));
END;

CREATE TRIGGER IF NOT EXISTS mutual_recognition_after_delete AFTER DELETE ON mutual_recognition
BEGIN
  INSERT INTO registry_change
  VALUES ('mutual_recognition',
          OLD.country || '|' || OLD.programme || '|' || OLD.direction || '|' || OLD.transport_modes || '|'
            || OLD.effective_from, 'DELETE', NULL);
END;

CREATE TRIGGER IF NOT EXISTS control_order_after_insert AFTER INSERT ON control_order
BEGIN
  INSERT INTO registry_change
  VALUES ('control_order', NEW.id, 'UPSERT',
          json_object('id', NEW.id, 'kind', NEW.kind, 'basis', NEW.basis, 'enterprise_id', NEW.enterprise_id,
                      'hs_prefix', NEW.hs_prefix, 'origin_country', NEW.origin_country,
                      'customs_office', NEW.customs_office, 'container_number', NEW.container_number,
                      'direction', NEW.direction, 'valid_from', NEW.valid_from, 'valid_to', NEW.valid_to,
                      'legal_basis', NEW.legal_basis, 'public_reason', NEW.public_reason,
                      'confidential_reason', NEW.confidential_reason));
END;

CREATE TRIGGER IF NOT EXISTS control_order_after_update AFTER UPDATE ON control_order
BEGIN
  INSERT INTO registry_change
  SELECT 'control_order', OLD.id, 'DELETE', NULL WHERE NEW.id <> OLD.id;
  INSERT INTO registry_change
  VALUES ('control_order', NEW.id, 'UPSERT',
          json_object('id', NEW.id, 'kind', NEW.kind, 'basis', NEW.basis, 'enterprise_id', NEW.enterprise_id,
                      'hs_prefix', NEW.hs_prefix, 'origin_country', NEW.origin_country,
                      'customs_office', NEW.customs_office, 'container_number', NEW.container_number,
                      'direction', NEW.direction, 'valid_from', NEW.valid_from, 'valid_to', NEW.valid_to,
                      'legal_basis', NEW.legal_basis, 'public_reason', NEW.public_reason,
                      'confidential_reason', NEW.confidential_reason));
END;

CREATE TRIGGER IF NOT EXISTS control_order_after_delete AFTER DELETE ON control_order
BEGIN
  INSERT INTO registry_change VALUES ('control_order', OLD.id, 'DELETE', NULL);
END;
