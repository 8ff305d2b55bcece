//! A panic of a run: whichever of its tasks it comes from, it is the outcome of that run and of no other.

use std::any::Any;
use std::panic::resume_unwind;

use tokio::task::JoinError;

use super::RunError;
use crate::client::watch::Watch;
use crate::measurement::in_a_line;

impl RunError {
    /// What a caught panic makes of a run.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self::Panicked(in_a_line(text.unwrap_or("it says nothing in words")))
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

    #[test]
    fn what_a_panic_says_is_shown_on_one_line() {
        for (panic, said) in [
            (
                catch_unwind(|| panic!("a plain text")),
                "it panicked: a plain text",
            ),
            (
                catch_unwind(|| panic!("line {}\n\u{1b}[31m", 2)),
                "it panicked: line 2\\n\\u{1b}[31m",
            ),
            (
                catch_unwind(|| std::panic::panic_any(7)),
                "it panicked: it says nothing in words",
            ),
        ] {
            let error = RunError::panicked(&*panic.unwrap_err());
            assert_eq!(error.to_string(), said);
        }
        let long = catch_unwind(|| panic!("{}", "x".repeat(10_000))).unwrap_err();
        assert!(RunError::panicked(&*long).to_string().chars().count() < 400);
    }

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
