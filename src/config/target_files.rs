//! The files of a source, read again and again: what is in each now, or was before it had mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::contents::{Digest, digest};
use super::finding::Mistakes;
use super::source::{Fault, Source};
use super::targets::groups_of;
use crate::discovery::source::FilePattern;
use crate::discovery::{Labels, TargetGroup};

/// Files with target groups as they were last read.
#[derive(Clone, Debug, Default)]
pub struct TargetFiles(BTreeMap<PathBuf, TargetFile>);

#[derive(Clone, Debug)]
struct TargetFile {
    /// Of what is in it; absent if it could not be read.
    digest: Option<Digest>,
    /// What is in it, or was when it was last read without a mistake.
    groups: Vec<TargetGroup>,
    mistakes: Option<Mistakes>,
}

impl TargetFiles {
    /// Reads all files that `patterns` stand for. A file with mistakes keeps what it had `before`, and so do those of a
    /// directory that cannot be read. One that a wildcard does not find any more is gone; one that is named in full
    /// and is not there is a mistake.
    pub fn read(patterns: &[FilePattern], before: &Self) -> Self {
        let mut now = BTreeMap::new();
        for pattern in patterns {
            match found_by(pattern) {
                Ok(paths) => now.extend(paths.into_iter().map(|path| {
                    let file = TargetFile::read(&path, before.0.get(&path));
                    (path, file)
                })),
                Err(mistakes) => {
                    let kept = before.0.iter().filter(|(path, _)| is_of(pattern, path));
                    now.extend(kept.map(|(path, file)| (path.clone(), file.clone())));
                    let unread = TargetFile::with_mistakes(None, mistakes, None);
                    now.insert(pattern.directory.clone(), unread);
                }
            }
        }
        Self(now)
    }

    /// Every target in them.
    pub fn targets(&self) -> BTreeSet<Labels> {
        let of_file = |(path, file): (&PathBuf, &TargetFile)| {
            let path = path.display().to_string();
            let more = [("__meta_filepath", path.as_str())];
            let labels = file.groups.iter().flat_map(|group| group.labels(&more));
            labels.collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_file).collect()
    }

    /// Whether there are the same files with the same in them: then the targets are the same.
    pub fn hold_the_same(&self, other: &Self) -> bool {
        let digests = |files: &Self| {
            let digests = files
                .0
                .iter()
                .map(|(path, file)| (path.clone(), file.digest));
            digests.collect::<Vec<_>>()
        };
        digests(self) == digests(other)
    }

    /// The mistakes of each file that has any.
    pub fn mistakes(&self) -> impl Iterator<Item = &Mistakes> {
        self.0.values().filter_map(|file| file.mistakes.as_ref())
    }
}

impl TargetFile {
    fn read(path: &Path, before: Option<&Self>) -> Self {
        let source = match Source::read(path) {
            Ok(source) => source,
            Err(fault) => {
                let mistakes = Mistakes::only(&Source::unread(path), None, fault);
                return Self::with_mistakes(None, mistakes, before);
            }
        };
        let digest = Some(digest(&source.text));
        match before {
            Some(before) if before.digest == digest => before.clone(),
            _ => match groups_of(path, &source) {
                Ok(groups) => Self {
                    digest,
                    groups,
                    mistakes: None,
                },
                Err(mistakes) => Self::with_mistakes(digest, mistakes, before),
            },
        }
    }

    fn with_mistakes(digest: Option<Digest>, mistakes: Mistakes, before: Option<&Self>) -> Self {
        Self {
            digest,
            groups: before
                .map(|before| before.groups.clone())
                .unwrap_or_default(),
            mistakes: Some(mistakes),
        }
    }
}

/// The files that `pattern` stands for. One without wildcards stands for itself, whether it is there or not.
fn found_by(pattern: &FilePattern) -> Result<Vec<PathBuf>, Mistakes> {
    if !pattern.has_wildcards() {
        return Ok(vec![pattern.directory.join(&pattern.name)]);
    }
    // The directory of a name alone is the current one, which is read by this name.
    let directory = match pattern.directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => &pattern.directory,
    };
    let entries = std::fs::read_dir(directory).map_err(|error| {
        let message = format!("cannot read `{}`: {error}", directory.display());
        let mend = "check the path and its permissions for the user that runs the prober";
        Mistakes::only(&Source::unread(directory), None, Fault::new(message, mend))
    })?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let paths = names.map(|name| pattern.directory.join(name));
    Ok(paths
        .filter(|path| is_of(pattern, path) && !path.is_dir())
        .collect())
}

fn is_of(pattern: &FilePattern, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    // Go, in which Prometheus is written, negates a class by `^`, and `glob` by `!`.
    let pattern_name = pattern.name.replace("[^", "[!");
    let matches = |name| glob::Pattern::new(&pattern_name).is_ok_and(|glob| glob.matches(name));
    path.parent() == Some(&pattern.directory) && name.is_some_and(matches)
}

#[cfg(test)]
mod tests;
