//! A vLLM that is not there: a real HTTP server on loopback that answers as vLLM 0.13.0 does, at the
//! speed of a [`Profile`], for the demo, for tests and for alert drills.
//!
//! An engine in virtual time decides what happens and when; a thread lets it happen at that time; the
//! HTTP side says it in vLLM's words. Slowness and faults are switched on while it runs, in the process
//! through [`Controls`] and from outside through `POST /simulate`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod calibration;

mod answer;
mod controls;
mod driver;
mod engine;
mod exposition;
mod faults;
mod http;
mod kv_cache;
mod metrics;
mod profile;
mod python;
mod refusal;
mod request;
mod sequence;
mod speed;
mod stats;
mod stream;
mod wire;

pub use controls::{Change, Conditions, Controls};
pub use faults::{Fault, MetricsFault};
pub use profile::Profile;

use controls::Switches;
use driver::{Blueprint, Driver, Timeline};
use http::{Deployment, Started};
use speed::Random;
use wire::Door;

/// The most engines that one deployment may have: one thread drives them all.
const ENGINES_LIMIT: u32 = 64;

/// What a simulated deployment is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How fast it is and what it holds.
    pub profile: Profile,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that other machines reach.
    pub allow_remote: bool,
    /// How many times faster than the profile it runs; above 0. All times shrink with it, those of
    /// `/metrics` too, but not what sockets and the client take: beyond about 20 that weighs more than
    /// 1 %.
    pub speedup: f64,
    /// The name it is served under, in place of the profile's.
    pub served_model: Option<String>,
    /// What requests under `/v1` must carry as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// Data-parallel engines behind its address, as with `--data-parallel-size`: each has the profile's
    /// speed and room, and gets its turn of the requests. From 1 to 64.
    pub engines: u32,
    /// Where the wander of its speed begins: equal seeds wander alike.
    pub seed: u64,
    /// Tokens that every prompt counts. Without it they are estimated from its length, such that the
    /// reference prompt counts 110.
    pub prompt_tokens: Option<u32>,
    /// Whether streams end with usage unasked, as with `--enable-force-include-usage`.
    pub force_include_usage: bool,
    /// Whether usage says what was cached, as with `--enable-prompt-tokens-details`.
    pub prompt_tokens_details: bool,
    /// How it behaves from the first request on.
    pub conditions: Conditions,
}

impl Settings {
    /// The reference's server with `profile`, on a free port of loopback and at true speed.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            allow_remote: false,
            speedup: 1.0,
            served_model: None,
            api_key: None,
            engines: 1,
            seed: 0,
            prompt_tokens: None,
            force_include_usage: true,
            prompt_tokens_details: false,
            conditions: Conditions::default(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if !self.allow_remote && !self.listen.ip().is_loopback() {
            return Err(format!(
                "{} is not a loopback address; other machines must be let in expressly",
                self.listen
            ));
        }
        if !(self.speedup.is_finite() && self.speedup > 0.0) {
            return Err(format!(
                "the speed-up is {}, but must be above 0",
                self.speedup
            ));
        }
        if !(1..=ENGINES_LIMIT).contains(&self.engines) {
            return Err(format!(
                "there are {} engines, but must be from 1 to {ENGINES_LIMIT}",
                self.engines
            ));
        }
        Ok(())
    }
}

/// A running simulated deployment. Dropping it stops it too, without waiting for it.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    controls: Controls,
    driver: Driver,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    server: Option<task::JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// Starts a deployment; it answers when this returns.
    ///
    /// # Errors
    /// When a setting is out of range ([`io::ErrorKind::InvalidInput`]) or the address cannot be had.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let refused = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        settings.check().map_err(refused)?;
        let controls = Controls::new(settings.conditions).map_err(refused)?;
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;

        let timeline = Timeline::starting_now(settings.speedup);
        let blueprint = Blueprint {
            profile: settings.profile.clone(),
            seed: settings.seed,
            speedup: settings.speedup,
            engines: settings.engines,
        };
        let (driver, thread) = Driver::start(blueprint, timeline, &controls)?;
        let stop = CancellationToken::new();
        let deployment = Deployment {
            model: settings
                .served_model
                .unwrap_or_else(|| settings.profile.model.to_owned()),
            profile: settings.profile,
            api_key: settings.api_key,
            prompt_tokens: settings.prompt_tokens,
            force_include_usage: settings.force_include_usage,
            prompt_tokens_details: settings.prompt_tokens_details,
            timeline,
            driver: driver.clone(),
            controls: controls.clone(),
            ids: Mutex::new(Random::new(settings.seed)),
            started: now(),
        };
        let door = Door::new(address, listener, &controls, stop.clone());
        let router = http::router(Arc::new(deployment));
        let server =
            axum::serve(door, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        task::spawn(wake_on_change(
            controls.subscribe(),
            driver.clone(),
            stop.clone(),
        ));
        Ok(Self {
            address,
            controls,
            driver,
            stop,
            thread: Some(thread),
            server: Some(task::spawn(server.into_future())),
        })
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers, as clients are told: without `/v1` and without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its switches.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Stops it: no connection is left open and no thread is left running when this returns. Answers
    /// that were under way break off.
    ///
    /// # Errors
    /// When the server had failed before.
    pub async fn stop(mut self) -> io::Result<()> {
        self.begin_to_stop();
        if let Some(thread) = self.thread.take() {
            task::spawn_blocking(|| thread.join())
                .await?
                .map_err(|_| io::Error::other("the simulated engine's thread panicked"))?;
        }
        match self.server.take() {
            Some(server) => server.await?,
            None => Ok(()),
        }
    }

    fn begin_to_stop(&self) {
        self.stop.cancel();
        self.driver.stop();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.begin_to_stop();
    }
}

/// Lets the engine's thread see each change at once, even if it has nothing else to do.
async fn wake_on_change(
    mut switches: watch::Receiver<Switches>,
    driver: Driver,
    stop: CancellationToken,
) {
    let wake = async {
        while switches.changed().await.is_ok() {
            driver.wake();
        }
    };
    stop.run_until_cancelled(wake).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated server is an edge: its answers carry the wall time, as vLLM's do"
)]
fn now() -> Started {
    Started {
        at: jiff::Timestamp::now(),
        instant: Instant::now(),
    }
}
