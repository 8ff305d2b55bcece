//! What the program can be asked to do, a file for each command.

pub mod backtest;
pub mod check;
pub mod demo;
pub mod history;
mod logging;
pub mod run;
pub mod serve;
mod signal;
pub mod simulate;
