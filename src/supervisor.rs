//! Tells the process supervisor how the daemon is: ready, alive, reloading, stopping.
//!
//! The protocol is systemd's `sd_notify`, which other supervisors understand too: one datagram a message, to the
//! socket that `NOTIFY_SOCKET` names. Nothing of it may hold the daemon up, so a message that the socket has
//! no room for is dropped. A watchdog that is fed from the loop that schedules, and from nowhere else, notices
//! a loop that hangs while the rest of the process still answers.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

/// What a supervisor says to a process that it started.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// `NOTIFY_SOCKET`: where messages go; a name that begins with `@` is an abstract one.
    pub socket: &'a OsStr,
    /// `WATCHDOG_USEC`: after so many microseconds without a sign of life the process is killed.
    pub watchdog_usec: Option<&'a str>,
    /// `WATCHDOG_PID`: the process that this is about, if it is not about all.
    pub watchdog_pid: Option<&'a str>,
}

/// The supervisor of this process, or nobody.
#[derive(Debug, Default)]
pub struct Supervisor {
    line: Option<Line>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment variables name; nobody when they name none.
    ///
    /// # Errors
    /// When they name one that cannot be reached.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok();
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let (usec, pid) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
        Self::new(Surroundings {
            socket: &socket,
            watchdog_usec: usec.as_deref(),
            watchdog_pid: pid.as_deref(),
        })
    }

    /// The one that says `surroundings`.
    ///
    /// # Errors
    /// When its socket has no address that there can be, or no socket can be made.
    pub fn new(surroundings: Surroundings<'_>) -> io::Result<Self> {
        let own = std::process::id().to_string();
        let is_meant = surroundings.watchdog_pid.is_none_or(|pid| pid == own);
        let usec = surroundings.watchdog_usec.filter(|_| is_meant);
        let watchdog = usec.and_then(|usec| usec.parse().ok()).filter(|&n| n > 0);
        Ok(Self {
            line: Some(Line::to(surroundings.socket)?),
            watchdog: watchdog.map(Duration::from_micros),
        })
    }

    /// Says that the daemon does its work, after a start or a reload.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Says that the configuration is being read anew; [`ready`](Self::ready) ends that.
    pub fn reloading(&self) {
        self.say("RELOADING=1");
    }

    /// Says that the daemon ends, which may take `at_most` that long.
    pub fn stopping(&self, at_most: Duration) {
        self.say(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
            at_most.as_micros()
        ));
    }

    /// What the loop feeds that the supervisor is to watch.
    pub fn watchdog(&self) -> Watchdog {
        Watchdog {
            line: self
                .line
                .as_ref()
                .and_then(|line| line.clone().ok())
                .filter(|_| self.watchdog.is_some()),
            // Half of what is allowed, as the protocol recommends.
            every: self.watchdog.unwrap_or(Duration::MAX) / 2,
            fed_at: None,
        }
    }

    fn say(&self, message: &str) {
        if let Some(line) = &self.line {
            line.say(message);
        }
    }
}

/// Signs of life, of a loop that is watched.
#[derive(Debug)]
pub struct Watchdog {
    line: Option<Line>,
    every: Duration,
    fed_at: Option<Instant>,
}

impl Watchdog {
    /// Gives a sign of life if one is due, and says after how long to come again; never, when nobody watches.
    pub fn feed(&mut self) -> Duration {
        self.feed_at(Instant::now())
    }

    fn feed_at(&mut self, now: Instant) -> Duration {
        let Some(line) = &self.line else {
            return Duration::MAX;
        };
        let since = self.fed_at.map(|fed_at| now.duration_since(fed_at));
        match since.and_then(|since| self.every.checked_sub(since)) {
            Some(left) if !left.is_zero() => left,
            _ => {
                line.say("WATCHDOG=1");
                self.fed_at = Some(now);
                self.every
            }
        }
    }
}

/// A socket that never waits, and whom to write to.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Line {
    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    fn clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            address: self.address.clone(),
        })
    }

    fn say(&self, message: &str) {
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.address) {
            debug!(%error, unheard = message, "the supervisor did not hear");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A supervisor's end of the line, and what it says to the process.
    fn supervised(
        directory: &tempfile::TempDir,
        usec: Option<&str>,
        pid: Option<&str>,
    ) -> (UnixDatagram, Supervisor) {
        let path = directory.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let surroundings = Surroundings {
            socket: path.as_os_str(),
            watchdog_usec: usec,
            watchdog_pid: pid,
        };
        (ear, Supervisor::new(surroundings).unwrap())
    }

    fn heard(ear: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 256];
        std::iter::from_fn(|| ear.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
            .map(|message| String::from_utf8(message).unwrap())
            .collect()
    }

    #[test]
    fn each_message_is_one_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let (ear, supervisor) = supervised(&directory, None, None);
        supervisor.ready();
        supervisor.reloading();
        supervisor.ready();
        supervisor.stopping(Duration::from_millis(1500));
        assert_eq!(
            heard(&ear),
            [
                "READY=1",
                "RELOADING=1",
                "READY=1",
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000"
            ]
        );
    }

    #[test]
    fn an_abstract_socket_is_one_too() {
        let name = format!("vllm-prober-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let ear = UnixDatagram::bind_addr(&address).unwrap();
        ear.set_nonblocking(true).unwrap();
        let name = format!("@{name}");
        let surroundings = Surroundings {
            socket: OsStr::new(&name),
            watchdog_usec: None,
            watchdog_pid: None,
        };
        Supervisor::new(surroundings).unwrap().ready();
        assert_eq!(heard(&ear), ["READY=1"]);
    }

    #[test]
    fn the_watchdog_is_fed_when_half_of_its_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let (ear, supervisor) = supervised(&directory, Some("2000000"), None);
        let mut watchdog = supervisor.watchdog();
        let start = Instant::now();
        let mut feed_after = |millis| {
            watchdog
                .feed_at(start + Duration::from_millis(millis))
                .as_millis()
        };
        assert_eq!(feed_after(0), 1000);
        assert_eq!(feed_after(400), 600);
        assert_eq!(heard(&ear), ["WATCHDOG=1"], "not before its time");
        assert_eq!(feed_after(1000), 1000);
        assert_eq!(heard(&ear), ["WATCHDOG=1"]);
        assert_eq!(feed_after(61_000), 1000);
        assert_eq!(heard(&ear), ["WATCHDOG=1"], "nothing is made up for");
    }

    #[test]
    fn a_watchdog_that_is_not_asked_for_is_silent() {
        let other = (std::process::id() + 1).to_string();
        for (usec, pid) in [
            (None, None),
            (Some("0"), None),
            (Some("often"), None),
            (Some("2000000"), Some(other.as_str())),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (ear, supervisor) = supervised(&directory, usec, pid);
            assert_eq!(
                supervisor.watchdog().feed(),
                Duration::MAX,
                "{usec:?} {pid:?}"
            );
            assert!(heard(&ear).is_empty(), "{usec:?} {pid:?}");
        }
        assert_eq!(Supervisor::default().watchdog().feed(), Duration::MAX);
        Supervisor::default().ready();
    }

    #[test]
    fn a_supervisor_that_does_not_listen_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let (ear, supervisor) = supervised(&directory, None, None);
        // Many more than a socket has room for.
        (0..10_000).for_each(|_| supervisor.ready());
        assert!(heard(&ear).len() < 10_000);
        drop(ear);
        supervisor.ready();
    }
}
