//! How many requests of a run took how long.

use maud::{Markup, html};

use super::waterfall::round_step;
use crate::report::RequestJson;
use crate::server::pages::quantity::{count, seconds};

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 200.0;
const FOOT: f64 = 26.0;
const TOP: f64 = 18.0;

/// Bars at most.
const MOST_BARS: f64 = 24.0;

/// A bar: from when to when, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    from: f64,
    to: f64,
    requests: usize,
}

/// Draws the latencies of the completed ones of `records`.
pub(super) fn of(records: &[RequestJson]) -> Markup {
    let latencies: Vec<f64> = records.iter().filter_map(|record| record.latency).collect();
    let bars = bars(&latencies);
    let most = bars.iter().map(|bar| bar.requests).max().unwrap_or(0);
    let step = WIDTH / bars.len().max(1) as f64;
    let room = HEIGHT - FOOT - TOP;
    // Each fourth name at most, and never one over the other.
    let named = bars.len().div_ceil(6).max(1);
    html! {
        @if !bars.is_empty() {
            h2 { "Latency of the requests" }
            div.wide tabindex="0" role="region" aria-label="Histogram of the latency" {
                svg.histogram role="img" aria-labelledby="histogram-title histogram-told"
                    viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) {
                    title id="histogram-title" { "How many requests took how long" }
                    desc id="histogram-told" {
                        @for bar in bars.iter().filter(|bar| bar.requests > 0) {
                            (count(bar.requests, "request", "requests")) " from " (seconds(bar.from)) " to " (seconds(bar.to)) ". "
                        }
                    }
                    @for (place, bar) in bars.iter().enumerate() {
                        @let height = room * bar.requests as f64 / most.max(1) as f64;
                        @let (left, top) = (step * place as f64, HEIGHT - FOOT - height);
                        g {
                            title { (count(bar.requests, "request", "requests")) " from " (seconds(bar.from)) " to " (seconds(bar.to)) }
                            rect x=(fixed(left + 1.0)) y=(fixed(top)) width=(fixed(step - 2.0)) height=(fixed(height)) {}
                            @if bar.requests > 0 {
                                text x=(fixed(left + step / 2.0)) y=(fixed(top - 4.0)) text-anchor="middle" { (bar.requests) }
                            }
                        }
                        @if place.is_multiple_of(named) && left < WIDTH - 60.0 {
                            line.tick x1=(fixed(left + 0.5)) x2=(fixed(left + 0.5)) y1=(HEIGHT - FOOT) y2=(HEIGHT - FOOT + 5.0) {}
                            text x=(fixed(left + 2.0)) y=(HEIGHT - 8.0) { (seconds(bar.from)) }
                        }
                    }
                    line.tick x1="0" x2=(WIDTH) y1=(HEIGHT - FOOT) y2=(HEIGHT - FOOT) {}
                }
            }
        }
    }
}

/// Bars of one round width, from the least to the most.
fn bars(latencies: &[f64]) -> Vec<Bar> {
    let least = latencies.iter().copied().fold(f64::INFINITY, f64::min);
    let most = latencies.iter().copied().fold(0.0, f64::max);
    if !least.is_finite() {
        return Vec::new();
    }
    // Latencies that hardly differ are one bar and its neighbours, not a mountain range.
    let step = round_step(((most - least) / MOST_BARS * 2.0).max(most * 0.005));
    let first = (least / step).floor();
    let number = ((most / step).floor() - first) as usize + 1;
    let mut bars: Vec<Bar> = (0..number)
        .map(|place| Bar {
            from: (first + place as f64) * step,
            to: (first + place as f64 + 1.0) * step,
            requests: 0,
        })
        .collect();
    for latency in latencies {
        let place = ((latency / step).floor() - first) as usize;
        if let Some(bar) = bars.get_mut(place) {
            bar.requests += 1;
        }
    }
    bars
}

fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_in_one_bar() {
        let latencies: Vec<f64> = (0..64).map(|n| 5.0 + f64::from(n) * 0.05).collect();
        let bars = bars(&latencies);
        assert!(bars.len() > 3 && bars.len() <= 24, "{bars:?}");
        assert_eq!(bars.iter().map(|bar| bar.requests).sum::<usize>(), 64);
        assert!(
            bars[0].from <= 5.0 && bars[bars.len() - 1].to > 8.15,
            "{bars:?}"
        );
        assert!(
            bars.windows(2)
                .all(|pair| (pair[0].to - pair[1].from).abs() < 1e-9)
        );
    }

    #[test]
    fn latencies_that_do_not_differ_make_one_bar() {
        assert_eq!(bars(&[2.0; 16]).len(), 1);
        assert_eq!(bars(&[]), []);
    }
}
