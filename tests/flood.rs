//! A server that never stops talking fails its requests by a bound, and fills no memory meanwhile.
//!
//! One test, since what it watches is the memory of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use vllm_prober::measurement::FailureReason;
use vllm_prober::workload::Workload;

#[path = "common/replay.rs"]
mod replay;
#[path = "common/scripted.rs"]
mod scripted;

use replay::{endpoint, measure, workload};
use scripted::{Scripted, Wire};

/// By how much the process may grow over a run of four requests at once.
const BOUND: u64 = 64 << 20;

struct Flood {
    what: &'static str,
    reason: FailureReason,
    workload: fn(&mut Workload),
    script: fn(&mut Wire) -> io::Result<()>,
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";

fn for_ever(wire: &mut Wire, bytes: &str) -> io::Result<()> {
    let many = bytes.repeat((64 << 10) / bytes.len() + 1);
    loop {
        wire.say(&many)?;
    }
}

/// About 100 MB of zeros as gzip has them in 600 KB: one literal, and then a match of 258 bytes over and over.
fn gzip_bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut word, mut filled) = (0_u32, 0);
    // Codes go in from their highest bit, as deflate has it.
    let mut push = |code: u32, length: u32| {
        for bit in (0..length).rev() {
            word |= (code >> bit & 1) << filled;
            filled += 1;
            if filled == 8 {
                bytes.push(word as u8);
                (word, filled) = (0, 0);
            }
        }
    };
    // The last block, with fixed codes; the literal 0.
    push(0b1, 1);
    push(0b10, 2);
    push(0b0011_0000, 8);
    for _ in 0..390_000 {
        push(0b1100_0101, 8);
        push(0, 5);
    }
    push(0, 7 + 8);
    bytes
}

/// An answer of `kind` that is packed, though the request forbade it.
fn packed(wire: &mut Wire, kind: &str) -> io::Result<()> {
    let bomb = gzip_bomb();
    wire.say(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    ))?;
    wire.say(bomb)
}

const FLOODS: &[Flood] = &[
    Flood {
        what: "words without end, far beyond those asked for",
        reason: FailureReason::TooLarge,
        workload: |_| {},
        script: |wire| {
            wire.say(EVENTS)?;
            for_ever(
                wire,
                "data:{\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n",
            )
        },
    },
    Flood {
        what: "one line without end",
        reason: FailureReason::TooLarge,
        workload: |_| {},
        script: |wire| {
            wire.say(EVENTS)?;
            for_ever(wire, "data: x")
        },
    },
    // What is packed is not unpacked: it holds no event, and is no JSON.
    Flood {
        what: "a packed stream that unpacks without end",
        reason: FailureReason::BadSse,
        workload: |_| {},
        script: |wire| packed(wire, "text/event-stream"),
    },
    Flood {
        what: "a packed answer that unpacks without end",
        reason: FailureReason::BadJson,
        workload: |workload| workload.stream = false,
        script: |wire| packed(wire, "application/json"),
    },
    Flood {
        what: "tokens without end",
        reason: FailureReason::TooLarge,
        workload: |_| {},
        script: |wire| {
            wire.say(EVENTS)?;
            for_ever(
                wire,
                "data:{\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n",
            )
        },
    },
    Flood {
        what: "a whole answer without end",
        reason: FailureReason::TooLarge,
        workload: |workload| workload.stream = false,
        script: |wire| {
            wire.say(JSON)?;
            for_ever(wire, "        ")
        },
    },
    Flood {
        what: "comments without end",
        reason: FailureReason::TooLarge,
        workload: |workload| workload.limits.body_bytes = 4 << 20,
        script: |wire| {
            wire.say(EVENTS)?;
            for_ever(
                wire,
                ": keep-alive, please, as the answer will not take much longer now\n\n",
            )
        },
    },
    Flood {
        what: "one event without end",
        reason: FailureReason::TooLarge,
        workload: |_| {},
        script: |wire| {
            wire.say(EVENTS)?;
            for_ever(wire, "data: x\n")
        },
    },
    Flood {
        what: "headers without end",
        reason: FailureReason::BadHttp,
        workload: |_| {},
        script: |wire| {
            wire.say("HTTP/1.1 200 OK\r\n")?;
            for_ever(wire, "x-header: y\r\n")
        },
    },
    Flood {
        what: "one header without end",
        reason: FailureReason::BadHttp,
        workload: |_| {},
        script: |wire| {
            wire.say("HTTP/1.1 200 OK\r\nx-header: ")?;
            for_ever(wire, "y")
        },
    },
    Flood {
        what: "announcements of an answer without end",
        reason: FailureReason::TimeoutFirstToken,
        workload: |workload| workload.limits.first_token = Duration::from_millis(300),
        script: |wire| wire.trickle(Duration::from_millis(1), "HTTP/1.1 100 Continue\r\n\r\n"),
    },
    Flood {
        what: "an error page without end",
        reason: FailureReason::Http5xx,
        workload: |_| {},
        script: |wire| {
            wire.say("HTTP/1.1 500 Internal Server Error\r\n\r\n")?;
            for_ever(wire, "oops ")
        },
    },
];

#[test]
fn a_flood_is_ended_by_a_bound_and_memory_stays_flat() {
    // What the first run takes for good, such as the allocator's arenas, is no growth.
    let calm = Scripted::start(|asked, wire| wire.answer(asked));
    measure(endpoint(&calm.base_url()), workload(4, 16)).unwrap();
    for flood in FLOODS {
        let server = Scripted::start(|_, wire| (flood.script)(wire));
        let mut workload = workload(4, 4);
        (flood.workload)(&mut workload);
        let (run, growth) = watched(|| measure(endpoint(&server.base_url()), workload).unwrap());
        println!(
            "{:<40} {:>6.1} MiB",
            flood.what,
            growth as f64 / f64::from(1 << 20)
        );
        assert_eq!(run.records.len(), 4);
        for asked in server.asked() {
            assert_eq!(asked.header("accept-encoding"), Some("identity"));
        }
        for record in &run.records {
            let error = record.outcome.as_ref().unwrap_err();
            assert_eq!(error.reason, flood.reason, "{}: {error}", flood.what);
        }
        assert!(growth < BOUND, "{}: grew by {growth} bytes", flood.what);
        assert!(
            server.all_closed_within(Duration::from_secs(5)),
            "{}",
            flood.what
        );
    }
}

/// Does `work`, and says by how much the process grew at most while it was done.
fn watched<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = resident_bytes();
    let (peak, done) = (AtomicU64::new(before), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(resident_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, peak.into_inner().max(resident_bytes()) - before)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    1024 * line
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<u64>()
        .unwrap()
}
