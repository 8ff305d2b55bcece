//! Whether a name and a password are good, at a cost that no flood of wrong ones can drive up.
//!
//! A bcrypt hash is slow to check by design, so checking is what an attacker would have the prober do. Here one hash
//! is checked at a time, few may wait for that, and an address that guesses has to slow down. What was found to be
//! right is remembered, one password a user, so that a scraper that was let in once never waits behind a flood.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::token_bucket::TokenBucket;

/// Requests that may wait for a hash to be checked.
const SEATS: usize = 16;

/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Passwords that one address may get wrong in a row, and how long it takes until it may try once more.
const GUESSES: u32 = 10;
const GUESS_EVERY: Duration = Duration::from_secs(6);

/// Addresses whose guesses are counted one by one.
const ADDRESSES: usize = 4096;

/// Who may come in: names, each with the bcrypt hash of its password.
#[derive(Clone, Default)]
pub struct Users(BTreeMap<String, Arc<str>>);

impl Users {
    /// Whether anyone may come in, without a name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, String)> for Users {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(users: T) -> Self {
        let users = users.into_iter();
        Self(users.map(|(name, hash)| (name, hash.into())).collect())
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What comes of a request to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    /// There is no name and password, or they are wrong.
    Denied,
    /// This address has guessed wrong too often.
    SlowDown,
    /// Too many are waiting to be checked.
    Busy,
}

/// Checks passwords, and remembers what it found.
#[derive(Debug)]
pub(super) struct Passwords {
    /// Of each user, the digest of the password that was right. Wrong ones are not kept: they could push these out.
    verified: Mutex<HashMap<String, [u8; 32]>>,
    seats: Semaphore,
    hashing: Arc<Semaphore>,
    guesses: Mutex<HashMap<IpAddr, TokenBucket>>,
    /// Deals the hashes to names that are unknown, in a way that nobody can foresee.
    strangers: RandomState,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            verified: Mutex::default(),
            seats: Semaphore::new(SEATS),
            hashing: Arc::new(Semaphore::new(1)),
            guesses: Mutex::default(),
            strangers: RandomState::new(),
        }
    }
}

impl Passwords {
    /// Whether `authorization`, which came from `address`, names one of `users` with its password.
    pub(super) async fn admit(
        &self,
        users: &Users,
        authorization: Option<&HeaderValue>,
        address: IpAddr,
    ) -> Admission {
        let Some((name, password)) = authorization.and_then(credentials) else {
            return Admission::Denied;
        };
        let hash = users.0.get(&name);
        let digest = hash.map(|hash| digest(hash, &password));
        if digest.is_some_and(|digest| self.is_verified(&name, &digest)) {
            return Admission::Granted;
        }
        if !self.may_guess(address) {
            return Admission::SlowDown;
        }
        let Some(checked) = hash.or_else(|| self.stand_in(users, &name)).map(Arc::clone) else {
            return Admission::Denied;
        };
        let Ok(_seat) = self.seats.try_acquire() else {
            self.forgive(address);
            return Admission::Busy;
        };
        let turn = timeout(PATIENCE, Arc::clone(&self.hashing).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            self.forgive(address);
            return Admission::Busy;
        };
        // Whoever was before may have brought the same password.
        if digest.is_some_and(|digest| self.is_verified(&name, &digest)) {
            self.forgive(address);
            return Admission::Granted;
        }
        let right = spawn_blocking(move || {
            // It goes on if whoever asks goes away, so it keeps the turn for as long as it takes.
            let _turn = turn;
            bcrypt::verify(&password, &checked).unwrap_or(false)
        });
        match (right.await, digest) {
            (Ok(true), Some(digest)) => {
                self.forgive(address);
                lock(&self.verified).insert(name, digest);
                Admission::Granted
            }
            _ => Admission::Denied,
        }
    }

    /// The hash that is checked for a name that is none of `users`, so that the time of an answer does not tell it
    /// from those that are. Not all hashes need cost the same: like a known name, an unknown one always has the same.
    fn stand_in<'a>(&self, users: &'a Users, name: &str) -> Option<&'a Arc<str>> {
        let count = users.0.len().max(1) as u64;
        let at = self.strangers.hash_one(name) % count;
        users.0.values().nth(at as usize)
    }

    fn is_verified(&self, name: &str, digest: &[u8; 32]) -> bool {
        let verified = lock(&self.verified);
        let known = verified.get(name);
        known.is_some_and(|known| known.ct_eq(digest).into())
    }

    /// Takes one of the guesses that `address` has; it gets it back if it was none.
    fn may_guess(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut guesses = lock(&self.guesses);
        if guesses.len() >= ADDRESSES {
            guesses.retain(|_, bucket| !bucket.is_full(now));
        }
        let mut address = network(address);
        if guesses.len() >= ADDRESSES && !guesses.contains_key(&address) {
            // All the others share one.
            address = Ipv6Addr::UNSPECIFIED.into();
        }
        let bucket = guesses.entry(address);
        bucket
            .or_insert_with(|| TokenBucket::new(GUESSES, GUESS_EVERY, now))
            .take(now)
    }

    fn forgive(&self, address: IpAddr) {
        if let Some(bucket) = lock(&self.guesses).get_mut(&network(address)) {
            bucket.give_back();
        }
    }
}

/// Whoever has one IPv6 address has the other 2⁶⁴ of its network, too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let high = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(high).into()
        }
        address => address,
    }
}

