//! What becomes of lists whose files come, go and break.

use super::*;

struct Lists(tempfile::TempDir);

impl Lists {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, addresses: &[&str]) {
        std::fs::write(
            self.0.path().join(name),
            format!("- targets: [{}]\n", addresses.join(", ")),
        )
        .unwrap();
    }

    fn pattern(&self, name: &str) -> FilePattern {
        FilePattern {
            written: name.to_owned(),
            directory: self.0.path().to_owned(),
            name: name.to_owned(),
        }
    }
}

fn addresses(files: &TargetFiles) -> Vec<String> {
    let targets = files.targets();
    targets
        .iter()
        .map(|labels| labels["__address__"].clone())
        .collect()
}

#[test]
fn a_broken_file_keeps_its_targets_and_the_others_go_on() {
    let lists = Lists::new();
    lists.write("a.yml", &["a"]);
    lists.write("b.yml", &["b"]);
    lists.write("c.txt", &["c"]);
    std::fs::create_dir(lists.0.path().join("d.yml")).unwrap();
    let patterns = [lists.pattern("*.yml")];
    let first = TargetFiles::read(&patterns, &TargetFiles::default());
    assert_eq!(
        (addresses(&first), first.mistakes().count()),
        (vec!["a".into(), "b".into()], 0)
    );
    let from = first.targets().pop_first().unwrap();
    assert!(from["__meta_filepath"].ends_with("/a.yml"));

    std::fs::write(lists.0.path().join("a.yml"), "- tragets: [x]\n").unwrap();
    lists.write("b.yml", &["b", "b2"]);
    let second = TargetFiles::read(&patterns, &first);
    assert_eq!(addresses(&second), ["a", "b", "b2"]);
    assert!(
        second
            .mistakes()
            .next()
            .unwrap()
            .to_string()
            .contains("a.yml:1")
    );
    // It stays as it is while the file does.
    let third = TargetFiles::read(&patterns, &second);
    assert!(third.hold_the_same(&second) && !second.hold_the_same(&first));
    assert_eq!(
        (addresses(&third), third.mistakes().count()),
        (addresses(&second), 1)
    );

    lists.write("a.yml", &["a2"]);
    std::fs::remove_file(lists.0.path().join("b.yml")).unwrap();
    let mended = TargetFiles::read(&patterns, &third);
    assert_eq!(
        (addresses(&mended), mended.mistakes().count()),
        (vec!["a2".into()], 0)
    );
}

#[test]
fn what_is_named_in_full_must_be_there_and_what_a_wildcard_finds_need_not() {
    let lists = Lists::new();
    lists.write("a.json", &[]);
    std::fs::write(lists.0.path().join("a.json"), r#"[{"targets": ["a"]}]"#).unwrap();
    let (named, found) = ([lists.pattern("a.json")], [lists.pattern("?.json")]);
    let [first, second] =
        [&named, &found].map(|patterns| TargetFiles::read(patterns, &TargetFiles::default()));
    assert_eq!([addresses(&first), addresses(&second)], [["a"], ["a"]]);
    std::fs::remove_file(lists.0.path().join("a.json")).unwrap();
    let gone = TargetFiles::read(&named, &first);
    assert_eq!(addresses(&gone), ["a"]);
    assert!(
        gone.mistakes()
            .next()
            .unwrap()
            .to_string()
            .contains("cannot read")
    );
    let none = TargetFiles::read(&found, &second);
    assert_eq!((addresses(&none).len(), none.mistakes().count()), (0, 0));

    // A directory that is not there any more is one that was not mounted.
    lists.write("b.json", &[]);
    std::fs::write(lists.0.path().join("b.json"), r#"[{"targets": ["b"]}]"#).unwrap();
    let before = TargetFiles::read(&found, &none);
    std::fs::remove_dir_all(lists.0.path()).unwrap();
    let after = TargetFiles::read(&found, &before);
    assert_eq!(
        (addresses(&after), after.mistakes().count()),
        (vec!["b".into()], 1)
    );
    let still = TargetFiles::read(&found, &after);
    assert_eq!(addresses(&still), ["b"]);
}

#[test]
fn a_class_is_negated_as_prometheus_has_it() {
    let lists = Lists::new();
    for name in ["a1.yml", "b1.yml", "^1.yml"] {
        lists.write(name, &[&format!("'{name}'")]);
    }
    let found = |pattern| {
        addresses(&TargetFiles::read(
            &[lists.pattern(pattern)],
            &TargetFiles::default(),
        ))
    };
    assert_eq!(found("[^a]1.yml"), ["^1.yml", "b1.yml"]);
    assert_eq!(found("[a^]*.yml"), ["^1.yml", "a1.yml"]);
}
