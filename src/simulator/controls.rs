//! What can be switched while a simulated deployment runs: slowness, other people's traffic, the ways in
//! which a server goes wrong, and a restart.
//!
//! All of it lies in one watched value, so that the engine, the sockets and the pages see a change at the
//! same moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::{Fault, MetricsFault};

/// How the deployment behaves now; `GET /simulate` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Conditions {
    /// Multiplies the time of every step; 1.08 is 8 % slower.
    pub slowdown: f64,
    /// Sequences of other clients that are kept running.
    pub foreign_requests: u32,
    /// What goes wrong.
    pub fault: Fault,
    /// What goes wrong with `/metrics`.
    pub metrics: MetricsFault,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            slowdown: 1.0,
            foreign_requests: 0,
            fault: Fault::None,
            metrics: MetricsFault::Ok,
        }
    }
}

/// A change of [`Conditions`], as it is posted to `/simulate`: what is absent stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Above 0 and finite.
    pub slowdown: Option<f64>,
    /// At most 1024.
    pub foreign_requests: Option<u32>,
    /// `none` ends whatever went wrong; after `engine_dead` that takes a restart.
    pub fault: Option<Fault>,
    /// `ok` ends whatever went wrong with `/metrics`.
    pub metrics: Option<MetricsFault>,
    /// Restarts the server: what is in flight is cut, and all counters begin at 0. Conditions stay.
    pub restart: bool,
    /// Restarts the server, and lets it refuse connections for so many seconds of the machine's clock
    /// before it comes back; at most 3600.
    pub down_for: Option<f64>,
}

/// The most foreign requests that may be asked for: beyond it only a queue grows.
const FOREIGN_REQUESTS_LIMIT: u32 = 1024;

/// The longest that a server may be asked to stay away, in seconds.
const DOWN_LIMIT: f64 = 3600.0;

/// All that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switches {
    pub(super) conditions: Conditions,
    /// How often the server was restarted; what belongs to an earlier process ends when it sees this move.
    pub(super) restarts: u32,
    /// Until when nobody listens.
    pub(super) down_until: Option<Instant>,
}

/// The switches of one simulated deployment. Cloning gives another hand on the same switches.
#[derive(Clone, Debug)]
pub struct Controls(watch::Sender<Switches>);

impl Controls {
    /// Switches that begin at `conditions`.
    ///
    /// # Errors
    /// Says what is out of range.
    pub(super) fn new(conditions: Conditions) -> Result<Self, String> {
        check(conditions.slowdown, conditions.foreign_requests)?;
        Ok(Self(watch::Sender::new(Switches {
            conditions,
            restarts: 0,
            down_until: None,
        })))
    }

    /// How the deployment behaves now.
    pub fn conditions(&self) -> Conditions {
        self.0.borrow().conditions
    }

    /// How often it was restarted.
    pub fn restarts(&self) -> u32 {
        self.0.borrow().restarts
    }

    /// Switches what `change` names, from the next step and the next request on.
    ///
    /// # Errors
    /// Says what is out of range; then nothing is changed.
    pub fn apply(&self, change: Change) -> Result<Conditions, String> {
        let before = self.conditions();
        check(
            change.slowdown.unwrap_or(before.slowdown),
            change.foreign_requests.unwrap_or(before.foreign_requests),
        )?;
        if let Some(seconds) = change.down_for
            && !(0.0..=DOWN_LIMIT).contains(&seconds)
        {
            return Err(format!(
                "down_for is {seconds}, but must be from 0 to {DOWN_LIMIT} seconds"
            ));
        }
        let down_for = change.down_for.map(Duration::from_secs_f64);
        self.0.send_modify(|switches| {
            let conditions = &mut switches.conditions;
            let was_dead = conditions.fault == Fault::EngineDead;
            conditions.slowdown = change.slowdown.unwrap_or(conditions.slowdown);
            conditions.foreign_requests = change
                .foreign_requests
                .unwrap_or(conditions.foreign_requests);
            conditions.fault = change.fault.unwrap_or(conditions.fault);
            conditions.metrics = change.metrics.unwrap_or(conditions.metrics);
            // Nothing but a restart brings a dead engine back.
            let revived = was_dead && conditions.fault != Fault::EngineDead;
            if change.restart || down_for.is_some() || revived {
                switches.restarts += 1;
                switches.down_until = down_for.map(|down_for| Instant::now() + down_for);
            }
        });
        Ok(self.conditions())
    }

    /// Resolves with each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Switches> {
        self.0.subscribe()
    }
}

fn check(slowdown: f64, foreign_requests: u32) -> Result<(), String> {
    if !(slowdown.is_finite() && slowdown > 0.0) {
        return Err(format!(
            "slowdown is {slowdown}, but must be above 0, such as 1.08"
        ));
    }
    if foreign_requests > FOREIGN_REQUESTS_LIMIT {
        return Err(format!(
            "foreign_requests is {foreign_requests}, but may be at most {FOREIGN_REQUESTS_LIMIT}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<Change, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_moves_what_it_names_and_nothing_else() {
        let controls = Controls::new(Conditions::default()).unwrap();
        controls
            .apply(change(r#"{"slowdown": 1.08}"#).unwrap())
            .unwrap();
        controls
            .apply(change(r#"{"metrics": "silent"}"#).unwrap())
            .unwrap();
        let now = controls
            .apply(change(r#"{"fault": "hang"}"#).unwrap())
            .unwrap();
        assert_eq!((now.slowdown, now.fault), (1.08, Fault::Hang));
        assert_eq!(now.metrics, MetricsFault::Silent);
        for wrong in [
            Change {
                slowdown: Some(0.0),
                ..Change::default()
            },
            Change {
                slowdown: Some(f64::NAN),
                ..Change::default()
            },
            Change {
                foreign_requests: Some(1025),
                ..Change::default()
            },
            Change {
                down_for: Some(-1.0),
                ..Change::default()
            },
            Change {
                down_for: Some(f64::INFINITY),
                ..Change::default()
            },
        ] {
            let wrong = Change {
                fault: Some(Fault::None),
                ..wrong
            };
            assert!(controls.apply(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            (controls.conditions(), controls.restarts()),
            (now, 0),
            "a refused change changes nothing"
        );
    }

    #[test]
    fn a_restart_is_asked_for_or_brings_a_dead_engine_back() {
        let controls = Controls::new(Conditions::default()).unwrap();
        for (json, restarts, is_down) in [
            (r#"{"restart": true}"#, 1, false),
            (r#"{"restart": false, "fault": "engine_dead"}"#, 1, false),
            (r#"{"slowdown": 2}"#, 1, false),
            (r#"{"fault": "none"}"#, 2, false),
            (r#"{"down_for": 5}"#, 3, true),
            (r#"{"restart": true}"#, 4, false),
        ] {
            controls.apply(change(json).unwrap()).unwrap();
            assert_eq!(controls.restarts(), restarts, "{json}");
            let down_until = controls.subscribe().borrow().down_until;
            assert_eq!(down_until.is_some(), is_down, "{json}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let fault = change(r#"{"fault": "gremlins"}"#).unwrap_err();
        for known in Fault::ALL {
            assert!(fault.contains(known.name()), "{fault}");
        }
        let metrics = change(r#"{"metrics": "gremlins"}"#).unwrap_err();
        for known in MetricsFault::ALL {
            assert!(metrics.contains(known.label()), "{metrics}");
        }
        let field = change(r#"{"slow": 2}"#).unwrap_err();
        for known in ["slowdown", "foreign_requests", "restart", "down_for"] {
            assert!(field.contains(known), "{field}");
        }
    }
}
