-- Each statement on a registry table is logged as a whole, however many rows it moves:
--
--   BEFORE STATEMENT   registry_write_begins   takes the lock that orders the writers
--   AFTER STATEMENT    enterprise_is_recorded  keeps the former rows (enterprise only)
--                      registry_is_logged      numbers the changed rows
--
-- Writers: keep transactions short (an open one holds every other writer up, a downgrade too) and set lock_timeout, so as
-- to be told rather than to wait. Under REPEATABLE READ and SERIALIZABLE a writer may be told "could not serialize" and
-- has to try again; PREPARE TRANSACTION is impossible, because the triggers notify.
--
-- Functions run as their owner, so that a writer needs no right on the log, and under the search path of the migration,
-- so that no writer's own tables or functions can stand in for ours.

-- Locks the one registry_meta row before anything is written. Without this, two transactions of several statements each
-- would first lock rows of the tables and then wait for each other here. What holds it until commit is also what makes
-- the sequence gap-free and its order the order of commits.
--
-- A transaction's rows share one committed_at, the instant at which it got the lock: readers take a run of equal ones
-- as one commit. It is kept in a setting that ends with the transaction, and goes back with a savepoint, as the lock does.
CREATE OR REPLACE FUNCTION registry_write_begins() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
  head   bigint;
  former timestamptz;
  ours   timestamptz;
  own    text := pg_current_xact_id()::text;
BEGIN
  SELECT sequence INTO head FROM registry_meta FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'registry_meta must have exactly one row';
  END IF;
  IF split_part(coalesce(current_setting('greenlane.commit', true), ''), ' ', 1) IS DISTINCT FROM own THEN
    SELECT committed_at INTO former FROM change_log WHERE sequence = head;
    ours := clock_timestamp();
    IF ours = former THEN
      ours := ours + interval '1 microsecond';
    END IF;
    PERFORM set_config('greenlane.commit', own || ' ' || ours::text, true);
  END IF;
  RETURN NULL;
END;
$$;

-- The instant of the transaction.
CREATE OR REPLACE FUNCTION registry_instant() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
  SELECT coalesce(nullif(substr(setting, strpos(setting, ' ') + 1), '')::timestamptz, now())
    FROM current_setting('greenlane.commit', true) AS setting;
$$;
REVOKE ALL ON FUNCTION registry_instant() FROM PUBLIC;

