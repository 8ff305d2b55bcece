//! What a panic says, for whoever has caught it and goes on.

use std::any::Any;

use crate::measurement::in_a_line;

/// The words of a panic, on one line and cut where they are long.
pub(crate) fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    in_a_line(text.unwrap_or("it says nothing in words"))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_a_panic_says_is_shown_on_one_line() {
        for (panic, words) in [
            (catch_unwind(|| panic!("a plain text")), "a plain text"),
            (
                catch_unwind(|| panic!("line {}\n\u{1b}[31m", 2)),
                "line 2\\n\\u{1b}[31m",
            ),
            (
                catch_unwind(|| std::panic::panic_any(7)),
                "it says nothing in words",
            ),
        ] {
            assert_eq!(said(&*panic.unwrap_err()), words);
        }
        let long = catch_unwind(|| panic!("{}", "x".repeat(10_000))).unwrap_err();
        assert_eq!(said(&*long).chars().count(), 300);
    }
}
