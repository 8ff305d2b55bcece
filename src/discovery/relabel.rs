//! Prometheus' relabelling: rules that rewrite a target's labels, or drop the target.
//!
//! The rules are applied one after the other to what the ones before have left. The actions, their defaults and
//! their results are those of Prometheus' `relabel_configs`.

use md5::{Digest, Md5};

use super::Labels;
use super::pattern::Pattern;
use crate::closed_set::closed_set;

closed_set! {
    /// What a rule does.
    Action:
    Replace "replace" "Sets the target label to the replacement, if the pattern matches the source labels.",
    Keep "keep" "Drops targets whose source labels the pattern does not match.",
    Drop "drop" "Drops targets whose source labels the pattern matches.",
    KeepEqual "keepequal" "Drops targets whose source labels are not equal to the target label.",
    DropEqual "dropequal" "Drops targets whose source labels are equal to the target label.",
    HashMod "hashmod" "Sets the target label to the modulus of a hash of the source labels.",
    LabelMap "labelmap" "Copies labels whose names the pattern matches to the names that the replacement gives.",
    LabelDrop "labeldrop" "Takes away labels whose names the pattern matches.",
    LabelKeep "labelkeep" "Takes away labels whose names the pattern does not match.",
    Lowercase "lowercase" "Sets the target label to the source labels in lower case.",
    Uppercase "uppercase" "Sets the target label to the source labels in upper case.",
}

impl Action {
    /// The action of that name, in whatever case.
    pub fn named(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|action| action.label().eq_ignore_ascii_case(text))
    }

    fn needs_target(self) -> bool {
        matches!(
            self,
            Self::Replace
                | Self::HashMod
                | Self::Lowercase
                | Self::Uppercase
                | Self::KeepEqual
                | Self::DropEqual
        )
    }

    /// The fields that mean something to the action.
    fn fields(self) -> &'static [Part] {
        use Part::{Modulus, Regex, Replacement, Separator, SourceLabels, TargetLabel};
        match self {
            Self::Replace => &[SourceLabels, Separator, Regex, TargetLabel, Replacement],
            Self::KeepEqual | Self::DropEqual => &[SourceLabels, TargetLabel],
            Self::LabelDrop | Self::LabelKeep => &[Regex],
            // Prometheus bears with what these make no use of, but for the replacement of the two.
            Self::Lowercase | Self::Uppercase => {
                &[SourceLabels, Separator, Regex, TargetLabel, Modulus]
            }
            Self::Keep | Self::Drop | Self::HashMod | Self::LabelMap => &[
                SourceLabels,
                Separator,
                Regex,
                TargetLabel,
                Replacement,
                Modulus,
            ],
        }
    }
}

closed_set! {
    /// A field of a rule, beside its action.
    Part:
    SourceLabels "source_labels" "The labels whose values are put together.",
    Separator "separator" "What stands between them.",
    Regex "regex" "The pattern.",
    Modulus "modulus" "By what the hash is divided.",
    TargetLabel "target_label" "The label that is set.",
    Replacement "replacement" "What it is set to.",
}

/// A rule as it is written. What is `None` has Prometheus' default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The labels whose values are put together; those that a target does not have are empty.
    pub source_labels: Vec<String>,
    /// What stands between these values; `;` by default.
    pub separator: Option<String>,
    /// What the values, or the labels' names, must match as a whole; `(.*)` by default.
    pub regex: Option<String>,
    /// By what the hash is divided.
    pub modulus: Option<u64>,
    /// The label that is set.
    pub target_label: Option<String>,
    /// What it is set to; `$1` by default.
    pub replacement: Option<String>,
    /// What is done; `replace` by default.
    pub action: Option<Action>,
}

impl Written {
    fn has(&self, part: Part) -> bool {
        match part {
            Part::SourceLabels => !self.source_labels.is_empty(),
            Part::Separator => self.separator.is_some(),
            Part::Regex => self.regex.is_some(),
            Part::Modulus => self.modulus.is_some(),
            Part::TargetLabel => self.target_label.is_some(),
            Part::Replacement => self.replacement.is_some(),
        }
    }
}

/// Why a rule cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The field that it is about; `None` for the rule as a whole.
    pub part: Option<Part>,
    /// What is wrong.
    pub message: String,
    /// How it would be right.
    pub mend: String,
}

