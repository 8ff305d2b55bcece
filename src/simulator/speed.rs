//! How much slower or faster than its profile an engine is at a moment: the ramp after idleness, and
//! a slow wander as real deployments show from run to run.

use std::f64::consts::TAU;
use std::time::Duration;

use super::profile::{Profile, RAMP_TIME_CONSTANT};

/// Standard deviation of the wander, as a share of a step's time.
const WANDER: f64 = 0.002;
/// The wander is cut here, so that no seed can leave the calibration's 1 %.
const WANDER_LIMIT: f64 = 0.005;
/// The wander forgets where it was in about this time: steps of one run share it, runs do not.
const WANDER_TIME_CONSTANT: Duration = Duration::from_secs(120);

/// The factor on a step's time.
#[derive(Clone, Debug)]
pub(super) struct Speed {
    random: Random,
    /// The wander as a share, before it is cut, and when it was there.
    level: f64,
    at: Duration,
    /// When the engine last went from idle to busy with its clocks down.
    woken: Duration,
    ramp_depth: f64,
    ramp_after: Duration,
}

impl Speed {
    /// An engine that has been idle until its first step.
    pub(super) fn new(profile: &Profile, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let level = WANDER * random.gaussian();
        Self {
            random,
            level,
            at: Duration::ZERO,
            woken: Duration::ZERO,
            ramp_depth: profile.ramp_seconds / RAMP_TIME_CONSTANT.as_secs_f64(),
            ramp_after: profile.ramp_after,
        }
    }

    /// The factor for a step that begins at `at`, after the engine had nothing to do since `idle_since`
    /// (`None` before its first step). Calls must not go back in time.
    pub(super) fn factor(&mut self, at: Duration, idle_since: Option<Duration>) -> f64 {
        if idle_since.is_none_or(|since| at.saturating_sub(since) >= self.ramp_after) {
            self.woken = at;
        }
        let busy = at.saturating_sub(self.woken).as_secs_f64();
        let ramp = self.ramp_depth * (-busy / RAMP_TIME_CONSTANT.as_secs_f64()).exp();
        (1.0 + ramp) * (1.0 + self.wander(at).clamp(-WANDER_LIMIT, WANDER_LIMIT))
    }

    /// An Ornstein-Uhlenbeck process, stepped exactly, so that steps of any length give the same law.
    fn wander(&mut self, at: Duration) -> f64 {
        let elapsed = at.saturating_sub(self.at).as_secs_f64();
        let kept = (-elapsed / WANDER_TIME_CONSTANT.as_secs_f64()).exp();
        self.level =
            self.level * kept + WANDER * (1.0 - kept * kept).sqrt() * self.random.gaussian();
        self.at = at;
        self.level
    }
}

/// The generator named `SplitMix64`: small, seeded, and good enough for a wander and for ids.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn gaussian(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(seed: u64) -> Speed {
        Speed::new(&Profile::named("fp8").unwrap(), seed)
    }

    #[test]
    fn the_ramp_costs_what_the_profile_says_and_comes_back_after_idleness_only() {
        let profile = Profile {
            ramp_seconds: 0.2,
            ..Profile::named("fp8").unwrap()
        };
        let mut speed = Speed::new(&profile, 1);
        speed.ramp_after = Duration::from_secs(1);
        let mut lost = |from: u64, idle: Option<Duration>| {
            let step = 0.04;
            let mut at = Duration::from_secs(from);
            let mut idle = idle;
            let mut sum = 0.0;
            for _ in 0..250 {
                // The wander has no bias over a run of many seeds; here it is taken out at its level.
                let factor = speed.factor(at, idle) / (1.0 + speed.level.clamp(-0.005, 0.005));
                sum += step * (factor - 1.0);
                at += Duration::from_secs_f64(step * factor);
                idle = Some(at);
            }
            sum
        };
        let first = lost(0, None);
        assert!((0.18..0.21).contains(&first), "{first}");
        let at_once = lost(11, Some(Duration::from_millis(10_900)));
        assert!(at_once < 0.01, "{at_once}");
        let after_a_pause = lost(60, Some(Duration::from_secs(25)));
        assert!((0.18..0.21).contains(&after_a_pause), "{after_a_pause}");
    }

    #[test]
    fn the_wander_is_small_slow_and_seeded() {
        let mut speed = speed(7);
        let levels: Vec<f64> = (0..20_000)
            .map(|i| speed.wander(Duration::from_secs(10 * i)))
            .collect();
        let n = levels.len() as f64;
        let mean = levels.iter().sum::<f64>() / n;
        let deviation = (levels.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 0.000_3, "{mean}");
        assert!((0.001_8..0.002_2).contains(&deviation), "{deviation}");

        let step = Duration::from_millis(40);
        let start = Duration::from_secs(200_000);
        let before = speed.wander(start);
        let after = speed.wander(start + step);
        assert!((after - before).abs() < 0.000_3, "a step moves it little");
        assert_ne!(Random::new(1).next(), Random::new(2).next());
    }
}
