//! How the last attempts to load one of the configurations went: two gauges, and for the page when the last one failed.

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use prometheus::{Gauge, Registry};

use super::catalogue::unix;
use super::gauge;

/// How the attempts to load a configuration went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Loading {
    /// Whether the last one succeeded.
    pub(in crate::server) succeeded: bool,
    /// When the one that holds was loaded.
    pub(in crate::server) loaded_at: Option<Timestamp>,
    /// When the last one failed; absent if none has since the start.
    pub(in crate::server) failed_at: Option<Timestamp>,
}

/// Shows how it goes.
#[derive(Debug)]
pub(super) struct Reloads {
    successful: Gauge,
    success_at: Gauge,
    loaded_at: ArcSwapOption<Timestamp>,
    failed_at: ArcSwapOption<Timestamp>,
}

impl Reloads {
    /// Of the configuration that was loaded at `at`; the gauges are given by name and HELP.
    fn new(
        registry: &Registry,
        successful: (&str, &str),
        success_at: (&str, &str),
        at: Timestamp,
    ) -> Self {
        let successful = gauge(registry, successful.0, successful.1, &[]);
        let success_at = gauge(registry, success_at.0, success_at.1, &[]);
        let reloads = Self {
            successful,
            success_at,
            loaded_at: ArcSwapOption::default(),
            failed_at: ArcSwapOption::default(),
        };
        reloads.succeeded(at);
        reloads
    }

    /// Of the configuration, which was loaded at `at`.
    pub(super) fn of_configuration(registry: &Registry, at: Timestamp) -> Self {
        let successful = (
            "config_last_reload_successful",
            "1 if the last attempt to load the configuration succeeded.",
        );
        let success_at = (
            "config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration was last loaded.",
        );
        Self::new(registry, successful, success_at, at)
    }

    /// Of the web configuration, which was loaded at `at`.
    pub(super) fn of_web_configuration(registry: &Registry, at: Timestamp) -> Self {
        let successful = (
            "web_config_last_reload_successful",
            "1 if the last attempt to load the web configuration succeeded.",
        );
        let success_at = (
            "web_config_last_reload_success_timestamp_seconds",
            "Unix time at which the web configuration was last loaded.",
        );
        Self::new(registry, successful, success_at, at)
    }

    pub(super) fn succeeded(&self, at: Timestamp) {
        self.successful.set(1.0);
        self.success_at.set(unix(at));
        self.loaded_at.store(Some(at.into()));
    }

    pub(super) fn failed(&self, at: Timestamp) {
        self.successful.set(0.0);
        self.failed_at.store(Some(at.into()));
    }

    pub(super) fn loading(&self) -> Loading {
        Loading {
            succeeded: self.successful.get() > 0.0,
            loaded_at: self.loaded_at.load().as_deref().copied(),
            failed_at: self.failed_at.load().as_deref().copied(),
        }
    }
}
