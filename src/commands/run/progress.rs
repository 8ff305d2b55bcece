//! How a run is getting on, for whoever waits for it: a bar on a terminal, and a plain line now and then in a pipe. Both
//! say the same, and go to standard error; standard output is the result's.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::SignedDuration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::runner::Progress;
use crate::server::quantity::{count, number, span};

/// How often a bar is drawn.
const REDRAWN: Duration = Duration::from_millis(200);

/// How often a line is written.
const WRITTEN: Duration = Duration::from_secs(5);

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    requests: u32,
    ended: u32,
    failed: u32,
    /// Tokens of the answers that completed.
    tokens: u64,
    /// From the first measured request to the last end of one.
    over: Duration,
    /// Since the first measured request was sent.
    elapsed: Duration,
}

impl Stage {
    /// `None` before the first measured request is sent.
    fn of(progress: &Progress, requests: u32, now: Instant) -> Option<Self> {
        Some(Self {
            requests,
            ended: progress.ended(),
            failed: progress.failed(),
            tokens: progress.completion_tokens(),
            over: progress.last_end(),
            elapsed: now.duration_since(progress.began()?),
        })
    }

    /// What it says of itself. Rates are of what has ended so far, and absent before anything has.
    fn told(&self) -> String {
        let (over, elapsed) = (self.over.as_secs_f64(), self.elapsed.as_secs_f64());
        let mut told = format!(
            "{} of {}",
            self.ended,
            count(self.requests as usize, "request", "requests")
        );
        if self.failed > 0 {
            told += &format!(", {} failed", self.failed);
        }
        if self.ended > 0 && over > 0.0 {
            told += &format!(", {} requests/s", number(f64::from(self.ended) / over));
        }
        if self.tokens > 0 && over > 0.0 {
            told += &format!(", {} tok/s", number(self.tokens as f64 / over));
        }
        let in_words = |time: f64| span(SignedDuration::from_secs_f64(time.round()));
        told += &format!(", {} so far", in_words(elapsed));
        let left = self.requests.saturating_sub(self.ended);
        if left > 0 && self.ended > 0 {
            let whole = over / f64::from(self.ended) * f64::from(self.requests);
            let to_go = (whole - elapsed).max(1.0);
            told += &format!(", about {} to go", in_words(to_go));
        }
        told.replace('\u{a0}', " ")
    }
}

/// Shows how far a run of so many requests has come, until `stop`.
pub(super) fn show(
    progress: &Arc<Progress>,
    requests: u32,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let progress = Arc::clone(progress);
    if std::io::stderr().is_terminal() {
        tokio::spawn(draw(progress, requests, stop))
    } else {
        tokio::spawn(
            async move { write(&progress, requests, stop, WRITTEN, std::io::stderr()).await },
        )
    }
}

/// Draws a bar, and takes it away at the end.
async fn draw(progress: Arc<Progress>, requests: u32, stop: CancellationToken) {
    let style = ProgressStyle::with_template("{bar:24} {wide_msg}");
    let style = style.expect("the template is well-formed");
    let bar = ProgressBar::with_draw_target(Some(requests.into()), ProgressDrawTarget::stderr())
        .with_style(style);
    let mut ticks = interval_at(Instant::now(), REDRAWN);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        bar.set_position(progress.ended().into());
        let stage = Stage::of(&progress, requests, Instant::now());
        bar.set_message(stage.map_or_else(
            || "getting ready: connections, model, warm-up".to_owned(),
            |stage| stage.told(),
        ));
    }
    bar.finish_and_clear();
}

/// Writes a line now and then, and one at the end.
async fn write(
    progress: &Progress,
    requests: u32,
    stop: CancellationToken,
    every: Duration,
    mut out: impl Write,
) {
    let mut tell = || {
        if let Some(stage) = Stage::of(progress, requests, Instant::now()) {
            // Who does not listen any more is no reason to give up the run.
            let _ = writeln!(out, "vllm-prober: {}", stage.told());
        }
    };
    let mut ticks = interval_at(Instant::now() + every, every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        tell();
    }
    tell();
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    fn stage(ended: u32, failed: u32, tokens: u64, over: u64, elapsed: u64) -> String {
        let stage = Stage {
            requests: 64,
            ended,
            failed,
            tokens,
            over: Duration::from_secs(over),
            elapsed: Duration::from_secs(elapsed),
        };
        stage.told()
    }

    #[test]
    fn a_stage_says_what_is_known_and_no_more() {
        assert_eq!(stage(0, 0, 0, 0, 3), "0 of 64 requests, 3 s so far");
        assert_eq!(
            stage(16, 0, 4_096, 8, 10),
            "16 of 64 requests, 2.000 requests/s, 512.0 tok/s, 10 s so far, about 22 s to go"
        );
        // The last one takes longer than those before it.
        assert!(stage(63, 0, 16_128, 32, 60).ends_with("60 s so far, about 1 s to go"));
        assert_eq!(
            stage(64, 64, 0, 200, 200),
            "64 of 64 requests, 64 failed, 0.320 requests/s, 3 min so far"
        );
    }

    #[tokio::test]
    async fn a_pipe_gets_a_line_now_and_then_and_one_at_the_end() {
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        let (mut early, mut out) = (Vec::new(), Vec::new());
        let every = Duration::from_millis(5);
        stop.cancel();
        write(&progress, 64, stop, every, &mut early).await;
        assert_eq!(early, b"", "nothing is told before the first request");

        progress.begin();
        let stop = CancellationToken::new();
        let run = async {
            sleep(20 * every).await;
            stop.cancel();
        };
        tokio::join!(run, write(&progress, 64, stop.clone(), every, &mut out));
        let told = String::from_utf8(out).unwrap();
        let mut lines = told.lines();
        assert!(lines.clone().count() > 2, "{told}");
        assert!(lines.all(|line| line == "vllm-prober: 0 of 64 requests, 0 s so far"));
    }
}
