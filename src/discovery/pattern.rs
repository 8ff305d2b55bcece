//! Regular expressions as Prometheus reads them: the syntax of RE2, anchored at both ends.
//!
//! The regular expressions of this program are close to RE2's and differ where it would be noticed too late: `\d`
//! and its like are ASCII there, `{` may stand for itself, and within brackets nothing is subtracted or
//! intersected. What differs is written anew before it is compiled.

use regex::Regex;

/// The classes that are named in brackets within brackets.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// A regular expression that matches a text as a whole. Any character is matched by `.`, a line break too.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Says in one line what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let anchored = format!("^(?s:{})$", from_re2(text)?);
        match Regex::new(&anchored) {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::Syntax(message)) => {
                // The last line says what is wrong; those before show where, in the anchored expression.
                let last = message.lines().last().unwrap_or_default();
                Err(last.trim_start_matches("error: ").to_owned())
            }
            Err(regex::Error::CompiledTooBig(_)) => Err("it is too large".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Each of `templates` with `$1`, `${1}` and `${name}` filled in from the match of `text`, and `$$` as a
    /// dollar; `None` without a match.
    pub fn expand<const N: usize>(&self, text: &str, templates: [&str; N]) -> Option<[String; N]> {
        let captures = self.0.captures(text)?;
        Some(templates.map(|template| {
            let mut expanded = String::new();
            captures.expand(template, &mut expanded);
            expanded
        }))
    }
}

/// The expression in the syntax of this program.
fn from_re2(text: &str) -> Result<String, String> {
    let mut written = String::new();
    let mut chars = Scanner(text);
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, false, &mut written)?,
            '[' => class(&mut chars, &mut written)?,
            '{' if chars.repetition().is_none() => written.push_str(r"\{"),
            '{' => {
                written.push('{');
                written.push_str(chars.take_repetition());
            }
            '(' => {
                written.push('(');
                flags(&chars)?;
            }
            c => written.push(c),
        }
    }
    Ok(written)
}

/// A text that is read from its beginning.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<char> {
        let c = self.0.chars().next()?;
        self.0 = &self.0[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// What stands before `end`, which is passed over; `None` and nothing passed without it.
    fn until(&mut self, end: &str) -> Option<&'a str> {
        let (before, rest) = self.0.split_once(end)?;
        self.0 = rest;
        Some(before)
    }

    /// The length of `3}`, `3,}` or `3,5}`, if it comes next.
    fn repetition(&self) -> Option<usize> {
        let end = self.0.find('}')?;
        let number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let good = match self.0[..end].split_once(',') {
            Some((least, most)) => number(least) && (most.is_empty() || number(most)),
            None => number(&self.0[..end]),
        };
        good.then_some(end + 1)
    }

    fn take_repetition(&mut self) -> &'a str {
        let (taken, rest) = self.0.split_at(self.repetition().unwrap_or(0));
        self.0 = rest;
        taken
    }
}

/// What stands behind a backslash, within brackets or not.
fn escape(chars: &mut Scanner<'_>, in_class: bool, written: &mut String) -> Result<(), String> {
    let Some(c) = chars.next() else {
        return Err("it ends with a backslash".to_owned());
    };
    let class = match c {
        'd' => Some(("0-9", false)),
        'D' => Some(("0-9", true)),
        'w' => Some(("0-9A-Za-z_", false)),
        'W' => Some(("0-9A-Za-z_", true)),
        's' => Some((r"\t\n\f\r ", false)),
        'S' => Some((r"\t\n\f\r ", true)),
        _ => None,
    };
    match (c, class) {
        (_, Some((members, false))) if in_class => written.push_str(members),
        (_, Some((members, negated))) => {
            let not = if negated { "^" } else { "" };
            written.push_str(&format!("[{not}{members}]"));
        }
        ('b', _) if !in_class => written.push_str(r"(?-u:\b)"),
        ('Q', _) if !in_class => {
            let quoted = chars
                .until(r"\E")
                .unwrap_or_else(|| std::mem::take(&mut chars.0));
            written.push_str(&regex::escape(quoted));
        }
        ('C', _) => return Err(r"`\C`, a single byte, cannot be matched".to_owned()),
        ('<' | '>', _) => written.push(c),
        // Braces that belong to the escape, and stand neither for themselves nor for a repetition.
        ('x' | 'p' | 'P', _) if chars.0.starts_with('{') => {
            let Some(inside) = chars.until("}") else {
                return Err(format!(r"`\{c}{{` is not closed"));
            };
            written.push_str(&format!(r"\{c}{inside}}}"));
        }
        (c, _) => {
            written.push('\\');
            written.push(c);
        }
    }
    Ok(())
}

/// What stands behind an opening bracket, up to the closing one.
fn class(chars: &mut Scanner<'_>, written: &mut String) -> Result<(), String> {
    written.push('[');
    if chars.skip("^") {
        written.push('^');
    }
    // A bracket that comes first stands for itself.
    if chars.0.starts_with(']') {
        member(chars, written)?;
        range(chars, written)?;
    }
    while !chars.skip("]") {
        let is_one = member(chars, written)?;
        if is_one {
            range(chars, written)?;
        }
    }
    written.push(']');
    Ok(())
}

