//! Looks at a server before a run, and holds the run back where it would be in the way.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::watch::Watch;
use crate::guard::{Guards, Hold, has_worked};

/// How far apart the two looks are that tell a busy server from one whose gauges were left standing.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Why a run is not to start now. A server whose metrics cannot be read holds nothing back, and a light run
/// waits for nobody.
pub(super) async fn reason_to_wait(watch: &Watch, guards: &Guards, is_light: bool) -> Option<Hold> {
    let look = async || watch.read().await?.ok();
    let first = look().await?;
    if first.is_asleep() {
        return Some(Hold::Asleep);
    }
    if is_light {
        return None;
    }
    guards.hold(&first)?;
    sleep(SECOND_LOOK).await;
    let second = look().await?;
    guards.hold(&second).filter(|_| has_worked(&first, &second))
}
