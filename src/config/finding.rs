//! What is found in a configuration: where, what is wrong, how to mend it, and how that reads on a
//! terminal.

use std::fmt;

use super::document::Place;
use super::source::{Fault, Source, printable};

/// Characters of a source line that are shown; longer lines are cut around the place.
const SHOWN_WIDTH: usize = 100;

/// Characters of a message that are shown; only what a user wrote can make one this long.
const SAID_WIDTH: usize = 500;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Mistake,
    /// The configuration can be used; it is unlikely to be what was meant.
    Warning,
}

/// One mistake or warning, with its place and its mend.
///
/// Displayed as the message, the place, the source line and the mend, over several lines.
#[derive(Clone, Debug)]
pub struct Finding {
    severity: Severity,
    file: String,
    place: Option<Place>,
    excerpt: Option<String>,
    path: String,
    fault: Fault,
}

impl Finding {
    /// A finding at `place` of `source`; `path` says which value, such as `deployments[0].name`.
    pub(super) fn new(
        severity: Severity,
        source: &Source,
        place: Option<Place>,
        path: impl Into<String>,
        fault: Fault,
    ) -> Self {
        Self {
            severity,
            file: source.file.clone(),
            place,
            excerpt: place.and_then(|place| source.line(place.line)),
            path: one_line(&path.into()),
            fault: Fault::new(one_line(&fault.message), one_line(&fault.mend)),
        }
    }

    /// Whether it is a mistake or a warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line, without the place and the mend.
    pub fn message(&self) -> &str {
        &self.fault.message
    }

    /// What to do about it.
    pub fn mend(&self) -> &str {
        &self.fault.mend
    }

    /// The line it stands in, counted from 1; `None` when it is about the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.place.map(|place| place.line)
    }

    /// Which value it is about, such as `deployments[0].probes[1].every`; empty for the whole file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Findings read from the top of the file; those about the whole file come first.
    pub(super) fn order(&self) -> (Option<Place>, &str) {
        (self.place, &self.fault.message)
    }

    /// Stars out what the excerpt shows from `place` on.
    pub(super) fn hide(&mut self, hidden: Place) {
        if self.line() != Some(hidden.line) {
            return;
        }
        if let Some(excerpt) = &mut self.excerpt {
            *excerpt = excerpt
                .chars()
                .enumerate()
                .map(|(at, c)| if at + 1 < hidden.column { c } else { '*' })
                .collect();
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Mistake => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.fault.message)?;
        let Some(place) = self.place else {
            writeln!(f, "  --> {}", self.file)?;
            return writeln!(f, "   = help: {}", self.fault.mend);
        };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        write!(
            f,
            "{margin}--> {}:{}:{}",
            self.file, place.line, place.column
        )?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        writeln!(f)?;
        if let Some(excerpt) = &self.excerpt {
            let (shown, caret) = cut(excerpt, place);
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {shown}")?;
            writeln!(f, "{margin} | {caret}")?;
        }
        writeln!(f, "{margin} = help: {}", self.fault.mend)
    }
}

/// `text`, parts of which the user wrote, without what moves a cursor and cut where it gets out of hand.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(SAID_WIDTH).map(printable).collect();
    if text.chars().nth(SAID_WIDTH).is_some() {
        line.push('…');
    }
    line
}

/// What of `line` is shown, and the carets that go under it.
fn cut(line: &str, place: Place) -> (String, String) {
    let length = line.chars().count();
    let at = place.column.saturating_sub(1).min(length);
    let from = if length <= SHOWN_WIDTH {
        0
    } else {
        at.saturating_sub(SHOWN_WIDTH / 3)
    };
    let window: String = line.chars().skip(from).take(SHOWN_WIDTH).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if from + SHOWN_WIDTH < length {
        "…"
    } else {
        ""
    };
    let indent = before.chars().count() + at - from;
    let room = window.trim_end().chars().count() + from;
    let carets = place.width.min(room.saturating_sub(at)).max(1);
    (
        format!("{before}{}{after}", window.trim_end()),
        " ".repeat(indent) + &"^".repeat(carets),
    )
}

/// Every finding of a configuration that cannot be used; at least one of them is a mistake.
///
/// Displayed one after the other, with a closing line that counts them.
#[derive(Clone, Debug)]
pub struct Mistakes(pub(super) Vec<Finding>);

impl Mistakes {
    /// The one mistake that keeps the rest of `source` from being read.
    pub(super) fn only(source: &Source, place: Option<Place>, fault: Fault) -> Self {
        let severity = Severity::Mistake;
        Self(vec![Finding::new(severity, source, place, "", fault)])
    }

    /// The mistakes and the warnings, from the top of the file to its end.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            writeln!(f, "{finding}")?;
        }
        let count = |severity| {
            self.0
                .iter()
                .filter(|found| found.severity == severity)
                .count()
        };
        let file = self.0.first().map_or("", |found| found.file.as_str());
        write!(
            f,
            "{file}: {}",
            counted(count(Severity::Mistake), "mistake")
        )?;
        match count(Severity::Warning) {
            0 => Ok(()),
            warnings => write!(f, ", {}", counted(warnings, "warning")),
        }
    }
}

impl std::error::Error for Mistakes {}

/// `1 mistake`, `2 mistakes`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(column: usize, width: usize) -> Place {
        Place {
            line: 1,
            column,
            width,
        }
    }

    #[test]
    fn carets_stand_under_what_is_meant() {
        for (line, place, caret) in [
            ("name: x", place(7, 1), "      ^"),
            ("name: x", place(1, 4), "^^^^"),
            ("prompt: |", place(9, 400), "        ^"),
            ("name:", place(6, 1), "     ^"),
            ("", place(9, 3), "^"),
        ] {
            assert_eq!(cut(line, place).1, caret, "{line:?} {place:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = "é".repeat(500) + "here" + &"é".repeat(500);
        let (shown, caret) = cut(&line, place(501, 4));
        assert_eq!(shown.chars().count(), SHOWN_WIDTH + 2);
        let start = caret.find('^').unwrap();
        let under: String = shown.chars().skip(start).take(4).collect();
        assert_eq!((under.as_str(), caret.trim_start()), ("here", "^^^^"));
    }
}