impl Refused {
    fn new(part: Option<Part>, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            part,
            message: message.into(),
            mend: mend.into(),
        }
    }
}

/// A rule that can be applied.
#[derive(Clone, Debug)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    pattern: Pattern,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: Action,
}

impl Rule {
    /// Reads a rule with Prometheus' defaults in the places of what is left out.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(written: Written) -> Result<Self, Refused> {
        let action = written.action.unwrap_or(Action::Replace);
        let label = action.label();
        let useless = |part: &&Part| written.has(**part) && !action.fields().contains(part);
        if let Some(part) = Part::ALL.iter().find(useless) {
            return Err(Refused::new(
                Some(*part),
                format!("`{}` means nothing to the action `{label}`", part.label()),
                "delete it, or write the action that is meant",
            ));
        }
        let target_label = written.target_label.unwrap_or_default();
        if action.needs_target() && target_label.is_empty() {
            return Err(Refused::new(
                None,
                format!("the action `{label}` needs a `target_label`"),
                "add `target_label: …`, the label that is meant",
            ));
        }
        let modulus = written.modulus.unwrap_or(0);
        if action == Action::HashMod && modulus == 0 {
            return Err(Refused::new(
                None,
                "the action `hashmod` needs a `modulus` above 0",
                "add `modulus: …`, the number of shards",
            ));
        }
        let replacement = written.replacement.unwrap_or_else(|| "$1".to_owned());
        if action == Action::LabelMap && replacement.is_empty() {
            return Err(Refused::new(
                Some(Part::Replacement),
                "the action `labelmap` copies to labels without a name",
                "write the new name, such as `$1`",
            ));
        }
        let pattern = Pattern::new(written.regex.as_deref().unwrap_or("(.*)")).map_err(|why| {
            let mend = "write it in the syntax of RE2, as for Prometheus";
            Refused::new(
                Some(Part::Regex),
                format!("the regular expression cannot be read: {why}"),
                mend,
            )
        })?;
        Ok(Self {
            source_labels: written.source_labels,
            separator: written.separator.unwrap_or_else(|| ";".to_owned()),
            pattern,
            modulus,
            target_label,
            replacement,
            action,
        })
    }

    /// Changes `labels`; `false` if the target is dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        let values = self.source_labels.iter().map(|name| value(labels, name));
        let source = values.collect::<Vec<_>>().join(&self.separator);
        match self.action {
            Action::Keep => return self.pattern.matches(&source),
            Action::Drop => return !self.pattern.matches(&source),
            Action::KeepEqual => return value(labels, &self.target_label) == source,
            Action::DropEqual => return value(labels, &self.target_label) != source,
            Action::Replace => {
                let templates = [self.target_label.as_str(), self.replacement.as_str()];
                if let Some([name, text]) = self.pattern.expand(&source, templates) {
                    set(labels, name, text);
                }
            }
            Action::HashMod => {
                let shard = hash(&source) % self.modulus;
                set(labels, self.target_label.clone(), shard.to_string());
            }
            Action::Lowercase => set(labels, self.target_label.clone(), source.to_lowercase()),
            Action::Uppercase => set(labels, self.target_label.clone(), source.to_uppercase()),
            Action::LabelMap => {
                // The names are those from before: what is copied is not copied again.
                for (name, text) in labels.clone() {
                    if let Some([copy]) = self.pattern.expand(&name, [&self.replacement]) {
                        set(labels, copy, text);
                    }
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !self.pattern.matches(name)),
            Action::LabelKeep => labels.retain(|name, _| self.pattern.matches(name)),
        }
        true
    }
}

/// The labels that the rules leave a target, or `None` if they drop it.
pub fn relabel(mut labels: Labels, rules: &[Rule]) -> Option<Labels> {
    let kept = rules.iter().all(|rule| rule.apply(&mut labels));
    kept.then_some(labels)
}

fn value<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

/// Sets a label; an empty value takes it away, and a label without a name is none.
fn set(labels: &mut Labels, name: String, text: String) {
    if text.is_empty() {
        labels.remove(&name);
    } else if !name.is_empty() {
        labels.insert(name, text);
    }
}

/// The last half of the MD5 sum as a number, most significant byte first.
fn hash(text: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(text).into();
    sum[8..]
        .iter()
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