-- Logs what became of the rows that the statement touched: the arguments are the columns of the primary key.
--
-- Every row is logged as it now stands in the table, not as the statement left it: a statement within it (another
-- program's row trigger, a second part of a WITH) may have gone on to change it, and is logged before. So whatever the
-- order, the last word on a key is what the table holds.
--
-- The author is whoever opened the session: neither SECURITY DEFINER nor SET ROLE changes that.
--
-- The statements are planned each time: a plan made for one row would take minutes for a million, and the reverse.
CREATE OR REPLACE FUNCTION registry_is_logged() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
  keys    text := array_to_string(TG_ARGV, ', ');
  gone    text;
  head    bigint;
  changed bigint := 0;
  logged  bigint;
BEGIN
  SELECT sequence INTO STRICT head FROM registry_meta;

  -- What is gone comes first, and with it what only gave its social credit code away: no code must stand twice while
  -- the log is replayed. An UPSERT follows for those that are still there.
  IF TG_OP <> 'INSERT' THEN
    gone := format('WHERE t.%I IS NULL', TG_ARGV[0]);
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'enterprise' THEN
      gone := gone || ' OR (t.social_credit_code IS DISTINCT FROM o.social_credit_code AND EXISTS (
                SELECT FROM enterprise h WHERE h.social_credit_code = o.social_credit_code))';
    END IF;
    EXECUTE format(
      'INSERT INTO change_log (sequence, entity, key, op, "row", committed_at, author)
       SELECT $1 + row_number() OVER (), $2, concat_ws(''|'', %1$s), ''DELETE'', NULL, $3, session_user
         FROM former_rows o LEFT JOIN %2$I t USING (%1$s) %3$s', keys, TG_TABLE_NAME, gone)
    USING head, TG_TABLE_NAME, registry_instant();
    GET DIAGNOSTICS changed = ROW_COUNT;
  END IF;

  IF TG_OP <> 'DELETE' THEN
    EXECUTE format(
      'INSERT INTO change_log (sequence, entity, key, op, "row", committed_at, author)
       SELECT $1 + row_number() OVER (), $2, concat_ws(''|'', %1$s), ''UPSERT'', to_jsonb(t), $3, session_user
         FROM new_rows n JOIN %2$I t USING (%1$s)', keys, TG_TABLE_NAME)
    USING head + changed, TG_TABLE_NAME, registry_instant();
    GET DIAGNOSTICS logged = ROW_COUNT;
    changed := changed + logged;
  END IF;

  -- A statement that changed nothing takes no number.
  IF changed > 0 THEN
    UPDATE registry_meta SET sequence = sequence + changed;
    -- Equal notifications of one transaction are delivered once, after its commit: it is a hint, the log is the truth.
    PERFORM pg_notify('greenlane_change', '');
  END IF;
  RETURN NULL;
END;
$$;

-- Keeps the former rows of enterprise. A touch is a row written again with nothing changed but updated_at, the only
-- trace of when the row began, so its past must be kept or it would have been unknown then. A nightly job that touches
-- every row must not add a million rows a night: it stretches the last one if that is the same row and there was no
-- time between.
CREATE OR REPLACE FUNCTION enterprise_is_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
  former text := 'SELECT *, false AS touched FROM former_rows';
BEGIN
  IF TG_OP = 'UPDATE' THEN
    former := 'SELECT o.*, n.customs_code IS NOT NULL
                   AND (o.social_credit_code, o.name, o.credit_tier, o.tier_effective_from, o.tier_valid_until, o.suspended)
                       IS NOT DISTINCT FROM
                       (n.social_credit_code, n.name, n.credit_tier, n.tier_effective_from, n.tier_valid_until, n.suspended)
                   AS touched
                 FROM former_rows o LEFT JOIN new_rows n USING (customs_code)
                WHERE n.customs_code IS NULL OR o IS DISTINCT FROM n';
  END IF;
  -- Writers may or may not keep updated_at: the end of the row before bounds a stale one, the present a future one.
  EXECUTE 'WITH former AS MATERIALIZED (' || former || '),
    stretched AS (
      UPDATE enterprise_history h SET recorded_to = $1
        FROM (SELECT *, (SELECT ctid FROM enterprise_history WHERE customs_code = former.customs_code
                          ORDER BY recorded_to DESC, recorded_from DESC LIMIT 1) AS last
                FROM former WHERE touched) f
       WHERE h.ctid = f.last AND h.recorded_to >= f.updated_at
         AND (h.social_credit_code, h.name, h.credit_tier, h.tier_effective_from, h.tier_valid_until, h.suspended)
             IS NOT DISTINCT FROM
             (f.social_credit_code, f.name, f.credit_tier, f.tier_effective_from, f.tier_valid_until, f.suspended)
      RETURNING h.customs_code)
    INSERT INTO enterprise_history (customs_code, social_credit_code, name, credit_tier, tier_effective_from,
                                    tier_valid_until, suspended, recorded_from, recorded_to)
    SELECT customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended,
           least($1, greatest(updated_at, (SELECT max(recorded_to) FROM enterprise_history h
                                            WHERE h.customs_code = former.customs_code))), $1
      FROM former
     WHERE NOT EXISTS (SELECT FROM stretched WHERE stretched.customs_code = former.customs_code)'
  USING registry_instant();
  RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION registry_refuses_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  RAISE EXCEPTION '% cannot be truncated: replicas would not hear of it; use DELETE', TG_TABLE_NAME
    USING ERRCODE = 'feature_not_supported';
END;
$$;

-- What was committed to stands, and so does a key once it is revealed.
CREATE OR REPLACE FUNCTION draw_commitment_stands() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF (NEW.epoch, NEW.commitment, NEW.published_at, NEW.replica, NEW.public_key, NEW.signature)
     IS DISTINCT FROM
     (OLD.epoch, OLD.commitment, OLD.published_at, OLD.replica, OLD.public_key, OLD.signature)
     OR (OLD.revealed_key IS NOT NULL
         AND (NEW.revealed_key, NEW.revealed_at) IS DISTINCT FROM (OLD.revealed_key, OLD.revealed_at)) THEN
    RAISE EXCEPTION 'draw_commitment: what was committed to stands';
  END IF;
  RETURN NEW;
END;
$$;
CREATE OR REPLACE TRIGGER draw_commitment_stands BEFORE UPDATE ON draw_commitment
FOR EACH ROW EXECUTE FUNCTION draw_commitment_stands();

-- The same triggers on each table. ENABLE ALWAYS: session_replication_role = replica, which tools set to load data
-- quickly, must not write past the log. A trigger with transition tables can have one event only.
DO $$
DECLARE
  tables CONSTANT jsonb := '{
    "enterprise": ["customs_code"],
    "scheduled_tier": ["customs_code", "effective_from"],
    "recognised_operator": ["aeo_code"],
    "mutual_recognition": ["country", "programme", "direction", "transport_modes", "effective_from"],
    "control_order": ["id"]
  }';
  registry_table text;
  keys           jsonb;
  event          text;
  transitions    text;
  made           text;
BEGIN
  FOR registry_table, keys IN SELECT * FROM jsonb_each(tables) LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER registry_write_begins BEFORE INSERT OR UPDATE OR DELETE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION registry_write_begins()', registry_table);
    EXECUTE format('CREATE OR REPLACE TRIGGER registry_refuses_truncate BEFORE TRUNCATE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION registry_refuses_truncate()', registry_table);
    FOR event, transitions IN VALUES
      ('INSERT', 'NEW TABLE AS new_rows'),
      ('UPDATE', 'OLD TABLE AS former_rows NEW TABLE AS new_rows'),
      ('DELETE', 'OLD TABLE AS former_rows')
    LOOP
      EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %I REFERENCING %s
                      FOR EACH STATEMENT EXECUTE FUNCTION registry_is_logged(%s)',
                     'registry_logs_' || lower(event), event, registry_table, transitions,
                     (SELECT string_agg(quote_literal(key), ', ') FROM jsonb_array_elements_text(keys) AS key));
    END LOOP;
  END LOOP;
  FOR event, transitions IN VALUES
    ('UPDATE', 'OLD TABLE AS former_rows NEW TABLE AS new_rows'),
    ('DELETE', 'OLD TABLE AS former_rows')
  LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON enterprise REFERENCING %s
                    FOR EACH STATEMENT EXECUTE FUNCTION enterprise_is_recorded()',
                   'enterprise_keeps_former_on_' || lower(event), event, transitions);
  END LOOP;
  FOR registry_table, made IN
    SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE t.tgrelid = ANY (SELECT to_regclass(quote_ident(name)) FROM jsonb_object_keys(tables) AS name)
       AND t.tgfoid = ANY (ARRAY['registry_write_begins'::regproc, 'registry_is_logged'::regproc,
                                 'enterprise_is_recorded'::regproc, 'registry_refuses_truncate'::regproc]::oid[])
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', registry_table, made);
  END LOOP;
END;
$$;
