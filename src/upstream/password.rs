//! The password of a store's user, from a file that is read for every connection: what rotates it need not restart us.

use std::path::Path;

use zeroize::Zeroizing;

use super::UpstreamError;

/// The password in a file, without the end of its line.
pub(super) async fn read(file: &Path) -> Result<Zeroizing<String>, UpstreamError> {
    let text = tokio::fs::read_to_string(file).await.map(Zeroizing::new);
    let text = text.map_err(|error| {
        UpstreamError::Unavailable(format!("upstream.password_file: {}: {error}", file.display()))
    })?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_read_without_its_line_end_alone_and_an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, " p\u{e4}ss word \r\n").unwrap();
        assert_eq!(*read(&file).await.unwrap(), " p\u{e4}ss word ");
        let missing = read(&folder.path().join("none")).await.unwrap_err().to_string();
        assert!(
            missing.contains("upstream.password_file") && missing.contains("none"),
            "{missing}"
        );
    }
}
