//! Where a reader chooses which deployments are shown: by group, by a form, and page by page. All of it are links and a
//! form, so it works without a script.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::row::Row;
use super::selection::{Group, Order, Selection};
use crate::condition::DeploymentState;
use crate::server::pages::quantity::whole;

/// How many there are of each group, and the way to them.
pub(super) fn groups(rows: &[Row<'_>], selection: &Selection) -> Markup {
    let groups = Group::ALL.iter().map(|group| {
        let number = rows.iter().filter(|row| row.is_of(*group)).count();
        (*group, number)
    });
    let current = |show: Option<Group>| (selection.show == show).then_some("true");
    html! {
        nav.groups aria-label="Groups of deployments" {
            a.group href=(selection.showing(None)) aria-current=[current(None)] {
                b { (whole(rows.len())) } " all"
            }
            @for (group, number) in groups {
                a.group data-group=(group.label()) data-none[number == 0] title=(group.meaning())
                    href=(selection.showing(Some(group))) aria-current=[current(Some(group))] {
                    b { (whole(number)) } " " (group.label().replace('-', " "))
                }
            }
        }
    }
}

/// What is asked of names, families and states, and in which order it is shown.
pub(super) fn form(rows: &[Row<'_>], selection: &Selection) -> Markup {
    let families: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row.probe.deployment.family.as_deref())
        .collect();
    html! {
        form.filter method="get" action="./" role="search" aria-label="Filter deployments" {
            label { span { "Search" }
                input type="search" name="q" value=(selection.text) placeholder="name, model, version, label";
            }
            label { span { "Family" }
                select name="family" {
                    option value="" { "any" }
                    @for family in families {
                        option value=(family) selected[selection.family.as_deref() == Some(family)] { (family) }
                    }
                }
            }
            label { span { "State" }
                select name="state" {
                    option value="" { "any" }
                    @for state in DeploymentState::ALL {
                        option value=(state.label()) selected[selection.state == Some(*state)] { (state.label()) }
                    }
                }
            }
            label { span { "Order" }
                select name="sort" {
                    @for order in Order::ALL {
                        option value=(order.label()) selected[selection.order == *order] {
                            @if *order == Order::Problems { "problems first" } @else { (order.label()) }
                        }
                    }
                }
            }
            label { span { "Direction" }
                select name="dir" {
                    option value="" { "ascending" }
                    option value="desc" selected[selection.is_descending] { "descending" }
                }
            }
            @if let Some(show) = selection.show { input type="hidden" name="show" value=(show.label()); }
            button { "Apply" }
            @if selection.is_narrow() { a href="./" { "Show all" } }
        }
    }
}

/// The way to the pages before and after.
pub(super) fn paging(selection: &Selection, page: usize, pages: usize) -> Markup {
    html! {
        nav.paging aria-label="Pages of the table" {
            @if page > 1 { a rel="prev" href=(selection.on_page(page - 1)) { "← Previous" } }
            span { "page " (whole(page)) " of " (whole(pages)) }
            @if page < pages { a rel="next" href=(selection.on_page(page + 1)) { "Next →" } }
        }
    }
}
