//! What the program can be asked to do, a file for each command.

pub mod ack;
mod api;
pub mod backtest;
pub mod baseline;
pub mod check;
pub mod compare;
pub mod demo;
mod family;
pub mod health;
pub mod history;
mod logging;
mod printed;
pub mod report;
pub mod run;
pub mod serve;
pub mod shell;
mod signal;
pub mod simulate;
pub mod status;
mod web;
