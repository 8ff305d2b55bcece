//! The paged KV cache of a simulated engine: blocks of sixteen tokens, shared between sequences that
//! begin alike, and kept after use until their room is needed.
//!
//! Blocks of a prompt are known by a hash over all that stands before them, as in vLLM. Blocks of an
//! answer are counted but not shared: no request of a prober continues another's answer.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::profile::BLOCK_TOKENS;

/// A prompt as the cache sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    /// Its length; at least 1.
    pub(super) tokens: u32,
    /// One hash for each whole block, over the salt and all text up to the block's end.
    blocks: Vec<u64>,
}

impl Prompt {
    /// A prompt of `tokens` tokens, each about `bytes_per_token` of `text` long. Prompts with different
    /// salts share no block.
    pub(super) fn new(text: &str, tokens: u32, bytes_per_token: f64, salt: Option<&str>) -> Self {
        let bytes = text.as_bytes();
        let end_of = |block: u32| {
            let end = f64::from(block * BLOCK_TOKENS) * bytes_per_token;
            (end.round() as usize).min(bytes.len())
        };
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        let blocks = (0..tokens / BLOCK_TOKENS)
            .map(|block| {
                bytes[end_of(block)..end_of(block + 1)].hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        Self { tokens, blocks }
    }
}

/// The blocks that one sequence holds.
#[derive(Debug, Default)]
pub(super) struct Allocation {
    shared: Vec<u64>,
    private: u32,
}

impl Allocation {
    fn blocks(&self) -> u32 {
        self.shared.len() as u32 + self.private
    }
}

/// All blocks of an engine.
#[derive(Debug)]
pub(super) struct KvCache {
    capacity: u32,
    /// Blocks of prompts, held or kept.
    shared: HashMap<u64, Shared>,
    /// Those that nobody holds, longest unused first.
    kept: BTreeMap<u64, u64>,
    private: u32,
    releases: u64,
}

#[derive(Debug)]
struct Shared {
    holders: u32,
    /// Its key in `kept` while nobody holds it.
    released: u64,
}

impl KvCache {
    pub(super) fn new(blocks: u32) -> Self {
        Self {
            // vLLM sets one block aside as a placeholder.
            capacity: blocks.saturating_sub(1),
            shared: HashMap::new(),
            kept: BTreeMap::new(),
            private: 0,
            releases: 0,
        }
    }

    /// The share of the blocks that sequences hold; what is merely kept counts as free.
    pub(super) fn usage(&self) -> f64 {
        f64::from(self.held()) / f64::from(self.capacity)
    }

    fn held(&self) -> u32 {
        self.private + (self.shared.len() - self.kept.len()) as u32
    }

    /// Tokens of the prompt that are there already: whole blocks from its beginning on, and never its
    /// last token, since that is what the first answer token is computed from.
    pub(super) fn cached_tokens(&self, prompt: &Prompt) -> u32 {
        let usable = (prompt.tokens - 1) / BLOCK_TOKENS;
        let blocks = prompt.blocks.iter().take(usable as usize);
        blocks
            .take_while(|hash| self.shared.contains_key(hash))
            .count() as u32
            * BLOCK_TOKENS
    }

    /// Grows `allocation` until it holds `tokens` tokens of a sequence that begins with `prompt`.
    /// Changes nothing and returns false if there is no room.
    pub(super) fn grow(
        &mut self,
        allocation: &mut Allocation,
        prompt: &Prompt,
        tokens: u32,
    ) -> bool {
        let wanted = tokens.div_ceil(BLOCK_TOKENS);
        let missing = wanted.saturating_sub(allocation.blocks());
        if missing == 0 {
            return true;
        }
        let from = allocation.shared.len();
        let to = prompt.blocks.len().min(wanted as usize);
        let shared = &prompt.blocks[from.min(to)..to];
        let already_held = shared
            .iter()
            .filter(|hash| self.shared.get(hash).is_some_and(|block| block.holders > 0))
            .count() as u32;
        if self.held() + missing - already_held > self.capacity {
            return false;
        }
        for &hash in shared {
            self.hold(hash);
            allocation.shared.push(hash);
        }
        let private = missing - shared.len() as u32;
        for _ in 0..private {
            self.make_room();
            self.private += 1;
        }
        allocation.private += private;
        true
    }

    /// Gives the blocks back; those of the prompt stay until their room is needed.
    pub(super) fn release(&mut self, allocation: &mut Allocation) {
        self.private -= allocation.private;
        // The end of a prompt goes first: what begins alike is worth keeping longest.
        for &hash in allocation.shared.iter().rev() {
            let block = self.shared.get_mut(&hash).expect("a held block is known");
            block.holders -= 1;
            if block.holders == 0 {
                self.releases += 1;
                block.released = self.releases;
                self.kept.insert(self.releases, hash);
            }
        }
        *allocation = Allocation::default();
    }

    fn hold(&mut self, hash: u64) {
        if !self.shared.contains_key(&hash) {
            self.make_room();
        }
        let block = self.shared.entry(hash).or_insert(Shared {
            holders: 0,
            released: 0,
        });
        if block.holders == 0 {
            self.kept.remove(&block.released);
        }
        block.holders += 1;
    }

    /// Drops the block that has gone unused for longest if every block is taken or kept.
    fn make_room(&mut self) {
        if self.private + self.shared.len() as u32 == self.capacity
            && let Some((_, hash)) = self.kept.pop_first()
        {
            self.shared.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str, tokens: u32, salt: Option<&str>) -> Prompt {
        Prompt::new(text, tokens, text.len() as f64 / f64::from(tokens), salt)
    }

    #[test]
    fn hits_are_whole_blocks_and_leave_the_last_token() {
        let text = "x".repeat(1000);
        for (tokens, cached) in [
            (121, 112),
            (110, 96),
            (112, 96),
            (113, 112),
            (16, 0),
            (17, 16),
            (1, 0),
        ] {
            let mut cache = KvCache::new(64);
            let prompt = prompt(&text, tokens, None);
            assert_eq!(cache.cached_tokens(&prompt), 0, "{tokens} tokens, cold");
            let mut allocation = Allocation::default();
            assert!(cache.grow(&mut allocation, &prompt, tokens));
            assert_eq!(
                cache.cached_tokens(&prompt),
                cached,
                "{tokens} tokens, running"
            );
            cache.release(&mut allocation);
            assert_eq!(
                cache.cached_tokens(&prompt),
                cached,
                "{tokens} tokens, finished"
            );
        }
    }

    #[test]
    fn a_salt_keeps_prompts_apart_and_a_common_beginning_is_shared() {
        let mut cache = KvCache::new(64);
        let text = "a".repeat(160);
        assert!(cache.grow(
            &mut Allocation::default(),
            &prompt(&text, 32, Some("one")),
            32
        ));
        assert_eq!(cache.cached_tokens(&prompt(&text, 33, Some("two"))), 0);
        let longer = Prompt::new(&format!("{text}{}", "b".repeat(160)), 64, 5.0, Some("one"));
        assert_eq!(cache.cached_tokens(&longer), 32);
    }

    #[test]
    fn room_is_made_from_the_longest_unused_and_never_from_the_held() {
        // Five usable blocks.
        let mut cache = KvCache::new(6);
        let (a, b) = (prompt("aaaa", 32, None), prompt("bbbb", 32, None));
        let (mut of_a, mut of_b) = (Allocation::default(), Allocation::default());
        assert!(cache.grow(&mut of_a, &a, 32));
        cache.release(&mut of_a);
        assert!(
            cache.grow(&mut of_b, &b, 48),
            "four of five, two of them unused"
        );
        assert_eq!(cache.usage(), 3.0 / 5.0);
        assert!(
            cache.grow(&mut of_b, &b, 64),
            "one more, from the end of the unused prompt"
        );
        let a_longer = prompt("aaaa", 33, None);
        assert_eq!(cache.cached_tokens(&a_longer), 16);
        assert!(
            !cache.grow(&mut of_a, &prompt("cccc", 32, None), 32),
            "one block is too few"
        );
        assert_eq!(cache.usage(), 4.0 / 5.0, "a refusal changes nothing");
        cache.release(&mut of_b);
        assert_eq!(cache.usage(), 0.0);
    }
}
