//! The buttons of a deployment's page: plain forms, which work without a script. Only what makes sense now is offered.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use super::outcomes::Outcome;
use super::posted::{BUTTON, Button, Posted, Term};
use crate::board::ProbeStatus;
use crate::server::Served;
use crate::server::pages::finding::capitalised;
use crate::server::pages::frame::moment;
use crate::verdict::StandingVerdict;

/// The part of the address that has the number of an outcome, and the place on the page where it is told.
pub(super) const DONE: &str = "done";

/// The place where it is told that nothing came of it.
const REFUSED: &str = "refused";

/// What is to be said of the buttons on a page that has them.
#[derive(Debug, Default)]
pub(in crate::server::pages) struct Buttons {
    done: Option<Outcome>,
    refused: Option<(Posted, String)>,
}

impl Buttons {
    /// Those of a page of `deployment` whose query is `asked`, which may tell what came of one.
    pub(in crate::server::pages) fn after(
        served: &Served,
        deployment: &str,
        asked: &BTreeMap<String, String>,
    ) -> Self {
        let number = asked.get(DONE);
        Self {
            done: number.and_then(|number| served.outcomes.of(deployment, number)),
            refused: None,
        }
    }

    /// Those of a page that tells why nothing came of a form.
    pub(super) fn refusing(posted: Posted, why: &str) -> Self {
        Self {
            done: None,
            refused: Some((posted, why.to_owned())),
        }
    }

    /// What was typed into the form of `button`, and why nothing came of it.
    fn refused(&self, button: Button) -> Option<(&Posted, &str)> {
        let (posted, why) = self.refused.as_ref()?;
        (posted.button == Some(button)).then_some((posted, why))
    }
}

/// The workloads of which a button can be pressed now, and whether it can of all of them at once.
struct Offer {
    workloads: Vec<String>,
    of_all: bool,
}

impl Offer {
    fn of(button: Button, probes: &[Arc<ProbeStatus>], now: Timestamp) -> Self {
        let fits = |probe: &&Arc<ProbeStatus>| match button {
            Button::Run => !probe.in_progress,
            Button::Cancel => probe.in_progress,
            Button::Acknowledge => standing(probe).any(|one| !one.is_acknowledged(now)),
            Button::Pin => probe.opinion.is_some() && probe.last_valid.is_some(),
            Button::Unpin => {
                let mut judgements = probe.opinion.iter().flat_map(|all| all.judgements.values());
                judgements.any(|judgement| judgement.baseline_runs > 0)
            }
        };
        // What someone has said of a verdict is not to be said again in passing.
        let would_change = |probe: &&Arc<ProbeStatus>| {
            button == Button::Acknowledge && standing(probe).next().is_some() && !fits(probe)
        };
        Self {
            workloads: probes
                .iter()
                .filter(fits)
                .map(|probe| probe.workload.name.to_string())
                .collect(),
            of_all: !probes.iter().any(|probe| would_change(&probe)),
        }
    }
}

/// The verdicts that stand.
fn standing(probe: &ProbeStatus) -> impl Iterator<Item = &StandingVerdict> {
    let opinion = probe.opinion.as_ref();
    let judgements = opinion
        .into_iter()
        .flat_map(|opinion| opinion.judgements.values());
    judgements.filter_map(|judgement| judgement.standing.as_ref())
}

/// All buttons that there are now for the deployment of `probes`, and what came of the last one.
pub(super) fn all(probes: &[Arc<ProbeStatus>], buttons: &Buttons, now: Timestamp) -> Markup {
    let is_unknown = |(posted, _): &&(Posted, String)| posted.button.is_none();
    html! {
        @if let Some(done) = &buttons.done {
            p.done id=(DONE) role="status" tabindex="-1" { (done.text) " " span.quiet { (moment(done.at, now)) } }
        }
        @if let Some((_, why)) = buttons.refused.as_ref().filter(is_unknown) { (told(why)) }
        section.acts id="acts" aria-label="What can be done" {
            @for button in Button::ALL { (one(*button, probes, buttons, now)) }
        }
    }
}

