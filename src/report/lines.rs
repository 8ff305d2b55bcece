//! Files of runs: one run, or one in each line.

/// The texts of single runs in `text`, each with the number of its first line.
pub fn runs(text: &str) -> Vec<(usize, &str)> {
    let is_one = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if is_one || !is_in_lines(text) {
        return vec![(1, text)];
    }
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| (n + 1, line))
        .collect()
}

/// Whether the first line is a whole value, as it is in JSON Lines.
fn is_in_lines(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty());
    first.is_some_and(|line| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok())
}
