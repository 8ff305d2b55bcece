//! A panic of a run: whichever of its tasks it comes from, it is the outcome of that run and of no other.

use std::any::Any;
use std::panic::resume_unwind;

use tokio::task::JoinError;

use super::RunError;
use crate::client::watch::Watch;
use crate::panic::said;

impl RunError {
    /// What a caught panic makes of a run.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::Panicked(said(payload))
    }

    /// What the end of a task makes of its run, when nothing came of it.
    pub(super) fn ended(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::panicked(&*payload),
            Err(_cut) => Self::Cut,
        }
    }

    /// The same error, in whose words there is nothing that lets us in: a panic may show any value.
    pub(super) fn masked(self, watch: &Watch) -> Self {
        match self {
            Self::Panicked(text) => Self::Panicked(watch.masked(text)),
            other => other,
        }
    }
}

/// What a task of a run came to, nothing if it was cut. Its panic goes on as one of whoever waits for it.
pub(super) fn joined<T: Default>(ended: Result<T, JoinError>) -> T {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(payload)) => resume_unwind(payload),
        Err(Err(_cut)) => T::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[tokio::test]
    async fn the_panic_of_a_task_is_that_of_its_run_and_a_cut_one_is_nothing() {
        let cut = tokio::spawn(std::future::pending::<u32>());
        cut.abort();
        assert_eq!(joined(cut.await), 0);
        assert_eq!(joined(tokio::spawn(async { 7 }).await), 7);
        let panicked = tokio::spawn(async { panic!("the task's own words") }).await;
        let payload = catch_unwind(AssertUnwindSafe(|| joined::<()>(panicked))).unwrap_err();
        let told = RunError::panicked(&*payload).to_string();
        assert_eq!(told, "it panicked: the task's own words");
        let panicked = tokio::spawn(async { panic!("once more") }).await;
        let told = RunError::ended(panicked.unwrap_err()).to_string();
        assert_eq!(told, "it panicked: once more");
    }
}
