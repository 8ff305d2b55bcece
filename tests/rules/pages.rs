//! The runbooks and the page of the alerts: complete, with links, commands and queries that work.

use std::fs;

use serde_json::json;

use super::rules::{self, shipped};
use super::{names, run, said};

#[test]
fn every_runbook_has_its_parts() {
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for part in [
            "## Meaning",
            "## Impact",
            "## How to check",
            "## How to mend",
            "## When to acknowledge",
        ] {
            assert!(
                page.contains(&format!("\n{part}\n")),
                "{name} lacks {part:?}"
            );
        }
    }
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let runbooks = names("docs/runbooks", ".md").into_iter();
    let pages = runbooks.map(|name| format!("docs/runbooks/{name}.md"));
    for page in pages.chain(["docs/alerts.md".to_owned()]) {
        let text = fs::read_to_string(shipped(&page)).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = shipped(&page).with_file_name("").join(file);
            assert!(target.exists(), "{page} links to {link}");
            if !heading.is_empty() {
                let headings = fs::read_to_string(target).unwrap();
                let is_there = headings
                    .lines()
                    .filter_map(|line| line.strip_prefix("## "))
                    .any(|line| line.to_lowercase().replace(' ', "-").replace(',', "") == heading);
                assert!(is_there, "{page} links to {link}");
            }
        }
    }
}

#[test]
fn every_command_of_the_pages_is_one_of_the_program() {
    let mut seen = 0;
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        for line in page
            .lines()
            .filter_map(|line| line.strip_prefix("$ vllm-prober "))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            // A command, and perhaps one below it, which is a word in lower case too.
            let is_command = |word: &&&str| {
                ["history", "baseline"].contains(&words[0])
                    && word.bytes().all(|byte| byte.is_ascii_lowercase())
            };
            let mut arguments = vec![words[0]];
            arguments.extend(words.get(1).filter(is_command));
            arguments.push("--help");
            let help = run(env!("CARGO_BIN_EXE_vllm-prober"), &arguments);
            assert!(help.status.success(), "{name}: {line}");
            let help = said(&help);
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{name}: {line}: no {flag}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} were found");
}

/// The queries of a page: one a line, and what is indented goes on.
fn queries(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for block in page.split("```promql\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match found.last_mut().filter(|_| line.starts_with(' ')) {
                Some(query) => query.push_str(line),
                None => found.push(line.to_owned()),
            }
        }
    }
    found
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_understands_every_query_of_the_runbooks() {
    let mut recorded = Vec::new();
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        let found = queries(&page);
        assert!(!found.is_empty(), "{name} has no query");
        for query in found {
            let n = recorded.len();
            recorded.push(json!({ "record": format!("query:{name}:n{n}"), "expr": query }));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.yml");
    rules::write(
        &path,
        &json!({ "groups": [{ "name": "queries", "rules": recorded }] }),
    );
    let output = run("promtool", &["check", "rules", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
}
