//! The store as other programs see it: plain SQL.

use std::{path::Path, time::Duration};

use greenlane::wire::pb;
use rusqlite::{Connection, OpenFlags, params};

/// The enterprise of each tier that `enterprise_of_each_tier` writes, from best to worst.
pub(crate) const ADVANCED: &str = "1101919101";
pub(crate) const CERTIFIED: &str = "1101919102";
pub(crate) const REGULAR: &str = "1101919103";
pub(crate) const DISCREDITED: &str = "1101919104";
pub(crate) const SERIOUSLY_DISCREDITED: &str = "1101919105";

/// Customs codes and tier names, from best to worst.
pub(crate) const EACH_TIER: [(&str, &str); 5] = [
    (ADVANCED, "ADVANCED_CERTIFIED"),
    (CERTIFIED, "CERTIFIED"),
    (REGULAR, "REGULAR"),
    (DISCREDITED, "DISCREDITED"),
    (SERIOUSLY_DISCREDITED, "SERIOUSLY_DISCREDITED"),
];

/// An enterprise that no store of a test holds.
pub(crate) const UNKNOWN: &str = "9999999999";

pub(crate) fn connect(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    // The store need not survive a power cut, and an fsync a commit would make tests slow.
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    connection
}

pub(crate) fn head(connection: &Connection) -> pb::RegistryVersion {
    connection
        .query_row("SELECT epoch, sequence FROM registry_meta", [], |row| {
            Ok(pb::RegistryVersion {
                epoch: row.get(0)?,
                sequence: row.get(1)?,
            })
        })
        .unwrap()
}

/// Writes an enterprise that has been of its tier since 2010 and has no social credit code.
pub(crate) fn put_enterprise(connection: &Connection, customs_code: &str, credit_tier: &str) {
    let written = connection.execute(
        "INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
         VALUES (?1, 'Enterprise ' || ?1, ?2, '2010-01-01')
         ON CONFLICT (customs_code) DO UPDATE SET credit_tier = excluded.credit_tier",
        params![customs_code, credit_tier],
    );
    assert_eq!(written.unwrap(), 1);
}

/// One commit with an enterprise of each tier.
pub(crate) fn enterprise_of_each_tier(connection: &Connection) {
    let transaction = connection.unchecked_transaction().unwrap();
    for (customs_code, credit_tier) in EACH_TIER {
        put_enterprise(&transaction, customs_code, credit_tier);
    }
    transaction.commit().unwrap();
}
