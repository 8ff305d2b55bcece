//! What is told of a configuration: every mistake and every warning, with its place and its mend, and no secret.

use std::fmt::Write as _;

use vllm_prober::config::Severity;

use super::*;

/// What `check` would print of `path`.
fn told(path: &Path) -> String {
    match Config::load(path) {
        Err(mistakes) => mistakes.to_string(),
        Ok(config) => {
            config
                .warnings
                .iter()
                .fold("can be used\n".to_owned(), |mut told, warning| {
                    let _ = write!(told, "\n{warning}");
                    told
                })
        }
    }
}

fn testdata() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/testdata/config").unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    files
}

#[test]
fn every_mistake_reads_as_it_should() {
    let files = testdata();
    assert!(files.len() > 80, "only {} files found", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy();
        insta::assert_snapshot!(name.as_ref(), told(&file));
    }
}

#[test]
fn the_name_of_a_test_file_says_what_comes_of_it() {
    for file in testdata() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        match Config::load(&file) {
            Ok(config) if config.warnings.is_empty() => {
                assert!(name.starts_with("good_"), "{name}");
            }
            Ok(_) => assert!(name.starts_with("warning_"), "{name}"),
            Err(mistakes) => {
                let found = mistakes.findings();
                assert!(
                    !name.starts_with("good_") && !name.starts_with("warning_"),
                    "{mistakes}"
                );
                assert!(
                    found
                        .iter()
                        .all(|found| found.severity() == Severity::Mistake),
                    "{mistakes}"
                );
                assert!(
                    found.iter().all(|found| !found.mend().is_empty()),
                    "{mistakes}"
                );
            }
        }
    }
}

#[test]
fn a_dozen_mistakes_are_told_at_once_from_the_top_to_the_end() {
    let mistakes =
        Config::load(Path::new("tests/testdata/config/a_dozen_at_once.yaml")).unwrap_err();
    let lines: Vec<_> = mistakes
        .findings()
        .iter()
        .map(|found| found.line().unwrap())
        .collect();
    assert_eq!(lines, [2, 3, 5, 8, 9, 10, 13, 14, 16, 17, 18, 19, 20, 21]);
    assert!(
        mistakes
            .to_string()
            .ends_with("a_dozen_at_once.yaml: 14 mistakes")
    );
}

#[test]
fn no_message_repeats_a_secret() {
    for file in testdata() {
        assert!(!told(&file).contains("hunter2"), "{}", file.display());
    }
}

#[test]
fn what_is_no_file_of_text_is_told_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let large = directory.path().join("large.yaml");
    fs::write(&large, vec![b'#'; 100 << 20]).unwrap();
    for (path, message) in [
        (
            Path::new("tests/absent.yaml"),
            "cannot read `tests/absent.yaml`: No such file or directory",
        ),
        (
            Path::new("tests/testdata"),
            "cannot read `tests/testdata`: it is a directory",
        ),
        (large.as_path(), "is larger than 16 MiB"),
    ] {
        let mistakes = Config::load(path).unwrap_err();
        let [found] = mistakes.findings() else {
            panic!("{mistakes}");
        };
        assert!(found.message().contains(message), "{mistakes}");
        assert!(!found.mend().is_empty());
    }
}

#[test]
fn the_text_kept_of_a_configuration_shows_no_secret() {
    let text = fs::read_to_string("config/minimal.yaml").unwrap() + "# password: hunter2\n";
    let config = load_text(&text).unwrap();
    assert!(config.text.ends_with("# password: *******\n"));
    assert!(config.text.starts_with("# The least that probes"));
}
