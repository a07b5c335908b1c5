//! Files that the page loads, part of the binary.

use usher_event::Digest;

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

const ASSETS: [Asset; 3] = [STYLE, SCRIPT, ICON];

pub(crate) const STYLE: Asset = Asset {
    name: "page.css",
    content_type: "text/css; charset=utf-8",
    content: include_str!("../assets/page.css"),
};

pub(crate) const SCRIPT: Asset = Asset {
    name: "page.js",
    content_type: "text/javascript; charset=utf-8",
    content: include_str!("../assets/page.js"),
};

pub(crate) const ICON: Asset = Asset {
    name: "icon.svg",
    content_type: "image/svg+xml",
    content: include_str!("../assets/icon.svg"),
};

/// The file with this name.
pub fn asset(name: &str) -> Option<Asset> {
    ASSETS.into_iter().find(|asset| asset.name == name)
}

impl Asset {
    /// Its address on the page. It changes with the content, so that browsers may keep what is
    /// there for good.
    pub(crate) fn address(&self) -> String {
        let digest = Digest::of(self.content.as_bytes()).to_string();
        format!("{}?v={}", self.name, digest.get(..12).unwrap_or_default())
    }
}
