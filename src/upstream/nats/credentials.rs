//! A NATS `.creds` file: a user's JWT and the seed of its key. Read for every connection: JWTs run out, and what renews them
//! need not restart us.

use std::path::Path;

use async_nats::Auth;
use nkeys::KeyPair;
use zeroize::Zeroizing;

use crate::upstream::UpstreamError;

/// What a file has a server told: the JWT, and the key's signature of what the server sent.
pub(super) async fn answer(file: &Path, nonce: &[u8]) -> Result<Auth, UpstreamError> {
    let problem = |problem: &dyn std::fmt::Display| {
        UpstreamError::Unsupported(format!(
            "upstream.credentials_file: {}: {problem}",
            file.display()
        ))
    };
    let text = tokio::fs::read_to_string(file).await.map(Zeroizing::new);
    let text = text.map_err(|error| problem(&error))?;
    let mut parts = parts(&text);
    let (Some(jwt), Some(seed)) = (parts.next(), parts.next()) else {
        return Err(problem(
            &"must hold a user's JWT and the seed of its key, as nsc writes them",
        ));
    };
    // What is wrong with a seed may not be told by what it is.
    let key = KeyPair::from_seed(seed).map_err(|_| problem(&"its seed is none"))?;
    let mut auth = Auth::new();
    auth.jwt = Some(jwt.to_owned());
    auth.signature = Some(key.sign(nonce).map_err(|error| problem(&error))?);
    Ok(auth)
}

/// The lines that stand between `-----BEGIN` and `------END`.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let rule = |line: &str, what| line.starts_with("---") && line.contains(what);
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        lines.find(|line| rule(line, "BEGIN"))?;
        let part = lines.next()?;
        lines.next().filter(|line| rule(line, "END")).map(|_| part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[tokio::test]
    async fn the_server_is_told_the_jwt_and_a_signature_by_the_key_as_the_file_has_them_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("user.creds");
        for (jwt, end) in [("first.jwt", "\n"), ("second.jwt", "\r\n")] {
            let key = KeyPair::new_user();
            let seed = key.seed().unwrap();
            std::fs::write(&file, creds(jwt, &seed).replace('\n', end)).unwrap();
            let auth = answer(&file, b"nonce").await.unwrap();
            assert_eq!(auth.jwt.as_deref(), Some(jwt));
            key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_is_told_without_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("user.creds");
        let seed = KeyPair::new_user().seed().unwrap();
        let told = async || answer(&file, b"nonce").await.err().expect("refused").to_string();
        assert!(told().await.contains("user.creds"), "no file");
        let torn = creds("a.jwt", &seed).replace("------END USER NKEY SEED------", "");
        for (text, problem) in [
            (String::new(), "must hold"),
            (creds("a.jwt", &seed[..20]), "seed"),
            (torn, "must hold"),
        ] {
            std::fs::write(&file, text).unwrap();
            let told = told().await;
            assert!(
                told.contains("upstream.credentials_file") && told.contains(problem),
                "{told}"
            );
            assert!(!told.contains(&seed[..20]), "{told}");
        }
    }
}