/// The other end of a range, if what was written last is one end of it.
fn range(chars: &mut Scanner<'_>, written: &mut String) -> Result<(), String> {
    if chars.0.starts_with('-') && !chars.0.starts_with("-]") && chars.skip("-") {
        written.push('-');
        member(chars, written)?;
    }
    Ok(())
}

/// One member of a class, and whether it is a single character.
fn member(chars: &mut Scanner<'_>, written: &mut String) -> Result<bool, String> {
    let not_closed = || "a bracket `[` is not closed".to_owned();
    let c = chars.next().ok_or_else(not_closed)?;
    match c {
        '\\' => {
            let is_class = chars
                .0
                .starts_with(['d', 'D', 'w', 'W', 's', 'S', 'p', 'P']);
            escape(chars, true, written)?;
            return Ok(!is_class);
        }
        '[' if chars.0.starts_with(':') => {
            let name = chars.until(":]").ok_or_else(not_closed)?;
            let bare = name.trim_start_matches([':', '^']);
            if !CLASSES.contains(&bare) {
                return Err(format!("there is no class `[:{bare}:]`"));
            }
            written.push_str(&format!("[{name}:]"));
            return Ok(false);
        }
        // Each of these is a character there; here some of them would mean something.
        '[' | ']' | '&' | '~' | '-' | '^' => written.push('\\'),
        _ => {}
    }
    written.push(c);
    Ok(true)
}

/// Refuses flags that RE2 does not have.
fn flags(chars: &Scanner<'_>) -> Result<(), String> {
    let Some(rest) = chars.0.strip_prefix('?') else {
        return Ok(());
    };
    let flags: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphabetic() || *c == '-')
        .collect();
    let ends = rest[flags.len()..].starts_with([':', ')']);
    match flags.chars().find(|c| !"imsU-".contains(*c)) {
        Some(flag) if ends => Err(format!("there is no flag `{flag}`")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_anchored_and_means_what_re2_means() {
        for (pattern, text, matches) in [
            ("(.*)", "", true),
            ("(.*)", "a\nb", true),
            ("oo", "foo", false),
            ("foo|bar", "foobar", false),
            ("foo|bar", "bar", true),
            ("", "", true),
            ("", "a", false),
            // ASCII only.
            (r"\d+", "12", true),
            (r"\d+", "١٢", false),
            (r"[\d\w]+", "a1_", true),
            (r"\w", "é", false),
            (r"\W", "é", true),
            (r"[^\S]", " ", true),
            (r"a\b.*", "a é", true),
            (r"\s", "\u{a0}", false),
            // Braces that repeat nothing.
            ("a{2}", "aa", true),
            ("a{,2}", "a{,2}", true),
            ("{a}", "{a}", true),
            // Brackets within brackets.
            ("[[]", "[", true),
            ("[]a]+", "]a", true),
            ("[a&&b]+", "a&b", true),
            ("[a~~b]+", "~", true),
            ("[+--]+", "-,+", true),
            ("[a-c-e]+", "b-e", true),
            ("[a-c-e]", "d", false),
            ("[]-a]+", "^_`", true),
            ("[^^]", "^", false),
            (r"[\d-]+", "1-2", true),
            (r"[\pL-]+", "é-", true),
            (r"\x{e9}[\x{e0}-\x{ff}]\p{Lu}", "éèÉ", true),
            ("[[:alpha:]]+", "ab", true),
            ("[a-z-]+", "a-z", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b", "axb", false),
            (r"\<a\>", "<a>", true),
            ("(?i)GPU", "gpu", true),
            ("(?P<n>a)(?<m>b)", "ab", true),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(compiled.matches(text), matches, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_re2_does_not_have_is_refused_in_one_line() {
        for pattern in [
            "(", "[a", "a\\", "(?x)a b", r"(a)\1", r"\C", "*a", "(?=a)", "[b-a]", "a)",
        ] {
            let why = Pattern::new(pattern).unwrap_err();
            assert!(!why.is_empty() && !why.contains('\n'), "{pattern}: {why}");
        }
    }

    #[test]
    fn templates_are_filled_from_the_match() {
        let pattern = Pattern::new("(?P<host>[^:]+):(\\d+)").unwrap();
        for (template, filled) in [
            ("$1", "gpu"),
            ("${1}s", "gpus"),
            // The longest name is meant, and there is none of that.
            ("$1s", ""),
            ("${host}-$2", "gpu-8000"),
            ("$$1", "$1"),
            ("$9", ""),
            ("plain", "plain"),
            ("100$", "100$"),
        ] {
            let [expanded] = pattern.expand("gpu:8000", [template]).unwrap();
            assert_eq!(expanded, filled, "{template}");
        }
        assert_eq!(pattern.expand("gpu", ["$1"]), None);
    }
}
