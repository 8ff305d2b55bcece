//! Reads target groups in the form of Prometheus' `file_sd` and `http_sd`, with the place of every mistake.

use std::path::Path;

use serde_json::error::Category;

use super::document::{self, Place};
use super::field::Field;
use super::finding::{Mistakes, Severity};
use super::notes::Notes;
use super::section::Section;
use super::source::{Fault, Source};
use crate::discovery::{Labels, TargetGroup};

const FIELDS: &[&str] = &["targets", "labels"];

/// The most bytes of labels that the targets of a list may have: a hundred thousand targets of several hundred.
const LABEL_BYTES: usize = 64 << 20;

/// Reads the file at `path`: JSON if its name ends in `.json`, else YAML.
///
/// # Errors
/// Every mistake in it, each with its place and its mend; then none of it is to be used.
pub fn target_groups(path: &Path) -> Result<Vec<TargetGroup>, Mistakes> {
    let source =
        Source::read(path).map_err(|fault| Mistakes::only(&Source::unread(path), None, fault))?;
    groups_of(path, &source)
}

/// Reads what was in the file at `path`.
pub(super) fn groups_of(path: &Path, source: &Source) -> Result<Vec<TargetGroup>, Mistakes> {
    let is_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let groups = if is_json {
        of_json(source)?
    } else {
        of_yaml(source)?
    };
    of_some_size(source, groups)
}

/// Reads an answer of `http_sd`, which is JSON; `name` is what it is called in a mistake.
///
/// # Errors
/// As [`target_groups`].
pub fn target_groups_in_json(name: &str, text: &str) -> Result<Vec<TargetGroup>, Mistakes> {
    let source = Source {
        file: name.to_owned(),
        text: text.to_owned(),
    };
    of_some_size(&source, of_json(&source)?)
}

/// `groups`, unless their targets are more than can be held.
fn of_some_size(source: &Source, groups: Vec<TargetGroup>) -> Result<Vec<TargetGroup>, Mistakes> {
    let sizes = groups.iter().map(TargetGroup::size);
    if sizes.fold(0, usize::saturating_add) <= LABEL_BYTES {
        return Ok(groups);
    }
    let fault = Fault::new(
        format!(
            "the targets have more than {} MiB of labels",
            LABEL_BYTES >> 20
        ),
        "write fewer targets and shorter labels: each target has all labels of its group",
    );
    Err(Mistakes::only(source, None, fault))
}

fn of_json(source: &Source) -> Result<Vec<TargetGroup>, Mistakes> {
    #[derive(serde::Deserialize)]
    struct Group {
        // Go, in which Prometheus is written, takes `null` and nothing for the same.
        targets: Option<Vec<String>>,
        labels: Option<Labels>,
    }
    let groups: Vec<Group> = serde_json::from_str(&source.text).map_err(|error| {
        let place = Place {
            line: error.line(),
            column: error.column().max(1),
            width: 1,
        };
        let place = (error.line() > 0).then_some(place);
        let told = error.to_string();
        // The place is told apart from the words.
        let words = told.split(" at line ").next().unwrap_or_default();
        let mend = match error.classify() {
            Category::Data => {
                r#"write a list of `{"targets": ["host:port"], "labels": {"name": "value"}}`"#
            }
            _ => "check the commas, quotes and brackets before this place",
        };
        let fault = Fault::new(format!("the target groups cannot be read: {words}"), mend);
        Mistakes::only(source, place, fault)
    })?;
    let groups = groups.into_iter().map(|group| TargetGroup {
        targets: group.targets.unwrap_or_default(),
        labels: group.labels.unwrap_or_default(),
    });
    Ok(groups.collect())
}

fn of_yaml(source: &Source) -> Result<Vec<TargetGroup>, Mistakes> {
    let root = document::parse(&source.text)
        .map_err(|(place, fault)| Mistakes::only(source, place, fault))?;
    let notes = Notes::new(source);
    let groups = Field::root(&notes, &root).items();
    let groups = groups.iter().map(read_group).collect();
    let findings = notes.into_findings();
    let is_mistake = |severity| severity == Severity::Mistake;
    if findings.iter().any(|found| is_mistake(found.severity())) {
        return Err(Mistakes(findings));
    }
    Ok(groups)
}