/// The form of a button; nothing where it makes no sense, unless that is what is to be told.
fn one(button: Button, probes: &[Arc<ProbeStatus>], buttons: &Buttons, now: Timestamp) -> Markup {
    let refused = buttons.refused(button);
    let mut offer = Offer::of(button, probes, now);
    if let Some((posted, _)) = refused
        && !posted.workload.is_empty()
        && !offer.workloads.contains(&posted.workload)
    {
        // It stays what was chosen.
        offer.workloads.push(posted.workload.clone());
    }
    if offer.workloads.is_empty() && refused.is_none() {
        return html! {};
    }
    let id = format!("act-{}", button.label());
    let name = match button {
        Button::Run => "Run now",
        Button::Cancel => "Cancel the run",
        Button::Acknowledge => "Acknowledge the verdict",
        Button::Pin => "Pin the baseline",
        Button::Unpin => "Unpin the baseline",
    };
    let form = html! {
        form.act id=(id) method="post" action={ "#" (REFUSED) } aria-label=(name) data-kept[refused.is_some()] {
            @if let Some((_, why)) = refused { (told(why)) }
            (workloads(&offer, refused.map(|(posted, _)| &*posted.workload)))
            @if asks_why(button) { (said(button, refused.map(|(posted, _)| posted))) }
            button name=(BUTTON) value=(button.label()) title=(button.meaning()) { (name) }
        }
    };
    if !asks_why(button) {
        return form;
    }
    html! {
        details id={ (id) "-more" } open[refused.is_some()] {
            summary { (name) " …" }
            p.quiet { (button.meaning()) }
            (form)
        }
    }
}

fn told(why: &str) -> Markup {
    html! { p.notice id=(REFUSED) role="alert" tabindex="-1" data-kept { "Nothing was done: " (why) "." } }
}

/// Whether it is said by someone for a reason, which stays in the history.
fn asks_why(button: Button) -> bool {
    !matches!(button, Button::Run | Button::Cancel)
}

/// Which workload is meant.
fn workloads(offer: &Offer, chosen: Option<&str>) -> Markup {
    html! {
        @match &*offer.workloads {
            [] => {},
            [one] => input type="hidden" name="workload" value=(one);,
            several => label { span { "Workload" }
                select name="workload" {
                    @if offer.of_all { option value="" { "all" } }
                    @for name in several { option value=(name) selected[chosen == Some(&**name)] { (name) } }
                }
            },
        }
    }
}

/// Who says it, why, and for how long.
fn said(button: Button, posted: Option<&Posted>) -> Markup {
    let text = |name: &str, label: &str, value: &str, fill: &str| {
        let is_missing = posted.is_some() && value.trim().is_empty();
        html! {
            label.(name) { span { (label) }
                input type="text" name=(name) value=(value) required autocomplete=(fill)
                    aria-invalid=[is_missing.then_some("true")] aria-describedby=[is_missing.then_some(REFUSED)];
            }
        }
    };
    let typed = posted.cloned().unwrap_or_default();
    html! {
        @if button == Button::Acknowledge {
            label { span { "How long" }
                select name="until" {
                    @for term in Term::ALL {
                        option value=(term.label()) selected[typed.term() == Some(*term)] { (capitalised(term.meaning())) }
                    }
                }
            }
        }
        // A browser remembers who that was.
        (text("by", "By whom", &typed.by, "name"))
        (text("why", "Why", &typed.why, "off"))
    }
}

