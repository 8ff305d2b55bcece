//! What the measuring thread does, from the first connection to the last look at the server.

use std::sync::Arc;

use jiff::Timestamp;

use super::closed_loop::{Replay, Replayed};
use super::delays::Delays;
use super::follower::Follower;
use super::progress::Progress;
use super::{Attempt, RunError, thread};
use crate::client::watch::{Unread, Watch};
use crate::client::{Client, Credentials};
use crate::environment::Environment;
use crate::measurement::{Connections, Run, RunId, WarmUp};
use crate::observation::{Health, Moment, Observation};
use crate::reading::Reading;

/// Replays the workload of `attempt` once. The environment of the run is left to be filled in.
pub(super) async fn replay(
    attempt: Attempt,
    watch: Watch,
    credentials: Credentials,
    progress: Arc<Progress>,
) -> Result<Run, RunError> {
    let Attempt {
        deployment,
        workload,
        previous,
        notes,
        ..
    } = attempt;
    let client = Client::new(&deployment.endpoint, &credentials, &workload.limits)?;
    let server_version = client.open(workload.concurrency).await;
    notes.add(opened(client.connections(), server_version.as_deref()));
    let model = match &deployment.model {
        Some(model) => model.clone(),
        None => the_one_model(client.served_models().await.map_err(RunError::NoModel)?)?,
    };
    let whence = if deployment.model.is_some() {
        "as configured"
    } else {
        "as GET /v1/models says"
    };
    notes.add(format!("model {model}, {whence}"));
    let id = notes.id();
    let follower = Follower::start(&watch, deployment.guards, client.heard());
    let replay = Replay::new(client.clone(), Arc::clone(&workload), &model, id);
    let warmup = workload.warmup;
    let warmed_up = replay.requests(0..warmup, Arc::default(), &follower).await;
    if warmup > 0 {
        notes.failures("warm-up", &warmed_up.records);
    }

    let before = watch.read().await;
    notes.add(looked("before", &before));
    notes.add(format!(
        "sending {} requests, {} in flight",
        workload.requests, workload.concurrency
    ));
    let connections = client.connections();
    let delays = Delays::sample();
    let processor = thread::processor_time();
    #[expect(
        clippy::disallowed_methods,
        reason = "a run is stamped with wall time once, where it starts"
    )]
    let started_at = Timestamp::now();
    let Replayed {
        records,
        clock,
        given_up,
    } = replay
        .requests(warmup..warmup + workload.requests, progress, &follower)
        .await;
    let client_cpu = thread::processor_time()
        .zip(processor)
        .map(|(after, before)| after.since(before));
    let deadline_passed = clock.deadline_passed();
    let client_delays = delays.end().await;
    let during = follower.end(clock.started()).await;
    notes.failures("run", &records);
    if let Some(given_up) = given_up {
        notes.add(format!("given up: {}", given_up.meaning()));
    }
    if deadline_passed {
        notes.add("the run's deadline passed");
    }
    let after = watch.read().await;
    notes.add(looked("after", &after));

    let all_went_well = given_up.is_none() && records.iter().all(|record| record.outcome.is_ok());
    let health = if all_went_well {
        None
    } else {
        let health = watch.health().await;
        notes.add(match health {
            Health::Good => "GET /health: it says that it is well".to_owned(),
            Health::Bad(status) => format!("GET /health: HTTP {status}"),
            Health::Silent => "GET /health: no answer".to_owned(),
        });
        Some(health)
    };
    let opened = client.connections().opened;
    Ok(Run {
        id: RunId(id.to_string()),
        started_at,
        model,
        server_version,
        planned: workload.requests,
        concurrency: workload.concurrency,
        warmup: WarmUp::of(&warmed_up.records),
        records,
        deadline_passed,
        connections: Connections {
            reopened: opened - connections.opened,
            ..connections
        },
        client_delays,
        client_cpu,
        environment: Environment::default(),
        observation: observation(previous, before, during, after, health),
        given_up,
    })
}

fn observation(
    previous: Option<Arc<Reading>>,
    before: Result<Reading, Unread>,
    during: Vec<Moment>,
    after: Result<Reading, Unread>,
    health: Option<Health>,
) -> Observation {
    let unread = before.as_ref().and(after.as_ref()).err();
    Observation {
        previous,
        unread: unread.map(Unread::to_string),
        before: before.ok().map(Arc::new),
        during,
        after: after.ok().map(Arc::new),
        health,
    }
}

/// What came of opening the connections, in words.
fn opened(connections: Connections, version: Option<&str>) -> String {
    let mut told = format!("opened {} connections", connections.opened);
    if let Some(time) = connections.connect_time {
        told += &format!(" in {:.1} ms each", 1e3 * time.as_secs_f64());
    }
    told + &match version {
        Some(version) => format!("; GET /version says {version}"),
        None => "; GET /version says nothing".to_owned(),
    }
}

/// What came of a look at the server's own metrics, in words.
fn looked(when: &str, look: &Result<Reading, Unread>) -> String {
    match look {
        Ok(_) => format!("read the server's metrics {when} the run"),
        Err(unread) => format!("no metrics of the server {when} the run: {unread}"),
    }
}

fn the_one_model(mut served: Vec<String>) -> Result<String, RunError> {
    match served.pop() {
        Some(model) if served.is_empty() => Ok(model),
        last => Err(RunError::AmbiguousModel(
            served.into_iter().chain(last).collect(),
        )),
    }
}
