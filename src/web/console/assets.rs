//! What the page is made of, as it lies in `assets/`.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ring::digest::{SHA256, digest};

use super::super::response::{Answer, body};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $media_type:expr),+ $(,)?) => {
        [$(Asset { name: $name, media_type: $media_type, text: include_str!(concat!("assets/", $name)) }),+]
    };
}

/// Every part of the page.
static ASSETS: [Asset; 19] = assets! {
    "index.html": HTML,
    "style.css": CSS,
    "panels.css": CSS,
    "theme.js": SCRIPT,
    "console.js": SCRIPT,
    "state.js": SCRIPT,
    "panels.js": SCRIPT,
    "plots.js": SCRIPT,
    "rates.js": SCRIPT,
    "explorer.js": SCRIPT,
    "form.js": SCRIPT,
    "decision.js": SCRIPT,
    "lookup.js": SCRIPT,
    "words.js": SCRIPT,
    "dom.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "vendor/uPlot.iife.min.js": SCRIPT,
    "vendor/uPlot.min.css": CSS,
    "vendor/uPlot.LICENSE": "text/plain; charset=utf-8",
};

/// The demo's declarations, which its sample register answers; YYYY stands for the year.
static EXAMPLES: Asset = Asset {
    name: "examples.json",
    media_type: "application/json",
    text: include_str!("../../cli/demo/declarations.json"),
};

/// What each is known by, in the order of [`all`]: a digest of its content.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        let digest = digest(&SHA256, asset.text.as_bytes());
        let digest = hex::encode(&digest.as_ref()[..16]);
        HeaderValue::try_from(format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    };
    all().map(tag).collect()
});

fn all() -> impl Iterator<Item = &'static Asset> {
    ASSETS.iter().chain([&EXAMPLES])
}

/// The part of that name, if there is one. A browser may keep it, but asks each time whether it is still the same: after an
/// upgrade nobody shall look at half of the old page.
pub(super) fn answer(name: &str, headers: &HeaderMap) -> Option<Answer> {
    let (asset, tag) = all().zip(TAGS.iter()).find(|(asset, _)| asset.name == name)?;
    let known = headers.get(header::IF_NONE_MATCH);
    let mut answer = if known == Some(tag) {
        body(StatusCode::NOT_MODIFIED, asset.media_type, Bytes::new())
    } else {
        body(
            StatusCode::OK,
            asset.media_type,
            Bytes::from_static(asset.text.as_bytes()),
        )
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_given_by_its_name_and_again_only_to_those_who_do_not_have_it() {
        for asset in all() {
            let first = answer(asset.name, &HeaderMap::new()).expect("a part");
            assert_eq!(first.status(), StatusCode::OK);
            let tag = first.headers()[header::ETAG].clone();
            let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
            let again = answer(asset.name, &again).expect("a part");
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{}", asset.name);
        }
        assert!(answer("../mod.rs", &HeaderMap::new()).is_none());
    }

    #[test]
    fn what_the_page_and_its_scripts_name_is_there() {
        let named = |text: &str| -> Vec<String> {
            let paths = text.split(['"', '\'', '`']).filter_map(|part| {
                part.strip_prefix("/console/")
                    .or_else(|| part.strip_prefix("./"))
                    .filter(|part| part.contains('.'))
            });
            paths.map(str::to_owned).collect()
        };
        for asset in &ASSETS {
            for name in named(asset.text) {
                assert!(all().any(|asset| asset.name == name), "{}: {name}", asset.name);
            }
        }
        assert!(named(ASSETS[0].text).len() > 3);
    }

    #[test]
    fn scripts_and_styles_stand_in_files_of_their_own_and_nothing_comes_from_elsewhere() {
        for asset in ASSETS.iter().filter(|asset| !asset.name.starts_with("vendor/")) {
            for banned in [
                " style=",
                "<style",
                " onclick=",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "https://",
                "eval(",
            ] {
                assert!(!asset.text.contains(banned), "{}: {banned}", asset.name);
            }
            assert!(asset.text.lines().count() <= 400, "{} is too long", asset.name);
        }
        let scripts = ASSETS[0].text.matches("<script").count();
        assert_eq!(scripts, ASSETS[0].text.matches("<script src=").count());
    }
}
