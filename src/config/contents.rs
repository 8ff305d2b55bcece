//! What was in the files that a configuration was read from, so that other contents are noticed.
//!
//! It is noted while they are read, and not looked up afterwards: a change in between would never be noticed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::source::{BYTE_ORDER_MARK, CONFIGURATION_BYTES};

/// What tells other contents.
pub(super) type Digest = [u8; 32];

/// Files, with a digest of what was in each; none for one that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Option<Digest>>);

impl Contents {
    /// Notes that `text` was read from `file`.
    pub(super) fn note(&mut self, file: &Path, text: &str) {
        self.0.insert(file.to_owned(), Some(digest(text)));
    }

    /// The same files as they are now.
    pub fn read_again(&self) -> Self {
        let now = |file: &PathBuf| (file.clone(), bytes(file).map(digest));
        Self(self.0.keys().map(now).collect())
    }
}

/// What a text is read from: nothing beyond the limit would be.
fn bytes(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(file).ok()?;
    file.take(CONFIGURATION_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

pub(super) fn digest(contents: impl AsRef<[u8]>) -> Digest {
    let contents = contents.as_ref();
    let mark = BYTE_ORDER_MARK.as_bytes();
    Sha256::digest(contents.strip_prefix(mark).unwrap_or(contents)).into()
}

#[cfg(test)]
mod tests {
    use super::super::source::read_text;
    use super::*;

    #[test]
    fn other_contents_are_noticed_and_other_times_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prompt.txt");
        let mut contents = Contents::default();
        for text in ["one", "", "\u{feff}two"] {
            std::fs::write(&file, text).unwrap();
            assert!(text.is_empty() || contents.read_again() != contents || contents.0.is_empty());
            contents.note(&file, &read_text(&file, 100).unwrap());
            assert_eq!(contents.read_again(), contents, "{text:?}");
            std::fs::write(&file, text).unwrap();
            assert_eq!(contents.read_again(), contents, "{text:?}");
        }
        std::fs::remove_file(&file).unwrap();
        let gone = contents.read_again();
        assert_ne!(gone, contents);
        assert_eq!(gone.read_again(), gone);
    }
}
