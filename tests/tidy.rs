//! The house rules as tests: the layer order of `docs/ARCHITECTURE.md`, and a reason at the head of each file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A row of the table in `docs/ARCHITECTURE.md`.
struct Layer {
    name: String,
    modules: Vec<String>,
    banned: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn layers() -> Vec<Layer> {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let rows = document
        .lines()
        .skip_while(|line| !line.starts_with("| layer |"))
        .skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            Layer {
                name: cells[0].to_owned(),
                modules: cells[1]
                    .split(',')
                    .map(|module| module.trim().trim_matches('`').to_owned())
                    .collect(),
                banned: cells[2].to_owned(),
            }
        })
        .collect()
}

/// Every source file with its module path, such as `client/sse`, and its text without its tests.
fn sources() -> BTreeMap<String, String> {
    fn walk(directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path
                    .strip_prefix(root().join("src"))
                    .unwrap()
                    .with_extension("");
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text
                    .split("\n#[cfg(test)]\nmod ")
                    .next()
                    .unwrap()
                    .to_owned();
                found.insert(module.to_str().unwrap().to_owned(), code);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&root().join("src"), &mut found);
    found
}

/// The layer of a module: the row that names it, or else the one that names its parent's children.
fn layer_of(layers: &[Layer], module: &str) -> Option<usize> {
    let exact = layers
        .iter()
        .position(|layer| layer.modules.iter().any(|name| name == module));
    let below = |layer: &Layer| {
        layer.modules.iter().any(|name| {
            name.strip_suffix("/*")
                .is_some_and(|parent| module.starts_with(&format!("{parent}/")))
        })
    };
    exact.or_else(|| layers.iter().position(below))
}

/// The modules that `code` of `module` names by `crate::`, `super::` or `self::`, as deep as files go.
fn used(module: &str, code: &str, known: &BTreeMap<String, String>) -> Vec<String> {
    let mut used = Vec::new();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join(" ");
    for (prefix, base) in [("crate::", String::new()), ("super::", parent(module))] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            for path in paths(rest) {
                let full = if base.is_empty() {
                    path
                } else {
                    format!("{base}/{path}")
                };
                // The longest prefix of the path that is a file.
                let parts: Vec<&str> = full.split('/').collect();
                let found = (1..=parts.len())
                    .rev()
                    .map(|n| parts[..n].join("/"))
                    .find(|path| known.contains_key(path));
                used.extend(found.filter(|found| found != module));
            }
        }
    }
    used
}

fn parent(module: &str) -> String {
    module
        .rsplit_once('/')
        .map_or(String::new(), |(parent, _)| parent.to_owned())
}

/// The paths that begin here: `a::b`, or each of `{a, b::c}`.
fn paths(text: &str) -> Vec<String> {
    let one = |text: &str| {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(text.len());
        text[..end].trim_end_matches(':').replace("::", "/")
    };
    let head = one(text);
    let Some(list) = text[head.replace('/', "::").len()..]
        .trim_start_matches("::")
        .strip_prefix('{')
    else {
        return vec![head];
    };
    let list = &list[..list.find('}').unwrap_or(list.len())];
    list.split(',')
        .map(|item| {
            if head.is_empty() {
                one(item.trim())
            } else {
                format!("{head}/{}", one(item.trim()))
            }
        })
        .collect()
}

#[test]
fn every_module_has_a_layer_and_uses_only_what_lies_above() {
    let (layers, sources) = (layers(), sources());
    assert!(
        layers.len() >= 5,
        "the table of docs/ARCHITECTURE.md was not found"
    );
    let mut faults = Vec::new();
    let mut arrows = 0;
    for (module, code) in sources.iter().filter(|(module, _)| *module != "lib") {
        let Some(layer) = layer_of(&layers, module) else {
            faults.push(format!("{module} has no row in docs/ARCHITECTURE.md"));
            continue;
        };
        for other in used(module, code, &sources) {
            arrows += 1;
            let own_child = other.starts_with(&format!("{module}/"))
                || module.starts_with(&format!("{other}/"));
            match layer_of(&layers, &other) {
                Some(of_other) if of_other > layer && !own_child => faults.push(format!(
                    "{module} ({}) uses {other} ({}), which lies below it",
                    layers[layer].name, layers[of_other].name
                )),
                _ => {}
            }
        }
    }
    assert!(
        arrows > 100,
        "only {arrows} uses were found; the reading of `use` lines is broken"
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn edges_do_not_use_each_other() {
    let (layers, sources) = (layers(), sources());
    let edges = layers
        .iter()
        .position(|layer| layer.name == "edges")
        .unwrap();
    let family = |module: &str| module.split('/').next().unwrap().to_owned();
    for (module, code) in &sources {
        if layer_of(&layers, module) == Some(edges) {
            for other in used(module, code, &sources) {
                let of_edges = layer_of(&layers, &other) == Some(edges);
                assert!(
                    !of_edges || family(&other) == family(module),
                    "{module} uses {other}; both are edges"
                );
            }
        }
    }
}

#[test]
fn a_layer_is_free_of_what_it_may_not_contain() {
    let words: &[(&str, &[&str])] = &[
        ("async", &["async fn", "async move", ".await"]),
        (
            "clocks",
            &["Instant::now", "Timestamp::now", "SystemTime", "Zoned::now"],
        ),
        (
            "I/O",
            &[
                "std::fs", "std::net", "std::io", "tokio::", "reqwest", "axum",
            ],
        ),
        ("serde", &["serde"]),
        ("HTTP serving", &["axum"]),
        ("YAML", &["saphyr"]),
        ("`client`", &["crate::client"]),
        ("`runner`", &["crate::runner"]),
        ("`prober`", &["crate::prober"]),
    ];
    let layers = layers();
    for (module, code) in sources() {
        let Some(layer) = layer_of(&layers, &module) else {
            continue;
        };
        for (rule, forbidden) in words
            .iter()
            .filter(|(rule, _)| layers[layer].banned.contains(rule))
        {
            for word in *forbidden {
                let line = code
                    .lines()
                    .find(|line| !line.trim_start().starts_with("//") && line.contains(word));
                assert!(
                    line.is_none(),
                    "{module} ({}) may not contain {rule}: {}",
                    layers[layer].name,
                    line.unwrap()
                );
            }
        }
    }
}

#[test]
fn every_file_opens_with_why_it_exists() {
    for (module, code) in sources() {
        let opening: Vec<&str> = code
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(
            opening.iter().map(|line| line.len()).sum::<usize>() > 30,
            "{module} does not say why it exists"
        );
    }
}

#[test]
fn yaml_is_known_to_the_configuration_only() {
    for (module, code) in sources() {
        assert!(
            module.starts_with("config/") || !code.contains("saphyr"),
            "{module} knows YAML"
        );
    }
}
