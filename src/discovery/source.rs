//! Where lists of targets are read, and how each of these places fares.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use crate::endpoint::{Auth, Route};

/// Where a list of targets is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// In files: Prometheus' `file_sd`.
    Files(FileSource),
    /// Of a server: Prometheus' `http_sd`.
    Http(Box<HttpSource>),
}

/// Files with target groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Which.
    pub patterns: Vec<FilePattern>,
    /// How often they are read at the least.
    pub refresh_interval: Duration,
}

/// One file, or those of a directory whose names are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePattern {
    /// As the user wrote it.
    pub written: String,
    /// Where they are.
    pub directory: PathBuf,
    /// Their name; `*`, `?` and `[…]` stand for others.
    pub name: String,
}

impl FilePattern {
    /// Whether it may stand for several files, or for none.
    pub fn has_wildcards(&self) -> bool {
        self.name.contains(['*', '?', '['])
    }
}

/// A server that answers with target groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// What it is asked for.
    pub url: Url,
    /// How often it is asked.
    pub refresh_interval: Duration,
    /// What lets us in there.
    pub auth: Auth,
    /// The way there.
    pub route: Route,
}

impl HttpSource {
    /// The address without its query, which is long and may tell what is nobody's business.
    pub fn name(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }
}

impl Source {
    /// How often it is read at the least.
    pub fn refresh_interval(&self) -> Duration {
        match self {
            Self::Files(files) => files.refresh_interval,
            Self::Http(http) => http.refresh_interval,
        }
    }

    /// Whether it tells the list that `other` tells, though it may be asked as someone else, more often, or for more
    /// files.
    pub fn is_list_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Files(one), Self::Files(other)) => {
                let mut patterns = one.patterns.iter();
                patterns.any(|pattern| other.patterns.contains(pattern))
            }
            (Self::Http(one), Self::Http(other)) => one.url == other.url,
            (Self::Files(_), Self::Http(_)) | (Self::Http(_), Self::Files(_)) => false,
        }
    }

    /// What it is called in words: the patterns, or the address.
    pub fn name(&self) -> String {
        match self {
            Self::Files(files) => {
                let written = files
                    .patterns
                    .iter()
                    .map(|pattern| pattern.written.as_str());
                written.collect::<Vec<_>>().join(", ")
            }
            Self::Http(http) => http.name(),
        }
    }
}

/// How a source fares.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStatus {
    /// What it is called; no other one is called so.
    pub source: String,
    /// Whether something of it could not be read when it was last tried, so that what was known of that still holds.
    pub failing: bool,
    /// When all of it was last read without a mistake; absent until it was.
    pub last_success: Option<Timestamp>,
    /// The targets that its rules keep.
    pub targets: usize,
    /// Those of them that cannot be probed.
    pub refused: usize,
}
