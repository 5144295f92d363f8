//! The memory of the caches: blocks of keys and values in one arena of a size that is known before
//! the start.
//!
//! A block holds the keys and values of 16 consecutive tokens of a sequence, in all layers. A
//! sequence has a list of blocks; sequences that begin alike share theirs:
//!
//! ```text
//! trajectory  [0][1][2][3][4]        a block is written by its only owner; one that is shared is
//! state 1     [0][1]                 copied first, so that a branch costs at most one block more
//! sample      [0][5][6]              than its own tokens
//! ```
//!
//! A block goes back to the arena when the last of its owners is dropped.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attention::Run;
use crate::lm::{DecoderConfig, LmError};

/// Tokens of a block.
pub(super) const BLOCK_TOKENS: usize = 16;

/// Numbers of a value are kept in whole registers.
const LANES: usize = 16;

/// The blocks that nobody owns.
#[derive(Debug)]
pub(super) struct Pool {
    free: Mutex<Vec<usize>>,
}

impl Pool {
    fn free(&self) -> MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ownership of a block.
#[derive(Debug)]
pub(super) struct Block {
    number: usize,
    pool: Arc<Pool>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.free().push(self.number);
    }
}

/// The blocks of a sequence in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Vec<Arc<Block>>);

impl Blocks {
    /// Returns the numbers of the blocks.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.0.iter().map(|block| block.number).collect()
    }

    /// Returns at most how many blocks it takes to have the tokens `start..end` in the cache.
    pub(super) fn needed(start: usize, end: usize) -> usize {
        end.div_ceil(BLOCK_TOKENS).saturating_sub(start / BLOCK_TOKENS)
    }

    /// Returns the blocks of the first tokens.
    pub(super) fn head(&self, tokens: usize) -> Blocks {
        Blocks(self.0.iter().take(tokens.div_ceil(BLOCK_TOKENS)).cloned().collect())
    }
}

/// Keys and values of one layer.
pub(super) struct LayerCache {
    /// `[blocks, key heads, width, 16 tokens]`.
    keys: Vec<f32>,
    /// `[blocks, key heads, 16 tokens, width in whole registers]`.
    values: Vec<f32>,
    heads: usize,
    width: usize,
}

impl LayerCache {
    /// Returns the numbers of a value with those that fill its last register.
    fn padded(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Returns the keys of one head of a block, `[width, 16]`.
    #[inline(always)]
    pub(super) fn keys(&self, block: usize, head: usize) -> &[f32] {
        let size = self.width * BLOCK_TOKENS;
        &self.keys[(block * self.heads + head) * size..][..size]
    }

    /// Returns the value of one head of a token of a block, in whole registers.
    #[inline(always)]
    pub(super) fn value(&self, block: usize, head: usize, token: usize) -> &[f32] {
        let width = self.padded();
        &self.values[((block * self.heads + head) * BLOCK_TOKENS + token) * width..][..width]
    }

    /// Writes keys and values of the new tokens of some sequences, `[tokens, key heads * width]`.
    pub(super) fn store(&mut self, runs: &[Run<'_>], keys: &[f32], values: &[f32]) {
        let width = (self.heads * self.width).max(1);
        let mut rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
        for run in runs {
            let positions = run.start..run.start + run.count;
            for (position, (key, value)) in positions.zip(rows.by_ref()) {
                let block = run.blocks[position / BLOCK_TOKENS];
                self.write(block, position % BLOCK_TOKENS, key, value);
            }
        }
    }

    /// Writes keys and values of a token of a block, `[key heads * width]` each.
    fn write(&mut self, block: usize, token: usize, key: &[f32], value: &[f32]) {
        let (width, padded) = (self.width, self.padded());
        for head in 0..self.heads {
            let part = head * width..(head + 1) * width;
            let at = (block * self.heads + head) * width * BLOCK_TOKENS + token;
            let slots = self.keys[at..].iter_mut().step_by(BLOCK_TOKENS);
            for (slot, key) in slots.zip(&key[part.clone()]) {
                *slot = *key;
            }
            let at = ((block * self.heads + head) * BLOCK_TOKENS + token) * padded;
            self.values[at..at + width].copy_from_slice(&value[part]);
        }
    }

    fn copy(&mut self, from: usize, to: usize) {
        let size = self.heads * self.width * BLOCK_TOKENS;
        self.keys.copy_within(from * size..(from + 1) * size, to * size);
        let size = self.heads * self.padded() * BLOCK_TOKENS;
        self.values.copy_within(from * size..(from + 1) * size, to * size);
    }
}

/// All blocks.
pub(super) struct Arena {
    layers: Vec<LayerCache>,
    pool: Arc<Pool>,
    blocks: usize,
}

/// Returns how many bytes the system has left for this process, where it says so: those available
/// on the machine, or less where a control group (v2) that the process is in is bounded.
fn free_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let bounded = Path::new(group).ancestors().filter_map(left_in_group);
    Some(bounded.fold(kilobytes << 10, u64::min))
}

/// Returns how many bytes a control group leaves its processes, if it is bounded.
fn left_in_group(group: &Path) -> Option<u64> {
    let folder = Path::new("/sys/fs/cgroup").join(group);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let file = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let given_back = file.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(given_back)))
}

