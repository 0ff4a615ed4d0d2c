-- Shipments: what each replica decided last on a declaration, for the others. See ARCHITECTURE.md.

CREATE TABLE IF NOT EXISTS shipment (
  declaration_number text COLLATE "C" PRIMARY KEY,
  container_numbers  text NOT NULL,   -- with ',' between them
  revision           bigint NOT NULL,
  decided_at         bigint NOT NULL, -- nanoseconds since 1970, in UTC
  entry              bytea NOT NULL,
  sequence           bigint NOT NULL  -- its place in the order of changes: each change moves it to the end
);

CREATE INDEX IF NOT EXISTS shipment_by_sequence ON shipment (sequence);
CREATE INDEX IF NOT EXISTS shipment_by_decided_at ON shipment (decided_at);

-- Not an array with a GIN index: most changes leave the containers as they are, and then touch nothing here.
CREATE TABLE IF NOT EXISTS shipment_container (
  container_number   text COLLATE "C" NOT NULL,
  declaration_number text COLLATE "C" NOT NULL,
  PRIMARY KEY (container_number, declaration_number)
);

CREATE TABLE IF NOT EXISTS shipment_progress (
  replica  text COLLATE "C" PRIMARY KEY,
  sequence bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS shipment_meta (
  epoch    text NOT NULL,
  sequence bigint NOT NULL
);

-- One row, whose lock every writer holds until it commits: so sequences come to light in their order.
CREATE UNIQUE INDEX IF NOT EXISTS shipment_meta_is_one_row ON shipment_meta ((true));

INSERT INTO shipment_meta (epoch, sequence)
SELECT replace(gen_random_uuid()::text, '-', ''), 0
 WHERE NOT EXISTS (SELECT FROM shipment_meta);