/// The name and the password of a `Basic` header.
fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.as_bytes().split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, decoded[colon + 1..].to_vec()))
}

/// The hash begins with a salt of its own, so equal passwords of two users have two digests.
fn digest(hash: &str, password: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(hash);
    digest.update([0]);
    digest.update(password);
    digest.finalize().into()
}

/// What is behind the lock is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn header(name: &str, password: &str) -> HeaderValue {
        let encoded = STANDARD.encode(format!("{name}:{password}"));
        HeaderValue::from_str(&format!("Basic {encoded}")).unwrap()
    }

    fn users(all: &[(&str, &str)]) -> Users {
        let hashed = |(name, password): &(&str, &str)| {
            let salt = *b"sixteen bytes...";
            let hash = bcrypt::hash_with_salt(password, 4, salt).unwrap();
            ((*name).to_owned(), hash.to_string())
        };
        all.iter().map(hashed).collect()
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_name_is_let_in() {
        let passwords = Passwords::default();
        let users = users(&[("alice", "s:cret"), ("bob", "other")]);
        for (given, admission) in [
            (Some(header("alice", "s:cret")), Admission::Granted),
            (Some(header("alice", "s:cret")), Admission::Granted),
            (Some(header("alice", "other")), Admission::Denied),
            (Some(header("bob", "s:cret")), Admission::Denied),
            (Some(header("carol", "s:cret")), Admission::Denied),
            (Some(header("", "")), Admission::Denied),
            (
                Some(HeaderValue::from_static("Bearer abc")),
                Admission::Denied,
            ),
            (
                Some(HeaderValue::from_static("Basic !!!")),
                Admission::Denied,
            ),
            (Some(HeaderValue::from_static("Basic")), Admission::Denied),
            (None, Admission::Denied),
        ] {
            let found = passwords.admit(&users, given.as_ref(), HOME).await;
            assert_eq!(found, admission, "{given:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_given_the_hash_of_any_known_one_and_always_the_same() {
        let passwords = Passwords::default();
        let users = users(&[("alice", "right"), ("bob", "right"), ("carol", "right")]);
        let given: Vec<_> = (0..200)
            .map(|number| {
                let name = format!("nobody{number}");
                let hash = passwords.stand_in(&users, &name).unwrap();
                assert_eq!(passwords.stand_in(&users, &name), Some(hash), "{name}");
                Arc::as_ptr(hash)
            })
            .collect();
        for (name, hash) in &users.0 {
            assert!(given.contains(&Arc::as_ptr(hash)), "{name}");
        }
        assert_eq!(passwords.stand_in(&Users::default(), "nobody"), None);
    }

    #[tokio::test]
    async fn a_password_that_was_changed_is_no_longer_right() {
        let passwords = Passwords::default();
        let old = header("alice", "old");
        let before = users(&[("alice", "old")]);
        assert_eq!(
            passwords.admit(&before, Some(&old), HOME).await,
            Admission::Granted
        );
        let after = users(&[("alice", "new")]);
        assert_eq!(
            passwords.admit(&after, Some(&old), HOME).await,
            Admission::Denied
        );
    }

    #[tokio::test]
    async fn guessing_gets_slow_and_harms_neither_others_nor_who_was_let_in() {
        let passwords = Passwords::default();
        let users = users(&[("alice", "right"), ("bob", "right")]);
        let admit = async |name: &'static str, password: &'static str, address| {
            let header = header(name, password);
            passwords.admit(&users, Some(&header), address).await
        };
        assert_eq!(admit("alice", "right", HOME).await, Admission::Granted);
        for _ in 0..GUESSES {
            assert_eq!(admit("alice", "wrong", HOME).await, Admission::Denied);
        }
        assert_eq!(admit("alice", "x", HOME).await, Admission::SlowDown);
        assert_eq!(admit("bob", "right", HOME).await, Admission::SlowDown);
        assert_eq!(admit("alice", "right", HOME).await, Admission::Granted);
        let elsewhere = IpAddr::from([127, 0, 0, 2]);
        assert_eq!(admit("bob", "right", elsewhere).await, Admission::Granted);
    }

    #[tokio::test]
    async fn only_few_wait_to_be_checked() {
        let passwords = Passwords::default();
        let users = users(&[("alice", "right")]);
        let turn = passwords.hashing.acquire().await.unwrap();
        let asking: Vec<_> = (0..=SEATS)
            .map(|at| (IpAddr::from([10, 0, 0, at as u8]), header("alice", "right")))
            .collect();
        let asked = asking
            .iter()
            .map(|(address, header)| passwords.admit(&users, Some(header), *address));
        let all = futures_util::future::join_all(asked);
        let turn_ends = async {
            tokio::task::yield_now().await;
            drop(turn);
        };
        let (all, ()) = tokio::join!(all, turn_ends);
        let count = |admission| all.iter().filter(|found| **found == admission).count();
        assert_eq!(
            (count(Admission::Granted), count(Admission::Busy)),
            (SEATS, 1)
        );
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        for (a, b, same) in [
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            let [left, right] = [a, b].map(|text| network(text.parse().unwrap()));
            assert_eq!(left == right, same, "{a} {b}");
        }
    }

    #[test]
    fn no_hash_is_printed() {
        let shown = format!("{:?}", users(&[("alice", "secret")]));
        assert_eq!(shown, r#"{"alice"}"#);
    }
}
