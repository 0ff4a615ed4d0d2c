-- The store as other programs read and write it. Columns, names, order and CHECK are the contract's: they write
-- `INSERT INTO enterprise VALUES (...)` as readily as they name the columns.

CREATE TABLE IF NOT EXISTS enterprise (
  customs_code        TEXT PRIMARY KEY,
  social_credit_code  TEXT UNIQUE,
  name                TEXT NOT NULL,
  credit_tier         TEXT NOT NULL,
  tier_effective_from TEXT NOT NULL,
  tier_valid_until    TEXT,
  suspended           INTEGER NOT NULL DEFAULT 0,
  updated_at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- No foreign key to enterprise: a tier may be scheduled before the enterprise is registered.
CREATE TABLE IF NOT EXISTS scheduled_tier (
  customs_code   TEXT NOT NULL,
  credit_tier    TEXT NOT NULL,
  effective_from TEXT NOT NULL,
  PRIMARY KEY (customs_code, effective_from)
);

CREATE TABLE IF NOT EXISTS recognised_operator (
  aeo_code    TEXT PRIMARY KEY,
  country     TEXT NOT NULL,
  programme   TEXT NOT NULL,
  name        TEXT NOT NULL,
  valid_from  TEXT NOT NULL,
  valid_until TEXT,
  suspended   INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS mutual_recognition (
  country         TEXT NOT NULL,
  programme       TEXT NOT NULL,
  direction       TEXT NOT NULL DEFAULT 'ALL',
  transport_modes TEXT NOT NULL DEFAULT 'ALL',
  effective_from  TEXT NOT NULL,
  effective_to    TEXT,
  PRIMARY KEY (country, programme, direction, transport_modes, effective_from)
);

-- The CHECK refuses an order without a selector: it would match every declaration of the country.
CREATE TABLE IF NOT EXISTS control_order (
  id                  TEXT PRIMARY KEY,
  kind                TEXT NOT NULL,
  basis               TEXT NOT NULL,
  enterprise_id       TEXT,
  hs_prefix           TEXT,
  origin_country      TEXT,
  customs_office      TEXT,
  container_number    TEXT,
  direction           TEXT,
  valid_from          TEXT NOT NULL,
  valid_to            TEXT,
  legal_basis         TEXT NOT NULL,
  public_reason       TEXT NOT NULL,
  confidential_reason TEXT,
  CHECK (coalesce(enterprise_id, hs_prefix, origin_country, customs_office, container_number, direction) IS NOT NULL)
);

CREATE TABLE IF NOT EXISTS enterprise_history (
  customs_code TEXT NOT NULL, social_credit_code TEXT, name TEXT NOT NULL, credit_tier TEXT NOT NULL,
  tier_effective_from TEXT NOT NULL, tier_valid_until TEXT, suspended INTEGER NOT NULL,
  recorded_from TEXT NOT NULL, recorded_to TEXT NOT NULL
);

-- A what-if "as known at" looks a party up by either code, and every new former row needs the end of the last one:
-- recorded_to second makes both a single seek.
CREATE INDEX IF NOT EXISTS enterprise_history_by_customs_code
  ON enterprise_history (customs_code, recorded_to);
CREATE INDEX IF NOT EXISTS enterprise_history_by_social_credit_code
  ON enterprise_history (social_credit_code, recorded_to);

CREATE TABLE IF NOT EXISTS change_log (
  sequence     INTEGER PRIMARY KEY,
  entity       TEXT NOT NULL,
  key          TEXT NOT NULL,
  op           TEXT NOT NULL,
  row          TEXT,
  committed_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS registry_meta (
  epoch         TEXT NOT NULL,
  sequence      INTEGER NOT NULL,
  low_watermark INTEGER NOT NULL
);

-- The last signed head of the audit log beside this store, and the key that signs: they show when the log's end is cut.
CREATE TABLE IF NOT EXISTS audit_head (
  replica   TEXT PRIMARY KEY,
  sequence  INTEGER NOT NULL,
  head      TEXT NOT NULL,
  signature BLOB NOT NULL
);

CREATE TABLE IF NOT EXISTS audit_key (
  replica    TEXT NOT NULL,
  public_key TEXT NOT NULL,
  first_seen TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  PRIMARY KEY (replica, public_key)
);

-- Not in the contract, and nobody's to read: rows that the statement now running might push out, so that the AFTER
-- triggers can tell which really went. No constraint, because a trigger's INSERT takes over the conflict clause of
-- the statement that fired it (OR IGNORE would lose a note without a word).
CREATE TABLE IF NOT EXISTS displaced_enterprise (
  customs_code TEXT, social_credit_code TEXT, name TEXT, credit_tier TEXT,
  tier_effective_from TEXT, tier_valid_until TEXT, suspended INTEGER, updated_at TEXT
);

-- Commitments to the keys of the draw, each put by the first replica that did; see README, "The draw".
CREATE TABLE IF NOT EXISTS draw_commitment (
  epoch        TEXT NOT NULL PRIMARY KEY,
  commitment   TEXT NOT NULL,
  published_at TEXT NOT NULL,
  replica      TEXT NOT NULL,
  public_key   TEXT NOT NULL,
  signature    TEXT NOT NULL,
  revealed_key TEXT,
  revealed_at  TEXT
);

-- What was committed to stands, and so does a key once it is revealed.
CREATE TRIGGER IF NOT EXISTS draw_commitment_stands BEFORE UPDATE ON draw_commitment
WHEN NEW.epoch IS NOT OLD.epoch OR NEW.commitment IS NOT OLD.commitment OR NEW.published_at IS NOT OLD.published_at
  OR NEW.replica IS NOT OLD.replica OR NEW.public_key IS NOT OLD.public_key OR NEW.signature IS NOT OLD.signature
  OR (OLD.revealed_key IS NOT NULL
      AND (NEW.revealed_key IS NOT OLD.revealed_key OR NEW.revealed_at IS NOT OLD.revealed_at))
BEGIN
  SELECT RAISE(ABORT, 'draw_commitment: what was committed to stands');
END;
