//! Looks at a server before a run, and holds the run back where it would be in the way.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::watch::{Unread, Watch};
use crate::guard::{Guards, Hold, has_worked};

/// How far apart the two looks are that tell a busy server from one whose gauges were left standing.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Why a run is not to start now. A server whose metrics cannot be read holds nothing back, and a light run
/// waits for nobody. A page that does not come is not waited for again in the run.
pub(super) async fn reason_to_wait(
    watch: &mut Watch,
    guards: &Guards,
    is_light: bool,
) -> Option<Hold> {
    let first = match watch.read().await {
        Ok(reading) => reading,
        Err(unread) => {
            if matches!(unread, Unread::Late) {
                watch.ignore_metrics(unread.to_string());
            }
            return None;
        }
    };
    if first.is_asleep() {
        return Some(Hold::Asleep);
    }
    if is_light {
        return None;
    }
    guards.hold(&first)?;
    sleep(SECOND_LOOK).await;
    let second = watch.read().await.ok()?;
    guards.hold(&second).filter(|_| has_worked(&first, &second))
}
