//! A continuous prober and Prometheus exporter for vLLM deployments.
//!
//! Data flows one way, and the modules are listed in that order: what to probe, when, what to replay,
//! what happened, what it amounts to, and how it is shown. `docs/ARCHITECTURE.md` has the layers.

// What unit tests share with the tests beside the crate names it as those do.
#[cfg(test)]
extern crate self as vllm_prober;

pub mod budget;
mod closed_set;
pub mod deployment;
pub mod endpoint;
pub mod environment;
pub mod guard;
pub mod measure;
pub mod reach;
pub mod schedule;
pub mod secret;
pub mod validity;
pub mod workload;

pub mod agenda;
pub mod condition;
pub mod discovery;
pub mod judges;
pub mod measurement;
pub mod observation;
mod panic;
pub mod reading;
pub mod run_log;
pub mod sample;
pub mod statistics;
pub mod target;
pub mod totals;
pub mod traffic;
pub mod verdict;

pub mod report;

pub mod comparison;

pub mod client;
pub mod history;
pub mod simulator;
pub mod supervisor;
pub mod vitals;

pub mod board;
pub mod lifecycle;
pub mod prober;
pub mod runner;

pub mod server;

pub mod commands;
pub mod config;
pub mod daemon;
