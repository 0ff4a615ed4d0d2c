-- Shipments, in a file of their own: whoever writes the registry never waits for them.

-- Its key is its place in the order of changes: each change moves it to the end.
CREATE TABLE shipment (
  sequence           INTEGER PRIMARY KEY,
  declaration_number TEXT NOT NULL UNIQUE,
  container_numbers  TEXT NOT NULL, -- with ',' between them
  revision           INTEGER NOT NULL,
  decided_at         INTEGER NOT NULL, -- nanoseconds since 1970, in UTC
  entry              BLOB NOT NULL
);

CREATE INDEX shipment_by_decided_at ON shipment (decided_at);

CREATE TABLE shipment_container (
  container_number   TEXT NOT NULL,
  declaration_number TEXT NOT NULL,
  PRIMARY KEY (container_number, declaration_number)
) WITHOUT ROWID;

-- One row: the last sequence that was given, in a store that its epoch tells from any other.
CREATE TABLE shipment_meta (
  epoch    TEXT NOT NULL,
  sequence INTEGER NOT NULL
);

INSERT INTO shipment_meta (epoch, sequence) VALUES (lower(hex(randomblob(16))), 0);

CREATE TABLE shipment_progress (
  replica  TEXT NOT NULL PRIMARY KEY,
  sequence INTEGER NOT NULL
) WITHOUT ROWID;

PRAGMA user_version = 1;
