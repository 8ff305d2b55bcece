//! The simulated deployment, met over its sockets: the shape of every answer against what vLLM 0.13.0
//! answered, the engine's behaviour through its metrics, and each fault as a client sees it.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

mod behaviour;
mod client;
mod faults;
mod metrics;
mod restarts;
mod shape;
