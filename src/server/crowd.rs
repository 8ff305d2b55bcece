//! Who is connected, and who has to leave when there is no room for one more.
//!
//! A limit that turns newcomers away is one that a few idle sockets can fill. Here the newcomer gets in, and the
//! connection goes that has waited longest without a request: a scrape needs some milliseconds to be heard.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests that have been read so far.
    heard: u64,
    /// Those of them that are not answered to the end.
    open: usize,
    /// Those of the open ones in which the other side waits for us.
    ours: usize,
    stalled: bool,
    /// Since when we have waited for the other side: for a request, for the rest of one, or until it takes an answer.
    since: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(State {
            heard: 0,
            open: 0,
            ours: 0,
            stalled: false,
            since: Instant::now(),
        }))
    }
}

impl Activity {
    /// A request has been read. It is being answered until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let mut state = self.state();
        state.heard += 1;
        state.open += 1;
        state.ours += 1;
        drop(state);
        Answering {
            activity: Arc::clone(self),
            theirs: AtomicBool::new(false),
        }
    }

    pub(super) fn is_answering(&self) -> bool {
        self.state().open > 0
    }

    /// Since when all that is being answered has waited for the other side; `None` if nothing is, or some waits for us.
    pub(super) fn kept_waiting_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.open > 0 && state.ours == 0).then_some(state.since)
    }

    /// When the last answer had gone; `None` while there is one, and before the first.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.open == 0 && state.heard > 0).then_some(state.since)
    }

    /// How many requests have been read so far.
    pub(super) fn heard(&self) -> u64 {
        self.state().heard
    }

    /// Whether the other side does not take what it is sent.
    pub(super) fn set_stalled(&self, stalled: bool) {
        let mut state = self.state();
        if stalled && !state.stalled {
            state.since = Instant::now();
        }
        state.stalled = stalled;
    }

    /// How little is lost by closing it, and since when it has waited: the least first; `None` if it is at work.
    fn dispensability(&self) -> Option<(u8, Instant)> {
        let state = self.state();
        let how = match (state.open, state.heard) {
            (0, 0) => 0,
            (0, _) => 1,
            // It withholds the body of its request, or does not take its answer.
            _ if state.ours == 0 || state.stalled => 2,
            _ => return None,
        };
        Some((how, state.since))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered. It is our turn at first.
#[derive(Debug)]
pub(super) struct Answering {
    activity: Arc<Activity>,
    theirs: AtomicBool,
}

impl Answering {
    /// Nothing goes on before the other side has sent or taken something.
    pub(super) fn wait_for_them(&self) {
        if !self.theirs.swap(true, Ordering::Relaxed) {
            let mut state = self.activity.state();
            state.ours -= 1;
            state.since = Instant::now();
        }
    }

    /// The other side waits for us.
    pub(super) fn take_turn(&self) {
        if self.theirs.swap(false, Ordering::Relaxed) {
            self.activity.state().ours += 1;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        if !*self.theirs.get_mut() {
            state.ours -= 1;
        }
        state.open -= 1;
        state.since = Instant::now();
    }
}

/// All connections, in the order in which they came.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: usize,
    present: Mutex<BTreeMap<u64, Present>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Present {
    activity: Arc<Activity>,
    leave: CancellationToken,
}

impl Crowd {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            present: Mutex::default(),
            next: AtomicU64::default(),
        })
    }

    /// Lets a connection in, if need be for another; the flag says so. `None` when all are at work.
    pub(super) fn enter(self: &Arc<Self>) -> Option<(Place, bool)> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let full = present.len() >= self.limit;
        if full && !dismiss(&mut present) {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            id,
            activity: Arc::default(),
            leave: CancellationToken::new(),
            crowd: Arc::clone(self),
        };
        let entry = Present {
            activity: Arc::clone(&place.activity),
            leave: place.leave.clone(),
        };
        present.insert(id, entry);
        Some((place, full))
    }

    /// Makes one leave, so that what it held is free.
    pub(super) fn make_room(&self) {
        dismiss(&mut self.present.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn dismiss(present: &mut BTreeMap<u64, Present>) -> bool {
    let dispensable = |(id, present): (&u64, &Present)| {
        let (how, since) = present.activity.dispensability()?;
        Some((how, since, *id))
    };
    let Some((.., id)) = present.iter().filter_map(dispensable).min() else {
        return false;
    };
    if let Some(gone) = present.remove(&id) {
        gone.leave.cancel();
    }
    true
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    crowd: Arc<Crowd>,
    /// What the connection is doing.
    pub(super) activity: Arc<Activity>,
    /// Cancelled when it has to leave.
    pub(super) leave: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self
            .crowd
            .present
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        present.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newcomer_gets_in_and_the_least_useful_leaves() {
        let crowd = Crowd::new(4);
        let mut places: Vec<Place> = (0..4).map(|_| crowd.enter().unwrap().0).collect();
        // The first is at work, the second has been, the third and the fourth were never heard of.
        let at_work = places[0].activity.begin();
        drop(places[1].activity.begin());
        for leaving in [2, 3, 1] {
            let (newcomer, for_another) = crowd.enter().unwrap();
            assert!(for_another);
            let left: Vec<bool> = places
                .iter()
                .map(|place| place.leave.is_cancelled())
                .collect();
            assert!(left[leaving], "{leaving}: {left:?}");
            // It is at work from now on, so that it does not leave itself.
            std::mem::forget(newcomer.activity.begin());
            places.push(newcomer);
        }
        assert!(!places[0].leave.is_cancelled());
        assert!(crowd.enter().is_none(), "all are at work");
        places[0].activity.set_stalled(true);
        assert!(crowd.enter().is_some(), "one is not read from");
        assert!(places[0].leave.is_cancelled());
        drop(at_work);
    }

    #[test]
    fn whoever_keeps_us_waiting_is_not_at_work_and_the_longest_wait_ends_first() {
        let crowd = Crowd::new(3);
        let places: Vec<Place> = (0..3).map(|_| crowd.enter().unwrap().0).collect();
        let requests: Vec<Answering> = places.iter().map(|place| place.activity.begin()).collect();
        assert!(crowd.enter().is_none(), "all are at work");
        // The second withholds its body, later the first does; the third sends its own.
        for at in [1, 0, 2] {
            requests[at].wait_for_them();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        requests[2].take_turn();
        for leaving in [1, 0] {
            let (newcomer, _) = crowd.enter().unwrap();
            std::mem::forget(newcomer.activity.begin());
            std::mem::forget(newcomer);
            assert!(places[leaving].leave.is_cancelled(), "{leaving}");
        }
        assert!(crowd.enter().is_none(), "the third is at work again");
    }

    #[test]
    fn turns_are_counted_for_each_request() {
        let activity = Arc::<Activity>::default();
        assert_eq!(activity.idle_since(), None);
        let (first, second) = (activity.begin(), activity.begin());
        first.wait_for_them();
        first.wait_for_them();
        assert_eq!(activity.kept_waiting_since(), None, "the second is ours");
        second.wait_for_them();
        assert!(activity.kept_waiting_since().is_some());
        drop(second);
        assert!(activity.kept_waiting_since().is_some());
        first.take_turn();
        assert_eq!(activity.kept_waiting_since(), None);
        drop(first);
        assert!(!activity.is_answering() && activity.idle_since().is_some());
    }

    #[test]
    fn whoever_leaves_makes_room() {
        let crowd = Crowd::new(1);
        for _ in 0..3 {
            let (place, for_another) = crowd.enter().unwrap();
            assert!(!for_another);
            drop(place);
        }
    }
}
