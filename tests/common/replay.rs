//! A run as a user would start it: a deployment, a workload, and the product's own `measure`.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vllm_prober::deployment::{Deployment, Endpoint, EnvironmentSources, MetricsSource};
use vllm_prober::measurement::Run;
use vllm_prober::runner::{self, Attempt, RunError};
use vllm_prober::workload::{Limits, Workload};

use crate::scripted::TOKENS;

pub(crate) fn endpoint(base_url: &str) -> Endpoint {
    Endpoint::new(base_url.parse().expect("a URL"))
}

pub(crate) fn deployment(endpoint: Endpoint) -> Deployment {
    Deployment {
        model: Some("m".to_owned()),
        // What a scripted server is asked for is counted.
        metrics: MetricsSource::Off,
        environment: EnvironmentSources {
            from_server: false,
            ..EnvironmentSources::default()
        },
        ..Deployment::new("scripted", endpoint)
    }
}

/// A workload whose limits are wide enough for a machine that has other things to do.
pub(crate) fn workload(concurrency: u32, requests: u32) -> Workload {
    const LONG: Duration = Duration::from_secs(30);
    Workload {
        concurrency,
        requests,
        max_tokens: TOKENS,
        limits: Limits {
            connect: LONG,
            first_token: LONG,
            stall: LONG,
            total: LONG,
            run: LONG,
            ..Limits::default()
        },
        ..Workload::reference("a prompt")
    }
}

/// Measures, and waits for the end.
pub(crate) fn measure(endpoint: Endpoint, workload: Workload) -> Result<Run, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(runner::measure(
        Attempt::new(Arc::new(deployment(endpoint)), Arc::new(workload)),
        Arc::default(),
        CancellationToken::new(),
    ))
}
