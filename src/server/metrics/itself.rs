//! What the exporter knows of its own health, as one value: for the page about it, which shows what the metrics do.

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

use super::Exposition;
use super::reloads::{Loading, Reloads};
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
    /// How loading the configuration went.
    pub(in crate::server) configuration: Loading,
    /// The same of the web configuration; absent without one.
    pub(in crate::server) web_configuration: Option<Loading>,
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
            configuration: self.reloads.loading(),
            web_configuration: self.web_reloads.get().map(Reloads::loading),
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
        let loaded = Loading {
            succeeded: true,
            loaded_at: Some(at),
            failed_at: None,
        };
        assert_eq!(itself.configuration, loaded);
        assert_eq!(itself.web_configuration, None);
        if cfg!(target_os = "linux") {
            assert!(itself.memory.unwrap() > 1e6 && itself.files.unwrap() >= 1.0);
            assert!(itself.started_at.unwrap() > at, "{itself:?}");
        }
        let health = Arc::new(crate::history::Health::default());
        health.failed(Operation::Append);
        exposition.show_history(Arc::clone(&health));
        let later = "2026-03-01T12:00:01.5Z".parse().unwrap();
        exposition.reload_failed(later);
        exposition.show_web_config(at);
        exposition.web_reload_failed(at);
        exposition.web_reloaded(later);
        let itself = exposition.itself();
        let failed = Loading {
            succeeded: false,
            failed_at: Some(later),
            ..loaded
        };
        assert_eq!(itself.configuration, failed);
        let mended = Loading {
            succeeded: true,
            loaded_at: Some(later),
            failed_at: Some(at),
        };
        assert_eq!(itself.web_configuration, Some(mended));
        let text = String::from_utf8(exposition.text()).unwrap();
        for line in [
            "vllm_probe_config_last_reload_successful 0",
            "vllm_probe_config_last_reload_success_timestamp_seconds 1772366400",
            "vllm_probe_web_config_last_reload_successful 1",
            "vllm_probe_web_config_last_reload_success_timestamp_seconds 1772366401.5",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        assert!(itself.history.unwrap().1.contains(&(Operation::Append, 1)));
    }
}
