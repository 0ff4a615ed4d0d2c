-- What replicas ship of their audit logs. Monthly partitions, in UTC, of the two large tables: an old month is dropped with
-- DROP TABLE audit_decision_YYYYMM, audit_group_YYYYMM.

-- A group is kept as it lies in a segment (header and records), so that this copy proves as much as the files.
CREATE TABLE IF NOT EXISTS audit_group (
  replica        text COLLATE "C" NOT NULL,
  first_sequence bigint NOT NULL,
  records        integer NOT NULL,
  written_at     timestamptz NOT NULL,
  frame          bytea NOT NULL,
  PRIMARY KEY (replica, first_sequence, written_at)
) PARTITION BY RANGE (written_at);

-- Not compressed: one record is read out of a frame without reading the rest.
ALTER TABLE audit_group ALTER COLUMN frame SET STORAGE EXTERNAL;

-- What lists are searched by. decided_at has microseconds; decided_nanos is the rest.
CREATE TABLE IF NOT EXISTS audit_decision (
  replica            text COLLATE "C" NOT NULL,
  sequence           bigint NOT NULL,
  first_sequence     bigint NOT NULL,
  written_at         timestamptz NOT NULL,
  decided_at         timestamptz NOT NULL,
  decided_nanos      smallint NOT NULL,
  decision_id        uuid,
  declaration_number text NOT NULL,
  customs_office     text NOT NULL,
  lane               text NOT NULL,
  customs_codes      text[] NOT NULL,
  record_offset      integer NOT NULL,
  record_length      integer NOT NULL,
  PRIMARY KEY (decided_at, replica, sequence)
) PARTITION BY RANGE (decided_at);

CREATE INDEX IF NOT EXISTS audit_decision_by_id ON audit_decision (decision_id);
CREATE INDEX IF NOT EXISTS audit_decision_by_declaration ON audit_decision (declaration_number, decided_at);
CREATE INDEX IF NOT EXISTS audit_decision_by_office ON audit_decision (customs_office, decided_at);
CREATE INDEX IF NOT EXISTS audit_decision_by_enterprise ON audit_decision USING gin (customs_codes);

-- Moved in the transaction that brings the rows.
CREATE TABLE IF NOT EXISTS audit_progress (
  replica       text COLLATE "C" PRIMARY KEY,
  next_sequence bigint NOT NULL,
  chain         bytea NOT NULL
);

CREATE TABLE IF NOT EXISTS audit_head (
  replica   text COLLATE "C" PRIMARY KEY,
  sequence  bigint NOT NULL,
  head      text NOT NULL,
  signature bytea NOT NULL
);

CREATE TABLE IF NOT EXISTS audit_seal (
  replica        text COLLATE "C" NOT NULL,
  first_sequence bigint NOT NULL,
  seal           text NOT NULL,
  signature      bytea NOT NULL,
  PRIMARY KEY (replica, first_sequence)
);

CREATE TABLE IF NOT EXISTS audit_key (
  replica    text COLLATE "C" NOT NULL,
  public_key text NOT NULL,
  first_seen timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (replica, public_key)
);

-- Makes the partitions of a month. Runs as the owner, because only an owner can; for whoever may insert.
CREATE OR REPLACE FUNCTION audit_partitions(month timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  begins timestamp := date_trunc('month', month AT TIME ZONE 'UTC');
  parent text;
  child  text;
BEGIN
  IF NOT has_table_privilege(session_user, 'audit_group', 'INSERT') THEN
    RAISE insufficient_privilege USING MESSAGE = 'audit_partitions: INSERT on audit_group is needed';
  END IF;
  FOREACH parent IN ARRAY ARRAY['audit_group', 'audit_decision'] LOOP
    child := parent || to_char(begins, '_YYYYMM');
    CONTINUE WHEN to_regclass(child) IS NOT NULL;
    PERFORM pg_advisory_xact_lock(hashtextextended('greenlane audit_partitions', 0));
    CONTINUE WHEN to_regclass(child) IS NOT NULL;
    -- Made aside and attached: that holds up neither readers nor writers of the other months.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                   begins AT TIME ZONE 'UTC', (begins + interval '1 month') AT TIME ZONE 'UTC');
  END LOOP;
END
$$;
