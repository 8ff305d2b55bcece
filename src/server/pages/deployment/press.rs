//! A button was pressed: does what it says by what the JSON interface does it by, and leads to the page that tells
//! what came of it. What cannot be done is told at the form, with all that was typed.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::html;
use url::form_urlencoded::Serializer;

use super::forms::{Buttons, DONE, typed};
use super::posted::{Button, Posted};
use super::{Asked, outcomes};
use crate::judges::Act;
use crate::server::Served;
use crate::server::api::{Problem, orders};
use crate::server::pages::{Page, frame};
use crate::server::provenance::Provenance;

/// Answers a form with that body, which was sent to the page of the deployment `name` with the query `asked`.
pub(in crate::server::pages) async fn press(
    served: &Served,
    name: &str,
    asked: &BTreeMap<String, String>,
    provenance: &Provenance,
    body: &[u8],
    now: Timestamp,
) -> Response {
    // What a foreign page has written is not shown again.
    let objection = match orders::lifecycle(served) {
        Err(problem) => Some(problem.detail().to_owned()),
        Ok(_) => provenance.objection(),
    };
    if let Some(objection) = objection {
        return forbidden(&objection, now).into_response();
    }
    let posted = Posted::read(body);
    match obey(served, name, &posted, now).await {
        Ok(text) => {
            let number = served.outcomes.keep(name, text, now);
            let others = asked.iter().filter(|(key, _)| *key != DONE);
            let query = Serializer::new(String::new())
                .extend_pairs(others)
                .append_pair(DONE, &number.to_string())
                .finish();
            // Below any path of a proxy.
            let place = format!("?{query}#{DONE}");
            (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
        }
        Err(problem) => refused(served, name, asked, (posted, &problem), now).into_response(),
    }
}

/// Does what a form says, and tells what came of it.
async fn obey(
    served: &Served,
    deployment: &str,
    posted: &Posted,
    now: Timestamp,
) -> Result<String, Problem> {
    let button = posted.button.ok_or_else(|| {
        let all: Vec<_> = Button::ALL.iter().map(|button| button.label()).collect();
        let told = format!("there is no such button; there are {}", all.join(", "));
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, told)
    })?;
    let act = match button {
        Button::Run => {
            let workloads = orders::run_now(served, posted.probes(deployment)).await?;
            return Ok(outcomes::of_runs(button, &workloads));
        }
        Button::Cancel => {
            let workloads = orders::cancel(served, posted.probes(deployment)).await?;
            return Ok(outcomes::of_runs(button, &workloads));
        }
        Button::Acknowledge => posted.acknowledgement(now),
        Button::Pin => Ok(Act::Pin),
        Button::Unpin => Ok(Act::Unpin),
    };
    let done = orders::intervene(served, deployment.to_owned(), posted.said(), act.clone()).await?;
    // One that is wrong was refused.
    Ok(act.map_or_else(
        |wrong| wrong,
        |act| outcomes::of_intervention(act, &done, now),
    ))
}

fn refused(
    served: &Served,
    name: &str,
    asked: &BTreeMap<String, String>,
    (posted, problem): (Posted, &Problem),
    now: Timestamp,
) -> Page {
    let buttons = Buttons::refusing(posted.clone(), problem.detail());
    let snapshot = served.board.snapshot();
    let asked = Asked::read(asked);
    let html = super::html(&snapshot, name, &asked, Some(&buttons), now);
    Page {
        status: problem.status(),
        html: html.unwrap_or_else(|| super::missing(name, Some(&typed(&posted)), now)),
    }
}

fn forbidden(why: &str, now: Timestamp) -> Page {
    let main = html! {
        h1 { "Nothing was done" }
        p.notice role="alert" data-kept { (why) }
        p { "What you typed is still in the form: your browser's Back leads there." }
    };
    Page {
        status: StatusCode::FORBIDDEN,
        html: frame::page("Nothing was done · vllm-prober", "../", None, &main, now),
    }
}
