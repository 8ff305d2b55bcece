//! Which known name a user meant, for messages that end in "did you mean".

use super::source::Fault;

/// A name at least this like a known one is taken for a slip of the pen, by Jaro and Winkler's measure.
const ALIKE: f64 = 0.84;

/// Names that a message lists when it cannot guess which is meant.
const LISTED: usize = 20;

/// That `problem` is about a name that is not among `known`, and which of them may be meant.
pub(super) fn unknown<'k>(
    problem: &str,
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Fault {
    if let Some(meant) = closest(name, known.clone()) {
        return Fault::new(
            format!("{problem} `{name}`, did you mean `{meant}`?"),
            format!("write `{meant}`"),
        );
    }
    let listed: Vec<_> = known
        .clone()
        .take(LISTED)
        .map(|word| format!("`{word}`"))
        .collect();
    let more = match known.count().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let mend = match listed.as_slice() {
        [only] => format!("write {only}, the only one there is"),
        _ => format!("write one of {}{more}", listed.join(", ")),
    };
    Fault::new(format!("{problem} `{name}`"), mend)
}

/// The one of `known` that `name` was most likely meant to be.
pub(crate) fn closest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', ' '], "_");
    let name = plain(name);
    known
        .map(|word| (strsim::jaro_winkler(&name, &plain(word)), word))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_nonsense_is_not() {
        let known = [
            "base_url",
            "model",
            "family",
            "precision",
            "lane",
            "auth",
            "probes",
            "proxy_url",
        ];
        for (written, meant) in [
            ("base_ur", Some("base_url")),
            ("baseUrl", Some("base_url")),
            ("base-url", Some("base_url")),
            ("modle", Some("model")),
            ("Probes", Some("probes")),
            ("prescision", Some("precision")),
            ("colour", None),
            ("x", None),
            ("", None),
            ("timeout", None),
            ("url", None),
        ] {
            assert_eq!(closest(written, known.into_iter()), meant, "{written}");
        }
    }
}
