//! A vLLM that is not there: a real HTTP server on loopback that answers as vLLM 0.13.0 does, at the
//! speed of a [`Profile`], for the demo, for tests and for alert drills.
//!
//! An engine in virtual time decides what happens and when; a thread lets it happen at that time; the
//! HTTP side says it in vLLM's words. Slowness and faults are switched on while it runs.

mod engine;
mod faults;
mod kv_cache;
mod profile;
mod speed;
mod stats;

pub use faults::{Change, Conditions, Controls, Fault};
pub use profile::Profile;

#[cfg(test)]
mod calibration;
