//! The log: structured lines on standard error, as `--log.level` and `--log.format` say.

use clap::{Args, ValueEnum};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How much is logged, and in which form.
#[derive(Args, Clone, Debug)]
pub(super) struct LogArgs {
    /// What is logged: error, warn, info, debug or trace, or a list such as info,vllm_prober::client=debug
    #[arg(long = "log.level", default_value = "info", value_parser = |text: &str| text.parse::<EnvFilter>().map(|_| text.to_owned()))]
    level: String,
    /// The form of a line
    #[arg(long = "log.format", value_enum, default_value_t = LogFormat::Logfmt)]
    format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// key=value pairs
    Logfmt,
    /// A JSON object
    Json,
}

impl LogArgs {
    /// Starts logging. To be called once.
    pub(super) fn start(&self) {
        // What the HTTP/2 library warns of is what strangers do, and they could do it for as long as there is room on
        // the disk. Whoever wants to read it says `h2=debug`.
        let filter = EnvFilter::try_new(format!("h2=error,{}", self.level))
            .unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = match self.format {
            LogFormat::Logfmt => tracing_logfmt::builder()
                .layer()
                .with_writer(std::io::stderr)
                .boxed(),
            LogFormat::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr)
                .boxed(),
        };
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .init();
    }
}
