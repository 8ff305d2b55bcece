//! What the fleet says of one deployment: of its probes the one that matters, with what is known around it.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use super::selection::{Group, Order, Selection};
use crate::board::{DeploymentStatus, ProbeStatus, RecentFigures, Snapshot};
use crate::condition::DeploymentState;
use crate::environment::EnvironmentField;
use crate::server::pages::finding::{Finding, Stand};

/// One deployment.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) probe: &'a ProbeStatus,
    /// Whether it has several that are judged, so that one has to be told from the others.
    pub(super) has_several: bool,
    pub(super) state: DeploymentState,
    pub(super) status: Option<&'a DeploymentStatus>,
    pub(super) finding: Finding<'a>,
    /// Of the last run; absent when it does not count or is too old.
    pub(super) figures: Option<RecentFigures>,
    pub(super) is_news: bool,
}

impl<'a> Row<'a> {
    /// The deployment of `probes`, which are all of its probes, as it is at `now`.
    pub(super) fn of(
        snapshot: &'a Snapshot,
        probes: &'a [Arc<ProbeStatus>],
        now: Timestamp,
    ) -> Option<Self> {
        let measured = || probes.iter().filter(|probe| !probe.workload.is_light());
        let worst = measured().min_by_key(|probe| match Finding::of(probe).stand {
            Stand::Slower => 0,
            Stand::Faster => 1,
            _ => 2,
        });
        let probe = worst.or(probes.first())?;
        let finding = Finding::of(probe);
        let is_current = probe.current(snapshot.stale_after, now).is_some();
        Some(Self {
            probe,
            has_several: measured().count() > 1,
            state: snapshot.state(probes, now),
            status: snapshot
                .deployments
                .get(&probe.deployment.name)
                .map(AsRef::as_ref),
            finding,
            figures: figures(probe).filter(|_| is_current),
            is_news: finding.is_news(now),
        })
    }

    pub(super) fn name(&self) -> &'a str {
        self.probe.deployment.name.as_str()
    }

    /// A field of its environment.
    pub(super) fn environment(&self, field: EnvironmentField) -> Option<&'a str> {
        let generation = self.status?.generation.as_ref()?;
        generation.environment.get(field)
    }

    /// The version of vLLM, as far as anything tells it.
    pub(super) fn version(&self) -> Option<&'a str> {
        self.environment(EnvironmentField::VllmVersion)
            .or_else(|| self.probe.server_version())
    }

    /// Whether it is of a group. It may be of several.
    pub(super) fn is_of(&self, group: Group) -> bool {
        match group {
            Group::Slower => self.finding.stand == Stand::Slower,
            Group::Faster => self.finding.stand == Stand::Faster,
            Group::NotServing => {
                matches!(self.state, DeploymentState::Down | DeploymentState::Wedged)
            }
            Group::NoFigures => self.figures.is_none() && !self.is_of(Group::NotServing),
            Group::Undecided => {
                let stand = self.finding.stand;
                self.figures.is_some()
                    && matches!(stand, Stand::TooFew | Stand::Reading | Stand::Inconclusive)
                    && !self.is_of(Group::NotServing)
            }
            Group::Fine => Group::ALL
                .iter()
                .all(|other| *other == Group::Fine || !self.is_of(*other)),
        }
    }

    /// Whether it is selected.
    pub(super) fn matches(&self, selection: &Selection) -> bool {
        let deployment = &self.probe.deployment;
        let is_of_family = match &selection.family {
            Some(family) => deployment.family.as_ref() == Some(family),
            None => true,
        };
        is_of_family
            && selection.state.is_none_or(|state| state == self.state)
            && selection.show.is_none_or(|group| self.is_of(group))
            && (selection.text.is_empty() || self.contains(&selection.text))
    }

    /// Whether any text about it contains `text`, which is in lower case.
    fn contains(&self, text: &str) -> bool {
        let deployment = &self.probe.deployment;
        let known = [
            Some(self.name()),
            deployment.family.as_deref(),
            deployment.precision.as_deref(),
            self.probe.model(),
            self.version(),
            self.environment(EnvironmentField::Driver),
            self.environment(EnvironmentField::Gpu),
        ];
        let labels = deployment.labels.values().map(String::as_str);
        known
            .into_iter()
            .flatten()
            .chain(labels)
            .any(|known| known.to_lowercase().contains(text))
    }

    /// What wants attention has the lower rank.
    pub(super) fn rank(&self) -> u8 {
        match self {
            _ if self.is_of(Group::NotServing) || self.is_news => 0,
            _ if self.state == DeploymentState::Saturated => 1,
            _ if self.probe.last.is_some() && self.figures.is_none() => 1,
            _ if self.is_of(Group::Slower) => 2,
            _ if self.figures.is_none() => 3,
            _ if self.is_of(Group::Faster) => 4,
            _ if self.is_of(Group::Undecided) => 5,
            _ => 6,
        }
    }

    /// The order of two rows; what is not known comes last, whichever way it goes.
    pub(super) fn compare(&self, other: &Self, selection: &Selection) -> Ordering {
        let turn = |ordering: Ordering| {
            if selection.is_descending {
                ordering.reverse()
            } else {
                ordering
            }
        };
        let by = |of: &dyn Fn(&Self) -> Option<f64>| match (of(self), of(other)) {
            (Some(a), Some(b)) => turn(a.total_cmp(&b)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        let figure = |of: fn(&RecentFigures) -> Option<f64>| {
            by(&move |row: &Self| row.figures.as_ref().and_then(of))
        };
        let seconds = |at: Timestamp| at.as_second() as f64;
        match selection.order {
            Order::Problems => turn(self.rank().cmp(&other.rank())),
            Order::Name => turn(self.name().cmp(other.name())),
            Order::State => turn(self.state.cmp(&other.state)),
            Order::Ratio => by(&|row| Some(row.finding.comparison?.ratio)),
            Order::Decode => figure(|figures| Some(figures.decode_tps)),
            Order::Latency => figure(|figures| Some(figures.p50)),
            Order::Ttft => figure(|figures| figures.ttft_p50),
            Order::Version => match (self.version(), other.version()) {
                (Some(a), Some(b)) => turn(a.cmp(b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
            // The youngest first.
            Order::Age => by(&|row| Some(-seconds(row.probe.last.as_ref()?.ended_at))),
            Order::Next => by(&|row| row.probe.next_run.map(seconds)),
        }
    }
}

fn figures(probe: &ProbeStatus) -> Option<RecentFigures> {
    let summary = probe.last.as_ref()?.outcome.summary()?;
    summary.figures.as_ref().map(RecentFigures::from)
}