fn read_group(field: &Field<'_>) -> TargetGroup {
    let section = Section::of(field, FIELDS);
    let targets = section.get("targets").map(|field| field.items());
    let targets = targets.unwrap_or_default().into_iter();
    let labels = section.get("labels").map(|field| field.entries());
    let labels = labels.unwrap_or_default().into_iter();
    TargetGroup {
        targets: targets
            .filter_map(|target| target.text().map(str::to_owned))
            .collect(),
        labels: labels
            .filter_map(|(key, value)| Some((key.name.to_owned(), value.text()?.to_owned())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<TargetGroup>, Mistakes> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        target_groups(&path)
    }

    fn group(targets: &[&str], labels: &[(&str, &str)]) -> TargetGroup {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        TargetGroup {
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            labels: labels.iter().map(owned).collect(),
        }
    }

    #[test]
    fn the_documented_forms_are_read() {
        let yaml = "- targets: [\"gpu-0:8000\", 'gpu-1:8000']\n  labels: { job: vllm, rack: 12 }\n- targets:\n  - gpu-2:8000\n";
        let json = r#"[
	{"targets": ["gpu-0:8000", "gpu-1:8000"], "labels": {"job": "vllm", "rack": "12"}},
	{"targets": ["gpu-2:8000"], "labels": null, "source": "inventory"}
]"#;
        let expected = [
            group(
                &["gpu-0:8000", "gpu-1:8000"],
                &[("job", "vllm"), ("rack", "12")],
            ),
            group(&["gpu-2:8000"], &[]),
        ];
        for (name, text) in [("t.yml", yaml), ("t.yaml", yaml), ("t.json", json)] {
            assert_eq!(read(name, text).unwrap(), expected, "{name}");
        }
        assert_eq!(
            target_groups_in_json("http://inventory", json).unwrap(),
            expected
        );
        for (name, text) in [("t.yml", ""), ("t.yml", "[]"), ("t.json", "[]")] {
            assert_eq!(read(name, text).unwrap(), [], "{text}");
        }
        // Escapes that JSON has and YAML has not.
        let escaped = r#"[{"targets": ["a\/\ud83d\ude00"]}]"#;
        assert_eq!(read("t.json", escaped).unwrap(), [group(&["a/😀"], &[])]);
    }

    #[test]
    fn a_mistake_has_its_line_and_its_mend() {
        for (name, text, line, words) in [
            (
                "t.yml",
                "- targets: [a]\n  lables: {}\n",
                2,
                "unknown field `lables`",
            ),
            ("t.yml", "targets: [a]\n", 1, "expected a list"),
            ("t.yml", "- targets: a\n", 1, "expected a list"),
            ("t.yml", "- targets: [[a]]\n", 1, "expected text"),
            ("t.yml", "- labels: [a]\n", 1, "expected fields"),
            ("t.yml", "- gpu-0:8000\n", 1, "expected fields"),
            ("t.json", "[{\"targets\": [\n1]}]", 2, "invalid type"),
            ("t.json", "[{\"targets\": [],\n}]", 2, "trailing comma"),
            ("t.json", "{}", 1, "invalid type"),
            ("t.json", "[{\"labels\": {\"a\": 1}}]", 1, "invalid type"),
        ] {
            let mistakes = read(name, text).unwrap_err();
            let found = &mistakes.findings()[0];
            assert_eq!(found.line(), Some(line), "{mistakes}");
            assert!(found.message().contains(words), "{mistakes}");
            assert!(!found.mend().is_empty());
        }
        // A small text that is a large list.
        let bomb = format!(
            r#"[{{"targets": [{}"a"], "labels": {{"long": "{}"}}}}]"#,
            r#""a","#.repeat(1000),
            "x".repeat(100_000)
        );
        let large = read("t.json", &bomb).unwrap_err();
        assert!(
            large.to_string().contains("more than 64 MiB of labels"),
            "{large}"
        );
        let absent = target_groups(Path::new("/nowhere/targets.yml")).unwrap_err();
        assert!(absent.to_string().contains("/nowhere/targets.yml"));
    }
}
