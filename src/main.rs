//! The command line of the prober.

fn main() {}
