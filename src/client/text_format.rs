//! One line of Prometheus' text format. Whole pages are never held: they are read line by line as they come.

use std::borrow::Cow;

/// One line of the text format that holds a value.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The series' name.
    pub name: &'a str,
    labels: &'a str,
    /// Finite and not negative, as all that is read here.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// `name{label="text",…} value`; what follows the value, a time or an exemplar, is passed over.
    ///
    /// `None` for a comment, and for what is no such line.
    pub fn parse(line: &'a str) -> Option<Self> {
        let name_end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
        let (name, rest) = line.split_at(name_end);
        let (labels, rest) = match rest.trim_start_matches([' ', '\t']).strip_prefix('{') {
            Some(rest) => rest.split_at(end_of_labels(rest)?),
            None => ("", rest),
        };
        let value = rest
            .trim_start_matches('}')
            .split_ascii_whitespace()
            .next()?;
        let value: f64 = value.parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(Self {
            name,
            labels,
            value,
        })
    }

    /// The text of a label, unescaped.
    pub fn label(&self, wanted: &str) -> Option<Cow<'a, str>> {
        let mut rest = self.labels;
        loop {
            let (name, after) = rest.split_once("=\"")?;
            let end = end_of_text(after)?;
            if name.trim_matches([' ', '\t', ',']) == wanted {
                return Some(unescaped(&after[..end]));
            }
            rest = &after[end + 1..];
        }
    }
}

/// Where the labels' closing brace stands: the first one outside a text.
fn end_of_labels(labels: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &labels[at..];
        let next = rest.find(['"', '}'])?;
        if rest.as_bytes()[next] == b'}' {
            return Some(at + next);
        }
        at += next + 1;
        at += end_of_text(&labels[at..])? + 1;
    }
}

/// Where the closing quote of a text stands: the first one that is not escaped.
fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => plain.push(c),
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_name_labels_and_value() {
        let line = r#"DCGM_FI_DEV_SM_CLOCK{gpu="0", modelName="NVIDIA \"H100\"",x="a,b}c"} 1.5e3 1700000000000"#;
        let sample = Sample::parse(line).unwrap();
        assert_eq!(
            (sample.name, sample.value),
            ("DCGM_FI_DEV_SM_CLOCK", 1500.0)
        );
        assert_eq!(sample.label("gpu").as_deref(), Some("0"));
        assert_eq!(
            sample.label("modelName").as_deref(),
            Some("NVIDIA \"H100\"")
        );
        assert_eq!(sample.label("x").as_deref(), Some("a,b}c"));
        assert_eq!(sample.label("y"), None);
        for no_sample in [
            "# HELP a b",
            "",
            "name",
            "name{ 1",
            "name{a=\"b\"}",
            "name -1",
            "name NaN",
        ] {
            assert!(Sample::parse(no_sample).is_none(), "{no_sample}");
        }
    }
}
