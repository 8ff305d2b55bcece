//! What can go wrong in a simulated deployment, of its answers and of its `/metrics` page.

use serde::{Deserialize, Serialize};

use crate::closed_set::closed_set;

/// Declares each fault once: the variant, its name and what a client meets.
macro_rules! faults {
    ($($variant:ident $name:literal $meaning:literal,)*) => {
        /// What goes wrong. Faults of an answer apply to the requests that arrive while they are on;
        /// `hang`, `asleep`, `engine_dead` and `refuse` apply at once to all.
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
    EngineDead "engine_dead" "The engine's process was killed: streams in flight get an error, later requests HTTP 500, /health is 503; `none` restarts the server.",
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
        matches!(self, Self::Hang | Self::Asleep | Self::EngineDead)
    }
}

closed_set! {
    /// What goes wrong with `/metrics`, whatever else does.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    MetricsFault:
    Ok "ok" "The page is vLLM's.",
    Absent "absent" "HTTP 404, as from a gateway that hides the page.",
    Html "html" "A login page of HTML under HTTP 200.",
    Garbage "garbage" "Random bytes under HTTP 200, not all of them UTF-8.",
    Endless "endless" "Lines without end, as fast as they are read.",
    EndlessLine "endless_line" "One line without end, as fast as it is read.",
    Huge "huge" "100 MB of series that nobody knows, and then the page.",
    Silent "silent" "The request is taken and never answered.",
    Renamed "renamed" "The page with the names that vLLM gave its series up to 0.10.",
}

impl MetricsFault {
    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.label() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_command_line_call_a_fault_by_the_same_name() {
        for fault in Fault::ALL {
            let json = serde_json::to_string(fault).unwrap();
            assert_eq!(json, format!("{:?}", fault.name()));
            assert_eq!(Fault::named(fault.name()), Some(*fault));
        }
        for fault in MetricsFault::ALL {
            let json = serde_json::to_string(fault).unwrap();
            assert_eq!(json, format!("{:?}", fault.label()));
            assert_eq!(MetricsFault::named(fault.label()), Some(*fault));
        }
    }
}
