//! What the deployment runs on, where that is known from, and what of it has changed.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::board::DeploymentStatus;
use crate::environment::EnvironmentField;
use crate::server::pages::finding::fields;
use crate::server::pages::frame::moment;
use crate::server::pages::quantity::count;

/// What it runs on, and what of that has changed.
pub(super) fn environment(status: Option<&DeploymentStatus>, now: Timestamp) -> Markup {
    let known: Vec<_> = status
        .and_then(|status| status.generation.as_ref())
        .map(|generation| generation.environment.known().collect())
        .unwrap_or_default();
    let changes = status.map_or(&[][..], |status| &status.recent_changes);
    html! {
        section {
            h2 { "Environment" }
            @if !changes.is_empty() {
                ol.changes {
                    @for change in changes.iter().rev() {
                        li { (moment(change.at, now)) " " b { (fields(change)) } }
                    }
                }
            }
            @if known.is_empty() {
                p.quiet { "Nothing is known yet of what it runs on." }
            } @else {
                div.wide tabindex="0" role="region" aria-label="What it runs on" {
                    table.facts {
                        caption { "What it runs on, and where that is known from" }
                        thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } th scope="col" { "Known from" } } }
                        tbody {
                            @for finding in &known {
                                tr {
                                    th scope="row" title=(finding.field.meaning()) { (finding.field.label().replace('_', " ")) }
                                    td { (finding.value) }
                                    td.quiet { (finding.source.label().replace('_', " ")) }
                                }
                            }
                        }
                    }
                }
                @let unknown = EnvironmentField::ALL.len() - known.len();
                @if unknown > 0 { p.quiet { (count(unknown, "field is", "fields are")) " not known." } }
            }
        }
    }
}
