//! The judge, case by case: what it compares with what, when a verdict begins, and when it ends.
