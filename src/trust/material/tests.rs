//! What files are taken, and whom they make trusted.

use super::*;
use crate::trust::{
    certificate::now,
    testing::{Authority, Issued, Made, Served},
};

const DAY: Duration = Duration::from_hours(24);

fn server(authority: &Authority) -> Issued {
    let made = Made {
        names: Some("DNS:replica.example"),
        usage: "serverAuth",
        ..Made::default()
    };
    authority.issue("server", &made)
}

fn made(served: &Served, at: Duration) -> Result<Material, TrustError> {
    let files = served.files();
    Material::new(&files, WantedOfClients::MustShow, &files.read()?, at)
}

fn refused(served: &Served, at: Duration) -> String {
    made(served, at).expect_err("the files were taken").to_string()
}

#[test]
fn a_pair_is_taken_from_its_first_moment_to_its_last_and_no_further() {
    let authority = Authority::new("one");
    let served = Served::new(&server(&authority));
    let facts = made(&served, now()).unwrap().served;
    let second = Duration::from_secs(1);
    for good in [facts.not_before, facts.not_after] {
        assert_eq!(made(&served, good).unwrap().served, facts);
    }
    let early = refused(&served, facts.not_before.saturating_sub(second));
    assert!(
        early.starts_with("tls.certificate_file /") && early.contains("is not good before 2"),
        "{early}"
    );
    let late = refused(&served, facts.not_after + second);
    assert!(late.contains("has expired at 2"), "{late}");
}

#[test]
fn a_key_of_another_certificate_and_files_of_something_else_are_refused_by_name() {
    let authority = Authority::new("one");
    let (own, other) = (server(&authority), authority.issue("other", &Made::default()));
    let served = Served::new(&own);
    served.copy(&other.key, "tls.key", 0o600);
    let told = refused(&served, now());
    assert!(
        told.starts_with("tls.key_file /") && told.contains("is not the key of the first certificate"),
        "{told}"
    );
    served.copy(&own.certificate, "tls.key", 0o600);
    assert!(refused(&served, now()).contains("holds no private key in PEM"));
    served.put(&own);
    served.copy(&own.key, "tls.crt", 0o644);
    let told = refused(&served, now());
    assert!(
        told.starts_with("tls.certificate_file /") && told.contains("holds no certificate"),
        "{told}"
    );
    served.put(&own);
    served.copy(&own.key, "ca.crt", 0o644);
    let told = refused(&served, now());
    assert!(told.starts_with("tls.client_ca_file /"), "{told}");
    served.copy(&authority.certificate(), "ca.crt", 0o644);
    served.copy(&authority.certificate(), "crl.pem", 0o644);
    let told = refused(&served, now());
    assert!(
        told.starts_with("tls.client_crl_file /") && told.contains("revocation list"),
        "{told}"
    );
}

#[test]
fn a_client_is_trusted_by_its_authority_until_it_expires_or_is_revoked() {
    let (authority, stranger) = (Authority::new("one"), Authority::new("one"));
    let served = Served::new(&server(&authority));
    let client = |of: &Authority, name: &str| vec![of.issue(name, &Made::default()).der()];
    let (good, bad) = (client(&authority, "good"), client(&stranger, "bad"));
    assert!(
        !made(&served, now()).unwrap().vouches_for(&good, now()),
        "there is no authority"
    );

    served.copy(&authority.certificate(), "ca.crt", 0o644);
    let material = made(&served, now()).unwrap();
    assert!(material.vouches_for(&good, now()));
    assert!(!material.vouches_for(&good, now() + 6 * DAY), "expired");
    assert!(
        !material.vouches_for(&bad, now()),
        "an authority of the same name"
    );
    assert!(!material.vouches_for(&[], now()));
    assert!(
        !material.vouches_for(&[server(&authority).der()], now()),
        "a server's"
    );

    let revoked = authority.issue("revoked", &Made::default());
    let chain = vec![revoked.der()];
    assert!(material.vouches_for(&chain, now()));
    served.copy(&authority.revoke(&[&revoked]), "crl.pem", 0o644);
    let listed = made(&served, now()).unwrap();
    assert!(listed.vouches_for(&good, now()) && !listed.vouches_for(&chain, now()));
    let ends = listed.client_crl_ends.unwrap();
    assert!(ends > now() + 29 * DAY && ends < now() + 31 * DAY, "{ends:?}");
    assert!(listed.vouches_for(&good, ends.min(now() + 4 * DAY)));

    served.copy(&stranger.revoke(&[]), "crl.pem", 0o644);
    let other = made(&served, now()).unwrap();
    assert!(!other.vouches_for(&good, now()), "its state is told by no list");
}

#[test]
fn an_authority_that_has_expired_counts_no_more_and_without_another_all_is_refused() {
    let authority = Authority::new("one");
    let made_of = Made {
        usage: "serverAuth",
        days: 30,
        ..Made::default()
    };
    let served = Served::new(&authority.issue("server", &made_of));
    served.copy(&authority.certificate(), "ca.crt", 0o644);
    let ends = made(&served, now()).unwrap().client_ca_ends.unwrap();
    let told = refused(&served, ends + Duration::from_secs(1));
    assert!(
        told.contains("holds no certificate that has not expired"),
        "{told}"
    );
}

#[test]
fn a_generation_begins_where_clients_are_trusted_by_something_else_and_not_with_a_new_pair() {
    let authority = Authority::new("one");
    let served = Served::new(&server(&authority));
    served.copy(&authority.certificate(), "ca.crt", 0o644);
    let first = made(&served, now()).unwrap();
    served.put(&server(&authority));
    let second = made(&served, now()).unwrap().following(&first);
    assert!(second.digest != first.digest);
    assert_eq!((first.generation, second.generation), (0, 0));
    served.copy(&Authority::new("two").certificate(), "ca.crt", 0o644);
    assert_eq!(made(&served, now()).unwrap().following(&second).generation, 1);
}

#[test]
fn what_is_shown_of_material_holds_no_key() {
    let authority = Authority::new("one");
    let own = server(&authority);
    let shown = format!("{:?}", made(&Served::new(&own), now()).unwrap());
    assert!(
        shown.contains(&Facts::read(&own.der()).unwrap().serial) && shown.len() < 500,
        "{shown}"
    );
}
