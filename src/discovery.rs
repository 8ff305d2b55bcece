//! Targets as Prometheus knows them: groups of addresses with labels, and the rules that change or drop them.
//!
//! A list that Prometheus discovers, and a sharding by `hashmod`, are to mean the same here: everything follows
//! Prometheus' documentation, and the tests are its examples.

pub mod pattern;
pub mod relabel;
pub mod source;

use std::collections::BTreeMap;

/// The labels of a target by their names. An empty value is the same as none, so there is none.
pub type Labels = BTreeMap<String, String>;

/// The label that holds a target's address.
pub const ADDRESS: &str = "__address__";

/// Targets that have labels in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Their addresses, as `host:port` or as URLs.
    pub targets: Vec<String>,
    /// What they have in common.
    pub labels: Labels,
}

impl TargetGroup {
    /// About how many bytes the labels of all its targets take: each target has those of the group, so that a small
    /// group can be a large list.
    pub fn size(&self) -> usize {
        let own = self.labels.iter();
        let own: usize = own.map(|(name, value)| name.len() + value.len()).sum();
        let targets = self.targets.iter();
        targets
            .map(|target| target.len() + own)
            .fold(0, usize::saturating_add)
    }

    /// The labels of each target: those of the group, then `more` that the source tells of itself, such as
    /// `__meta_filepath`, then its address.
    pub fn labels(&self, more: &[(&str, &str)]) -> impl Iterator<Item = Labels> {
        self.targets.iter().map(move |target| {
            let mut labels = self.labels.clone();
            for (name, value) in more {
                labels.insert((*name).to_owned(), (*value).to_owned());
            }
            labels.insert(ADDRESS.to_owned(), target.clone());
            labels.retain(|_, value| !value.is_empty());
            labels
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_its_group_s_labels_and_its_own_address() {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let group = TargetGroup {
            targets: vec!["gpu-0:8000".to_owned(), "gpu-1:8000".to_owned()],
            labels: [
                label("team", "a"),
                label("empty", ""),
                label(ADDRESS, "other"),
            ]
            .into(),
        };
        let found: Vec<Labels> = group.labels(&[("__meta_filepath", "/t.yml")]).collect();
        let expected = |address| {
            Labels::from([
                label(ADDRESS, address),
                label("__meta_filepath", "/t.yml"),
                label("team", "a"),
            ])
        };
        assert_eq!(found, [expected("gpu-0:8000"), expected("gpu-1:8000")]);
        // Two addresses of ten characters, and twice the labels, with what is then left out.
        assert_eq!(group.size(), 2 * (10 + 5 + 5 + 11 + 5));
    }
}