impl Arena {
    /// Returns the bytes of an arena for `tokens` tokens.
    pub(super) fn bytes(config: &DecoderConfig, tokens: usize) -> u64 {
        let numbers = config.head_dim + config.head_dim.next_multiple_of(LANES);
        let token = config.n_layers as u64 * config.n_kv_heads as u64 * numbers as u64 * 4;
        token.saturating_mul((tokens.div_ceil(BLOCK_TOKENS) as u64) * BLOCK_TOKENS as u64)
    }

    /// Returns an arena for `tokens` tokens.
    ///
    /// # Errors
    /// `Cache` if there is no memory for it.
    pub(super) fn new(config: &DecoderConfig, tokens: usize) -> Result<Arena, LmError> {
        let blocks = tokens.div_ceil(BLOCK_TOKENS);
        let bytes = Arena::bytes(config, tokens);
        let free = free_bytes();
        let fail = || LmError::Cache {
            what: format!(
                "no memory for a cache of {tokens} tokens, which takes {bytes} bytes{}",
                free.map(|free| format!("; {free} are free")).unwrap_or_default()
            ),
            next: "take fewer cache tokens".to_owned(),
        };
        // An allocator may promise more than there is.
        if free.is_some_and(|free| free < bytes) {
            return Err(fail());
        }
        let zeros = |count: Option<usize>| -> Result<Vec<f32>, LmError> {
            let count = count.ok_or_else(fail)?;
            let mut values = Vec::new();
            values.try_reserve_exact(count).map_err(|_| fail())?;
            values.resize(count, 0.0);
            Ok(values)
        };
        let (heads, width) = (config.n_kv_heads, config.head_dim);
        let size = |width: usize| blocks.checked_mul(heads * width * BLOCK_TOKENS);
        let mut layers = Vec::new();
        for _ in 0..config.n_layers {
            let keys = zeros(size(width))?;
            let values = zeros(size(width.next_multiple_of(LANES)))?;
            layers.push(LayerCache { keys, values, heads, width });
        }
        let free = Mutex::new((0..blocks).rev().collect());
        Ok(Arena { layers, pool: Arc::new(Pool { free }), blocks })
    }

    /// Returns how many tokens fit.
    pub(super) fn tokens(&self) -> usize {
        self.blocks * BLOCK_TOKENS
    }

    /// Returns how many tokens fit in what nobody owns.
    pub(super) fn free_tokens(&self) -> usize {
        self.free_blocks() * BLOCK_TOKENS
    }

    /// Returns how many blocks nobody owns.
    pub(super) fn free_blocks(&self) -> usize {
        self.pool.free().len()
    }

    /// Returns whether blocks are of this arena.
    pub(super) fn owns(&self, blocks: &Blocks) -> bool {
        blocks.0.iter().all(|block| Arc::ptr_eq(&block.pool, &self.pool))
    }

    /// Returns keys and values of a layer.
    pub(super) fn layer(&mut self, number: usize) -> &mut LayerCache {
        &mut self.layers[number]
    }

    /// Makes the blocks of the tokens `start..end` writable: those that are missing are added, one
    /// that others own too is copied.
    ///
    /// # Errors
    /// `Cache` if the arena has no more.
    pub(super) fn make_writable(
        &mut self,
        blocks: &mut Blocks,
        start: usize,
        end: usize,
    ) -> Result<(), LmError> {
        for at in start / BLOCK_TOKENS..end.div_ceil(BLOCK_TOKENS) {
            match blocks.0.get(at) {
                None => blocks.0.push(self.take()?),
                Some(block) if Arc::strong_count(block) > 1 => {
                    let (from, copy) = (block.number, self.take()?);
                    for layer in &mut self.layers {
                        layer.copy(from, copy.number);
                    }
                    blocks.0[at] = copy;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Arc<Block>, LmError> {
        match self.pool.free().pop() {
            Some(number) => Ok(Arc::new(Block { number, pool: self.pool.clone() })),
            None => Err(self.full(1)),
        }
    }

    /// Returns the error for blocks that are not there.
    pub(super) fn full(&self, blocks: usize) -> LmError {
        let held = self.blocks - self.free_blocks();
        LmError::Cache {
            what: format!(
                "{} tokens of cache are needed; the cache has {}, of which prefixes hold {}",
                blocks * BLOCK_TOKENS,
                self.blocks * BLOCK_TOKENS,
                held * BLOCK_TOKENS
            ),
            next: "drop prefixes that are no longer needed, ask for shorter samples, or take more \
                   cache tokens"
                .to_owned(),
        }
    }
}
