//! The requests of a run below each other over its time: how long each waited for its first token, and how long it
//! was answered.

use maud::{Markup, html};

use crate::report::RequestJson;
use crate::server::pages::quantity::{count, round_seconds, seconds};

const WIDTH: f64 = 940.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 22.0;
const ROW: f64 = 9.0;

/// Ticks of the time axis at most.
const MOST_TICKS: f64 = 8.0;

/// Draws `records`, of which there is at least one.
pub(super) fn svg(records: &[RequestJson]) -> Markup {
    let end = records
        .iter()
        .map(|record| record.ended)
        .fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / end.max(f64::MIN_POSITIVE);
    let x = |at: f64| LEFT + at * scale;
    let foot = TOP + ROW * records.len() as f64;
    let failed = records
        .iter()
        .filter(|record| record.failure_reason.is_some())
        .count();
    let told = format!(
        "{} over {}: {} completed and {failed} failed. The table below has the same.",
        count(records.len(), "request", "requests"),
        seconds(end),
        records.len() - failed,
    );
    html! {
        p.legend {
            "One line for each request, from its sending to its end. "
            span { "▒ until the first token" } " "
            span { "█ until the last token" } " "
            span { "× failed" }
        }
        div.wide tabindex="0" role="region" aria-label="Waterfall of the requests" {
            svg.waterfall role="img" aria-labelledby="waterfall-title waterfall-told"
                viewBox=(format!("0 0 {WIDTH} {:.0}", foot + 6.0)) {
                title id="waterfall-title" { "The requests of the run over time" }
                desc id="waterfall-told" { (told) }
                @for tick in ticks(end) {
                    line.tick x1=(fixed(x(tick))) x2=(fixed(x(tick))) y1=(TOP) y2=(fixed(foot)) {}
                    text x=(fixed(x(tick))) y="14" text-anchor="middle" { (axis(tick)) }
                }
                @for (place, record) in records.iter().enumerate() {
                    (bar(place, record, x, scale))
                }
            }
        }
    }
}

fn bar(place: usize, record: &RequestJson, x: impl Fn(f64) -> f64, scale: f64) -> Markup {
    let y = TOP + ROW * place as f64 + 1.0;
    let height = fixed(ROW - 2.0);
    let last = record.latency.unwrap_or(record.ended - record.sent);
    let first = record.ttft;
    // An answer that was not streamed has no first token: all of it is waiting.
    let waited = first.unwrap_or(last);
    let width = |length: f64| fixed((length * scale).max(0.6));
    let number = place + 1;
    html! {
        g class="request" {
            title {
                "request " (number) ", sent at " (seconds(record.sent))
                @if let Some(first) = first { ", first token after " (seconds(first)) }
                @match &record.failure_reason {
                    Some(reason) => { ", failed after " (seconds(last)) ": " (reason.replace('_', " ")) },
                    None => { ", last token after " (seconds(last)) },
                }
            }
            @if place.is_multiple_of(8) { text x=(LEFT - 6.0) y=(fixed(y + 7.0)) text-anchor="end" { (number) } }
            @if record.failure_reason.is_some() {
                rect.failed x=(fixed(x(record.sent))) y=(fixed(y)) width=(width(last)) height=(height) {}
                path.cross d=(format!("M{:.1} {:.1}l6 6m0 -6l-6 6", x(record.sent + last) - 3.0, y + 0.5)) {}
            } @else {
                rect.waiting x=(fixed(x(record.sent))) y=(fixed(y)) width=(width(waited)) height=(height) {}
                @if let Some(first) = first {
                    rect.answered x=(fixed(x(record.sent + first))) y=(fixed(y)) width=(width(last - first)) height=(height) {}
                }
            }
        }
    }
}

/// Round times from 0 to `end`.
fn ticks(end: f64) -> Vec<f64> {
    let step = round_step(end / MOST_TICKS);
    let mut ticks = Vec::new();
    while (ticks.len() as f64) * step <= end && ticks.len() <= MOST_TICKS as usize {
        ticks.push(ticks.len() as f64 * step);
    }
    ticks
}

/// The next of 1, 2 and 5 times a power of ten.
pub(super) fn round_step(least: f64) -> f64 {
    let least = least.max(1e-6);
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = steps
        .iter()
        .find(|step| **step * power >= least * 0.999_999);
    found.unwrap_or(&10.0) * power
}

fn axis(at: f64) -> String {
    if at == 0.0 {
        "0".to_owned()
    } else {
        round_seconds(at)
    }
}

fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(27.0), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        assert_eq!(ticks(0.8).len(), 9);
        assert_eq!(ticks(0.0), [0.0]);
        assert_eq!(round_step(0.3), 0.5);
    }

    #[test]
    fn a_request_has_its_place_in_time() {
        let record = |sent: f64, ttft, failure: Option<&str>| RequestJson {
            sent,
            ended: sent + 2.0,
            ttft,
            latency: failure.is_none().then_some(2.0),
            prompt_tokens: None,
            completion_tokens: None,
            finish_reason: None,
            failure_reason: failure.map(str::to_owned),
            failure: None,
        };
        let drawn = svg(&[
            record(0.0, Some(0.5), None),
            record(2.0, None, None),
            record(6.92, None, Some("connect")),
        ])
        .into_string();
        // 892 pixels are 8.92 seconds.
        assert!(
            drawn.contains("<rect class=\"waiting\" x=\"34.0\" y=\"23.0\" width=\"50.0\""),
            "{drawn}"
        );
        assert!(
            drawn.contains("<rect class=\"answered\" x=\"84.0\" y=\"23.0\" width=\"150.0\""),
            "{drawn}"
        );
        assert!(
            drawn.contains("<rect class=\"waiting\" x=\"234.0\" y=\"32.0\" width=\"200.0\""),
            "{drawn}"
        );
        assert!(
            drawn.contains("<rect class=\"failed\" x=\"726.0\"")
                && drawn.contains("2 completed and 1 failed"),
            "{drawn}"
        );
    }
}
