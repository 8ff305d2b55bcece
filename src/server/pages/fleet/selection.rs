//! Which deployments the fleet shows, and in which order: what the query of its address says.

use std::collections::BTreeMap;

use url::form_urlencoded::Serializer;

use crate::closed_set::closed_set;
use crate::condition::DeploymentState;

closed_set! {
    /// What deployments are gathered by.
    Group:
    Slower "slower" "Judged slower than before.",
    NotServing "not-serving" "Down, or wedged.",
    NoFigures "no-figures" "Without figures: the last run does not count, is too old, or has not been.",
    Undecided "undecided" "Too few clean runs to say anything, or not enough to be sure.",
    Faster "faster" "Judged faster than before.",
    Fine "fine" "None of the others.",
}

closed_set! {
    /// What the rows are ordered by.
    Order:
    Problems "problems" "What wants attention first.",
    Name "name" "The deployment's name.",
    State "state" "How the deployment is.",
    Ratio "ratio" "The ratio to what it is compared with.",
    Decode "decode" "Decode tokens per second.",
    Latency "latency" "Median end-to-end latency.",
    Ttft "ttft" "Median time to first token.",
    Version "version" "vLLM's version.",
    Age "age" "How long ago the last run ended.",
    Next "next" "When the next run is due.",
}

/// Deployments on one page.
pub(in crate::server::pages) const ON_A_PAGE: usize = 100;

/// What is asked of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server::pages) struct Selection {
    /// To be found in a name, a model, a label or a version; in lower case.
    pub(super) text: String,
    pub(super) family: Option<String>,
    pub(super) state: Option<DeploymentState>,
    pub(super) show: Option<Group>,
    pub(super) order: Order,
    pub(super) is_descending: bool,
    /// Counted from 1.
    pub(super) page: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            text: String::new(),
            family: None,
            state: None,
            show: None,
            order: Order::Problems,
            is_descending: false,
            page: 1,
        }
    }
}

impl Selection {
    /// What `asked` says, and what of it makes no sense.
    pub(in crate::server::pages) fn read(asked: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let mut mistakes = Vec::new();
        let given = |name: &str| {
            asked
                .get(name)
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
        };
        let state = word(
            given("state"),
            "state",
            DeploymentState::ALL,
            DeploymentState::label,
            &mut mistakes,
        );
        let show = word(
            given("show"),
            "show",
            Group::ALL,
            Group::label,
            &mut mistakes,
        );
        let order = word(
            given("sort"),
            "sort",
            Order::ALL,
            Order::label,
            &mut mistakes,
        );
        let is_descending = word(
            given("dir"),
            "dir",
            &["asc", "desc"],
            |word| word,
            &mut mistakes,
        );
        let page = given("page").map(str::parse).unwrap_or(Ok(1));
        if !page.as_ref().is_ok_and(|page| *page > 0) {
            mistakes.push("`page` is a number from 1 on.".to_owned());
        }
        let selection = Self {
            text: given("q").unwrap_or_default().to_lowercase(),
            family: given("family").map(str::to_owned),
            state,
            show,
            order: order.unwrap_or(Order::Problems),
            is_descending: is_descending == Some("desc"),
            page: page.ok().filter(|page| *page > 0).unwrap_or(1),
        };
        (selection, mistakes)
    }

    /// Whether it leaves anything out.
    pub(super) fn is_narrow(&self) -> bool {
        let all = Self {
            order: self.order,
            is_descending: self.is_descending,
            page: self.page,
            ..Self::default()
        };
        *self != all
    }

    /// The address of the same with another order; of the order that there is already, the other way round.
    pub(super) fn ordered_by(&self, order: Order) -> String {
        let other = Self {
            is_descending: self.order == order && !self.is_descending,
            order,
            page: 1,
            ..self.clone()
        };
        other.address()
    }

    /// The address of the same order of one group, or of all.
    pub(super) fn showing(&self, show: Option<Group>) -> String {
        let other = Self {
            show,
            page: 1,
            ..self.clone()
        };
        other.address()
    }

    /// The address of another page of it.
    pub(super) fn on_page(&self, page: usize) -> String {
        let other = Self {
            page,
            ..self.clone()
        };
        other.address()
    }

    fn address(&self) -> String {
        let mut query = Serializer::new(String::new());
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        };
        add("q", &self.text);
        add("family", self.family.as_deref().unwrap_or_default());
        add("state", self.state.map_or("", DeploymentState::label));
        add("show", self.show.map_or("", Group::label));
        if self.order != Order::Problems {
            add("sort", self.order.label());
        }
        if self.is_descending {
            add("dir", "desc");
        }
        if self.page > 1 {
            add("page", &self.page.to_string());
        }
        let query = query.finish();
        if query.is_empty() {
            "./".to_owned()
        } else {
            format!("./?{query}")
        }
    }
}

fn word<T: Copy>(
    given: Option<&str>,
    name: &str,
    all: &[T],
    label: impl Fn(T) -> &'static str,
    mistakes: &mut Vec<String>,
) -> Option<T> {
    let given = given?;
    let found = all.iter().copied().find(|one| label(*one) == given);
    if found.is_none() {
        let all: Vec<&str> = all.iter().map(|one| label(*one)).collect();
        mistakes.push(format!(
            "`{name}` is one of {}, and not `{given}`; it was left out.",
            all.join(", ")
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> (Selection, Vec<String>) {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        Selection::read(&pairs.collect())
    }

    #[test]
    fn an_address_says_what_was_asked() {
        let query = "q=a+%26+b&family=qwen3-32b&state=down&show=slower&sort=decode&dir=desc&page=3";
        let (selection, mistakes) = read(query);
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(selection.address(), format!("./?{query}"));
        assert_eq!(read("").0.address(), "./");
        assert!(selection.is_narrow() && !read("sort=decode&page=2").0.is_narrow());
        // What is ordered anew begins at its first page.
        assert!(selection.ordered_by(Order::Decode).ends_with("sort=decode"));
        assert!(selection.ordered_by(Order::Name).ends_with("sort=name"));
    }

    #[test]
    fn what_makes_no_sense_is_told_and_left_out() {
        let (selection, mistakes) = read("state=fine&sort=up&dir=down&page=0&show=<b>");
        assert_eq!(selection, Selection::default());
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
        assert!(
            mistakes[0].starts_with("`state` is one of ok, saturated,"),
            "{mistakes:?}"
        );
    }
}
