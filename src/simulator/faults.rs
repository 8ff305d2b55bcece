//! What can be switched on while a simulated deployment runs: slowness, other people's traffic, and
//! the ways in which a server goes wrong.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How the deployment behaves now; `GET /simulate` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Conditions {
    /// Multiplies the time of every step; 1.08 is 8 % slower.
    pub slowdown: f64,
    /// Sequences of other clients that are kept running.
    pub foreign_requests: u32,
    /// What goes wrong.
    pub fault: Fault,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            slowdown: 1.0,
            foreign_requests: 0,
            fault: Fault::None,
        }
    }
}

/// A change of [`Conditions`], as it is posted to `/simulate`: what is absent stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Above 0 and finite.
    pub slowdown: Option<f64>,
    /// At most 1024.
    pub foreign_requests: Option<u32>,
    /// `none` ends whatever went wrong.
    pub fault: Option<Fault>,
}

/// The most foreign requests that may be asked for: beyond it only a queue grows.
const FOREIGN_REQUESTS_LIMIT: u32 = 1024;

/// Declares each fault once: the variant, its name and what a client meets.
macro_rules! faults {
    ($($variant:ident $name:literal $meaning:literal,)*) => {
        /// What goes wrong. Faults of an answer apply to the requests that arrive while they are on;
        /// `hang`, `asleep` and `refuse` apply at once to all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Fault { $(#[doc = $meaning] #[serde(rename = $name)] $variant,)* }

        impl Fault {
            /// Every fault, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in JSON and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a client meets.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

faults! {
    None "none" "Nothing goes wrong.",
    Hang "hang" "Requests are accepted and no token ever comes; /health is 200, counters stand still.",
    StallMidStream "stall_mid_stream" "An answer falls silent after a few tokens, its connection stays open.",
    ErrorMidStream "error_mid_stream" "An error object follows a few tokens, inside an answer of HTTP 200.",
    Truncate "truncate" "The connection is closed after a few tokens, in mid-body.",
    NoDone "no_done" "The stream ends cleanly, but without `[DONE]`.",
    NoUsage "no_usage" "The answer carries no usage.",
    Http500 "http_500" "HTTP 500, as when the engine has died.",
    Http503 "http_503" "HTTP 503, for /health too.",
    Http429 "http_429" "HTTP 429 with Retry-After, as from a gateway.",
    Http401 "http_401" "HTTP 401, whatever the key.",
    Redirect "redirect" "HTTP 307 to another host.",
    EmptyAnswer "empty_answer" "HTTP 200 and a clean end without a token.",
    GarbageSse "garbage_sse" "HTML in place of an event stream, under HTTP 200.",
    GarbageJson "garbage_json" "Events that are not JSON.",
    HugeEvent "huge_event" "An event of 2 MiB without a newline.",
    Flood "flood" "Tokens without end, as fast as they are read.",
    EarlyStop "early_stop" "Answers stop at a quarter of their bound, unless the request forbids it.",
    Refuse "refuse" "Connections are closed at once, open ones with their next request.",
    SlowHeaders "slow_headers" "The head of the answer comes ten seconds late.",
    Asleep "asleep" "The engine sleeps at level 1: its metrics say so, and no token comes.",
}

impl Fault {
    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// Whether the engine stands still.
    pub(super) fn stops_the_engine(self) -> bool {
        matches!(self, Self::Hang | Self::Asleep)
    }
}

/// The switches of one simulated deployment. Cloning gives another hand on the same switches.
#[derive(Clone, Debug)]
pub struct Controls(watch::Sender<Conditions>);

impl Controls {
    /// Switches that begin at `conditions`.
    pub(super) fn new(conditions: Conditions) -> Self {
        Self(watch::Sender::new(conditions))
    }

    /// How the deployment behaves now.
    pub fn conditions(&self) -> Conditions {
        *self.0.borrow()
    }

    /// Switches what `change` names, from the next step and the next request on.
    ///
    /// # Errors
    /// Says what is out of range; then nothing is changed.
    pub fn apply(&self, change: Change) -> Result<Conditions, String> {
        if let Some(slowdown) = change.slowdown
            && !(slowdown.is_finite() && slowdown > 0.0)
        {
            return Err(format!(
                "slowdown is {slowdown}, but must be above 0, such as 1.08"
            ));
        }
        if let Some(requests) = change.foreign_requests
            && requests > FOREIGN_REQUESTS_LIMIT
        {
            return Err(format!(
                "foreign_requests is {requests}, but may be at most {FOREIGN_REQUESTS_LIMIT}"
            ));
        }
        self.0.send_modify(|conditions| {
            conditions.slowdown = change.slowdown.unwrap_or(conditions.slowdown);
            conditions.foreign_requests = change
                .foreign_requests
                .unwrap_or(conditions.foreign_requests);
            conditions.fault = change.fault.unwrap_or(conditions.fault);
        });
        Ok(self.conditions())
    }

    /// Resolves with each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Conditions> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<Change, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_moves_what_it_names_and_nothing_else() {
        let controls = Controls::new(Conditions::default());
        controls
            .apply(change(r#"{"slowdown": 1.08}"#).unwrap())
            .unwrap();
        let now = controls
            .apply(change(r#"{"fault": "hang"}"#).unwrap())
            .unwrap();
        assert_eq!((now.slowdown, now.fault), (1.08, Fault::Hang));
        for slowdown in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = Change {
                slowdown: Some(slowdown),
                fault: Some(Fault::None),
                ..Change::default()
            };
            assert!(controls.apply(wrong).is_err());
        }
        assert_eq!(
            controls.conditions(),
            now,
            "a refused change changes nothing"
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let fault = change(r#"{"fault": "gremlins"}"#).unwrap_err();
        let field = change(r#"{"slow": 2}"#).unwrap_err();
        for known in Fault::ALL {
            assert!(fault.contains(known.name()), "{fault}");
            assert_eq!(Fault::named(known.name()), Some(*known));
        }
        assert!(
            field.contains("slowdown") && field.contains("foreign_requests"),
            "{field}"
        );
    }
}