/// What was typed into a form of a deployment that is no more.
pub(super) fn typed(posted: &Posted) -> Markup {
    let said = [("By whom", &posted.by), ("Why", &posted.why)];
    let said: Vec<_> = said.iter().filter(|(_, text)| !text.is_empty()).collect();
    html! {
        p.notice id=(REFUSED) role="alert" tabindex="-1" data-kept { "Nothing was done." }
        @if !said.is_empty() {
            p { "You had typed:" }
            ul { @for (label, text) in said { li { (label) ": " (text) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Snapshot;
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn shown(snapshot: &Snapshot, name: &str, buttons: &Buttons) -> String {
        let mut all = snapshot.of_each_deployment();
        let probes = all.find(|probes| probes[0].deployment.name.as_str() == name);
        super::all(probes.unwrap(), buttons, now()).into_string()
    }

    fn offered(page: &str) -> Vec<&str> {
        let forms = page.split("<button name=\"act\" value=\"").skip(1);
        forms.map(|form| form.split('"').next().unwrap()).collect()
    }

    #[test]
    fn only_what_makes_sense_now_is_offered() {
        let mut fleet = fixture::fleet(now());
        for (name, expected) in [
            (
                "qwen3-32b-nvfp4",
                &["run", "acknowledge", "pin", "unpin"][..],
            ),
            // Its verdict is acknowledged already.
            ("llama-3.3-70b-fp8", &["run", "pin", "unpin"]),
            ("qwen3-32b-bf16", &["run", "pin", "unpin"]),
            ("qwen3-8b-spare", &["run"]),
        ] {
            let page = shown(&fleet, name, &Buttons::default());
            assert_eq!(offered(&page), expected, "{name}");
        }
        for probe in &mut fleet.probes {
            Arc::make_mut(probe).in_progress = true;
        }
        let page = shown(&fleet, "qwen3-8b-spare", &Buttons::default());
        assert_eq!(offered(&page), ["cancel"]);
    }

    #[test]
    fn of_several_workloads_one_is_chosen_and_all_only_where_nothing_said_is_lost() {
        let fleet = fixture::fleet(now());
        let probe = |name: &str| {
            let mut all = fleet.probes.iter();
            let found = all.find(|probe| probe.deployment.name.as_str() == name);
            Arc::clone(found.unwrap())
        };
        let (news, seen) = (probe("qwen3-32b-nvfp4"), probe("llama-3.3-70b-fp8"));
        let page = all(&[Arc::clone(&news), seen], &Buttons::default(), now()).into_string();
        let form = |name: &str| {
            let at = page.find(&format!("id=\"act-{name}\"")).unwrap();
            page[at..].split("</form>").next().unwrap()
        };
        assert!(form("run").contains("<option value=\"\">all</option>"));
        assert_eq!(form("run").matches("<option").count(), 3);
        let hidden = "<input type=\"hidden\" name=\"workload\" value=\"reference\">";
        assert!(form("acknowledge").contains(hidden), "{page}");
        let offer = Offer::of(Button::Acknowledge, &[Arc::clone(&news), news], now());
        assert_eq!((offer.workloads.len(), offer.of_all), (2, true));
        let seen = Offer::of(Button::Acknowledge, &[probe("llama-3.3-70b-fp8")], now());
        assert_eq!((seen.workloads.len(), seen.of_all), (0, false));
    }

    #[test]
    fn what_was_refused_is_told_at_its_form_with_all_that_was_typed() {
        let typed = b"act=acknowledge&by=%22%3E%3Cb%3EZo%C3%AB&why=+&until=7d&workload=gone";
        let buttons = Buttons::refusing(Posted::read(typed), "`why` is missing");
        let fleet = fixture::fleet(now());
        // Its verdict is acknowledged meanwhile, and the form is there all the same.
        let page = shown(&fleet, "llama-3.3-70b-fp8", &buttons);
        insta::assert_snapshot!(page.replace("><", ">\n<"));
        let nonsense = Buttons::refusing(Posted::read(b"act=explode"), "there is no such button");
        let page = shown(&fleet, "llama-3.3-70b-fp8", &nonsense);
        assert_eq!(page.matches("there is no such button").count(), 1, "{page}");
    }
}
