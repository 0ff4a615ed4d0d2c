//! What `greenlane --version` tells: the version, the commit that it was built from, and that commit's instant or the one
//! that `SOURCE_DATE_EPOCH` gave. Never the time of the build itself: the same source gives the same program.

use std::sync::LazyLock;

use jiff::Timestamp;

static TEXT: LazyLock<String> = LazyLock::new(|| {
    written(
        env!("CARGO_PKG_VERSION"),
        option_env!("GREENLANE_COMMIT"),
        option_env!("GREENLANE_BUILT_AT"),
    )
});

/// The text behind the program's name.
pub fn text() -> &'static str {
    &TEXT
}

/// `built_at` is in seconds since 1970. Either is missing where the source came without git.
fn written(version: &str, commit: Option<&str>, built_at: Option<&str>) -> String {
    let commit = commit.unwrap_or("unknown");
    let built_at = built_at
        .and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok())
        .map(|built_at| format!(", {built_at}"));
    format!("{version} (commit {commit}{})", built_at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn the_version_names_commit_and_date_as_far_as_they_are_known() {
        // `date --utc --date=@1795529314 +%FT%TZ`
        let whole = "0.1.0 (commit bb1d05061d8b, 2026-11-24T14:08:34Z)";
        assert_eq!(written("0.1.0", Some("bb1d05061d8b"), Some("1795529314")), whole);
        assert_eq!(written("0.1.0", None, None), "0.1.0 (commit unknown)");
        let undated = "0.1.0 (commit bb1d05061d8b)";
        assert_eq!(written("0.1.0", Some("bb1d05061d8b"), Some("soon")), undated);
    }
}
