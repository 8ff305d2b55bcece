//! However a file is garbled, what is told of it is of use.

use proptest::prelude::*;
use vllm_prober::config::Severity;

use super::*;

/// One thing done to the lines of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(usize),
    Duplicate(usize),
    Indent(usize, usize),
    Insert(usize, usize, String),
    Cut(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let noise = prop_oneof![
        Just("[".to_owned()),
        Just("{ ".to_owned()),
        Just("\"".to_owned()),
        Just("*usual".to_owned()),
        Just("<<: *usual, ".to_owned()),
        Just("---".to_owned()),
        Just("\t".to_owned()),
        Just("- ".to_owned()),
        Just("99999999999999999999999".to_owned()),
        "\\PC{0,12}",
    ];
    prop_oneof![
        any::<usize>().prop_map(Mutation::Delete),
        any::<usize>().prop_map(Mutation::Duplicate),
        (any::<usize>(), 0..12_usize).prop_map(|(line, by)| Mutation::Indent(line, by)),
        (any::<usize>(), any::<usize>(), noise)
            .prop_map(|(line, at, text)| Mutation::Insert(line, at, text)),
        (any::<usize>(), any::<usize>()).prop_map(|(line, at)| Mutation::Cut(line, at)),
    ]
}

fn mutate(lines: &mut Vec<String>, mutation: Mutation) {
    if lines.is_empty() {
        return;
    }
    let count = lines.len();
    let split = |line: &str, at: usize| {
        let at = at % (line.chars().count() + 1);
        let (start, end): (Vec<_>, Vec<_>) = line.chars().enumerate().partition(|(n, _)| *n < at);
        [start, end].map(|half| half.into_iter().map(|(_, c)| c).collect::<String>())
    };
    match mutation {
        Mutation::Delete(line) => _ = lines.remove(line % count),
        Mutation::Duplicate(line) => lines.insert(line % count, lines[line % count].clone()),
        Mutation::Indent(line, by) => lines[line % count].insert_str(0, &" ".repeat(by)),
        Mutation::Insert(line, at, text) => {
            let [start, end] = split(&lines[line % count], at);
            lines[line % count] = format!("{start}{text}{end}");
        }
        Mutation::Cut(line, at) => lines[line % count] = split(&lines[line % count], at)[0].clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However a file is garbled, it either loads or every finding has its message and its mend, and the
    /// places lie in the file.
    #[test]
    fn a_garbled_configuration_never_panics(mutations in prop::collection::vec(mutation(), 1..8)) {
        let text = include_str!("../../config/prober.yaml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for mutation in mutations {
            mutate(&mut lines, mutation);
        }
        if let Err(mistakes) = load_text(&lines.join("\n")) {
            let found = mistakes.findings();
            prop_assert!(found.iter().any(|found| found.severity() == Severity::Mistake));
            for found in found {
                prop_assert!(!found.message().is_empty() && !found.mend().is_empty(), "{mistakes}");
                prop_assert!(found.line().is_none_or(|line| (1..=lines.len() + 1).contains(&line)), "{mistakes}");
            }
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }
}
