//! What the exporter knows of its own health, as one value: for the page about it, which shows what the metrics do.

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

use super::Exposition;
use crate::discovery::source::SourceStatus;
use crate::history::Operation;
use crate::vitals::open_sockets;

/// The exporter's own health at a moment. What cannot be known is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::server) struct Itself {
    /// How late the event loop was in the last minute, in seconds: the median and the most.
    pub(in crate::server) lag: Option<(f64, f64)>,
    /// The history's bytes on the disk, and what went wrong with it how often; absent without a history.
    pub(in crate::server) history: Option<(u64, Vec<(Operation, u64)>)>,
    /// Whether the last attempt to load the configuration succeeded.
    pub(in crate::server) is_configured: bool,
    /// When the configuration that holds was loaded.
    pub(in crate::server) configured_at: Option<Timestamp>,
    /// How the sources of deployments fare.
    pub(in crate::server) sources: Vec<SourceStatus>,
    /// Bytes of memory that are resident.
    pub(in crate::server) memory: Option<f64>,
    /// Files and sockets that are open, and how many may be.
    pub(in crate::server) files: Option<f64>,
    pub(in crate::server) most_files: Option<f64>,
    /// Of them, sockets.
    pub(in crate::server) sockets: Option<usize>,
    /// Seconds of computing since the start.
    pub(in crate::server) cpu: Option<f64>,
    /// When it was started.
    pub(in crate::server) started_at: Option<Timestamp>,
}

impl Exposition {
    /// How the exporter itself is at this moment.
    pub(in crate::server) fn itself(&self) -> Itself {
        let process = ProcessCollector::for_self().collect();
        let of_process = |name: &str| {
            let family = process.iter().find(|family| family.name() == name)?;
            let metric = family.get_metric().first()?;
            let value = metric.get_gauge().get_value() + metric.get_counter().get_value();
            (value > 0.0).then_some(value)
        };
        let recent = self.vitals.lag().recent();
        Itself {
            lag: recent.map(|sample| (sample.median(), sample.max())),
            history: self.history.get().map(|health| {
                let errors = Operation::ALL.iter();
                let errors = errors.map(|operation| (*operation, health.errors(*operation)));
                (health.size_bytes(), errors.collect())
            }),
            is_configured: self.reload_successful.get() > 0.0,
            configured_at: time(self.reloaded_at.get()),
            sources: self.sources.load().as_ref().clone(),
            memory: of_process("process_resident_memory_bytes"),
            files: of_process("process_open_fds"),
            most_files: of_process("process_max_fds"),
            sockets: open_sockets(),
            cpu: of_process("process_cpu_seconds_total"),
            started_at: of_process("process_start_time_seconds").and_then(time),
        }
    }
}

/// An instant of so many seconds since 1970.
fn time(unix: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((unix * 1e3) as i64).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::board::{Board, Snapshot};

    #[test]
    fn it_knows_of_itself_what_there_is_to_know() {
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let board = Board::new(Snapshot {
            stale_after: 1,
            probes: Vec::new(),
            deployments: Default::default(),
        });
        let exposition = Exposition::new(Arc::new(board), Arc::default(), at);
        let itself = exposition.itself();
        assert_eq!((itself.lag, itself.history.clone()), (None, None));
        assert_eq!(
            (itself.is_configured, itself.configured_at),
            (true, Some(at))
        );
        if cfg!(target_os = "linux") {
            assert!(itself.memory.unwrap() > 1e6 && itself.files.unwrap() >= 1.0);
            assert!(itself.started_at.unwrap() > at, "{itself:?}");
        }
        let health = Arc::new(crate::history::Health::default());
        health.failed(Operation::Append);
        exposition.show_history(Arc::clone(&health));
        exposition.reload_failed();
        let itself = exposition.itself();
        assert!(!itself.is_configured);
        assert!(itself.history.unwrap().1.contains(&(Operation::Append, 1)));
    }
}
