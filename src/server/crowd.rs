//! Who is connected, and who has to leave when there is no room for one more.
//!
//! A limit that turns newcomers away is one that a few idle sockets can fill. Here the newcomer gets in, and the
//! connection goes that has waited longest without a request: a scrape needs some milliseconds to be heard.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// What a connection is doing.
#[derive(Debug, Default)]
pub(super) struct Activity {
    answering: AtomicUsize,
    heard: AtomicU64,
    stalled: AtomicBool,
}

impl Activity {
    /// A request has been read. It is being answered until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        self.heard.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    /// How many requests have been read so far.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether the other side does not take what it is sent.
    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// How little is lost by closing it: the least first; `None` if it is at work.
    fn dispensability(&self) -> Option<u8> {
        match (self.is_answering(), self.heard()) {
            (false, 0) => Some(0),
            (false, _) => Some(1),
            (true, _) if self.stalled.load(Ordering::Relaxed) => Some(2),
            (true, _) => None,
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
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
        let how = present.activity.dispensability()?;
        Some((how, *id))
    };
    let Some((_, id)) = present.iter().filter_map(dispensable).min() else {
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
    fn whoever_leaves_makes_room() {
        let crowd = Crowd::new(1);
        for _ in 0..3 {
            let (place, for_another) = crowd.enter().unwrap();
            assert!(!for_another);
            drop(place);
        }
    }
}
