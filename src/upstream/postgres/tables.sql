-- The store as other programs read and write it. Columns, names, order and CHECK are the contract's: they write
-- `INSERT INTO enterprise VALUES (...)` as readily as they name the columns. Types are PostgreSQL's own.

CREATE TABLE IF NOT EXISTS enterprise (
  customs_code        text PRIMARY KEY,
  social_credit_code  text UNIQUE,
  name                text NOT NULL,
  credit_tier         text NOT NULL,
  tier_effective_from date NOT NULL,
  tier_valid_until    date,
  suspended           boolean NOT NULL DEFAULT false,
  updated_at          timestamptz NOT NULL DEFAULT now()
);

-- No foreign key to enterprise: a tier may be scheduled before the enterprise is registered.
-- A '|' within a composite key would make two rows share one in the log.
CREATE TABLE IF NOT EXISTS scheduled_tier (
  customs_code   text NOT NULL,
  credit_tier    text NOT NULL,
  effective_from date NOT NULL,
  PRIMARY KEY (customs_code, effective_from),
  CONSTRAINT scheduled_tier_key_without_bar CHECK (strpos(customs_code, '|') = 0)
);

CREATE TABLE IF NOT EXISTS recognised_operator (
  aeo_code    text PRIMARY KEY,
  country     text NOT NULL,
  programme   text NOT NULL,
  name        text NOT NULL,
  valid_from  date NOT NULL,
  valid_until date,
  suspended   boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS mutual_recognition (
  country         text NOT NULL,
  programme       text NOT NULL,
  direction       text NOT NULL DEFAULT 'ALL',
  transport_modes text NOT NULL DEFAULT 'ALL',
  effective_from  date NOT NULL,
  effective_to    date,
  PRIMARY KEY (country, programme, direction, transport_modes, effective_from),
  CONSTRAINT mutual_recognition_key_without_bar
    CHECK (strpos(country || programme || direction || transport_modes, '|') = 0)
);

-- The CHECK refuses an order without a selector: it would match every declaration of the country.
CREATE TABLE IF NOT EXISTS control_order (
  id                  text PRIMARY KEY,
  kind                text NOT NULL,
  basis               text NOT NULL,
  enterprise_id       text,
  hs_prefix           text,
  origin_country      text,
  customs_office      text,
  container_number    text,
  direction           text,
  valid_from          timestamptz NOT NULL,
  valid_to            timestamptz,
  legal_basis         text NOT NULL,
  public_reason       text NOT NULL,
  confidential_reason text,
  CONSTRAINT control_order_has_a_selector
    CHECK (coalesce(enterprise_id, hs_prefix, origin_country, customs_office, container_number, direction) IS NOT NULL)
);

CREATE TABLE IF NOT EXISTS enterprise_history (
  customs_code text NOT NULL, social_credit_code text, name text NOT NULL, credit_tier text NOT NULL,
  tier_effective_from date NOT NULL, tier_valid_until date, suspended boolean NOT NULL,
  recorded_from timestamptz NOT NULL, recorded_to timestamptz NOT NULL
);

-- A what-if "as known at" looks a party up by either code, and every new former row needs the end of the last one:
-- recorded_to second makes both a single seek.
CREATE INDEX IF NOT EXISTS enterprise_history_by_customs_code
  ON enterprise_history (customs_code, recorded_to);
CREATE INDEX IF NOT EXISTS enterprise_history_by_social_credit_code
  ON enterprise_history (social_credit_code, recorded_to);

CREATE TABLE IF NOT EXISTS change_log (
  sequence     bigint PRIMARY KEY,
  entity       text NOT NULL,
  key          text NOT NULL,
  op           text NOT NULL,
  "row"        jsonb,
  committed_at timestamptz NOT NULL
);

-- Who wrote, as the database knows them. Behind the contract's columns, for stores that were made without.
ALTER TABLE change_log ADD COLUMN IF NOT EXISTS author text;

CREATE TABLE IF NOT EXISTS registry_meta (
  epoch         text NOT NULL,
  sequence      bigint NOT NULL,
  low_watermark bigint NOT NULL
);

-- One row, whose lock every writer holds until it commits.
CREATE UNIQUE INDEX IF NOT EXISTS registry_meta_is_one_row ON registry_meta ((true));

INSERT INTO registry_meta (epoch, sequence, low_watermark)
SELECT replace(gen_random_uuid()::text, '-', ''), 0, 0
 WHERE NOT EXISTS (SELECT FROM registry_meta);

-- Commitments to the keys of the draw, each put by the first replica that did; see README, "The draw".
CREATE TABLE IF NOT EXISTS draw_commitment (
  epoch        text PRIMARY KEY,
  commitment   text NOT NULL,
  published_at timestamptz NOT NULL,
  replica      text NOT NULL,
  public_key   text NOT NULL,
  signature    text NOT NULL,
  revealed_key text,
  revealed_at  timestamptz
);
