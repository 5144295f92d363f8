//! Bulk data: chat JSONL of any size, written as fast as a disk takes it.
//!
//! Text is not made word by word. A pool of some megabytes of sentences is made once, over a
//! vocabulary whose words are as frequent as their rank says (Zipf); every text is a piece of it.

use std::io::{self, Write};

use super::draw::Draw;
use super::names::Names;

/// Words of the vocabulary.
const WORDS: usize = 12_000;
/// Bytes of the pool.
const POOL_BYTES: usize = 8 << 20;
/// 2025-01-01T00:00:00Z in microseconds.
const START_US: u64 = 1_735_689_600_000_000;
const MODELS: [&str; 5] = ["gemma-2-27b", "llama-3-70b", "mistral-large", "qwen-3-32b", "tiny-1b"];
/// Tools with the key of their argument; the first ones are called more often.
const TOOLS: [(&str, &str); 6] = [
    ("search", "query"),
    ("search", "query"),
    ("calculator", "expression"),
    ("fetch", "url"),
    ("python", "code"),
    ("shell", "command"),
];
const ERRORS: [&str; 4] = [
    "Error: the call timed out after 30 s",
    "Error: 404 not found",
    "Error: ZeroDivisionError: division by zero",
    "Error: permission denied",
];

/// Sentences to cut pieces from. They hold letters, spaces and full stops only, so that they stand
/// in JSON as they are.
struct Pool {
    text: Vec<u8>,
    /// Where sentences start.
    starts: Vec<usize>,
}

impl Pool {
    fn new(draw: &mut Draw) -> Pool {
        let mut names = Names::default();
        let words: Vec<String> = (0..WORDS)
            .map(|rank| names.word(draw, 1 + usize::from(rank > 300) + usize::from(rank > 6_000)))
            .map(|word| word.to_lowercase())
            .collect();
        let mut text = Vec::with_capacity(POOL_BYTES + 256);
        let mut starts = Vec::new();
        while text.len() < POOL_BYTES {
            starts.push(text.len());
            for _ in 0..draw.within(5, 18) {
                text.extend_from_slice(words[zipf(draw)].as_bytes());
                text.push(b' ');
            }
            text.pop();
            text.extend_from_slice(b". ");
        }
        Pool { text, starts }
    }

    /// Returns a piece of about `bytes` bytes that starts with a sentence and ends with a word.
    fn piece(&self, draw: &mut Draw, bytes: usize) -> &[u8] {
        let from = *draw.pick(&self.starts);
        let to = (from + bytes).min(self.text.len());
        let piece = &self.text[from..to];
        let end = piece.iter().rposition(|byte| *byte == b' ').unwrap_or(piece.len());
        &piece[..end]
    }
}

/// Returns a rank whose frequency falls as one over it. Its inverse distribution is an exponential
/// function; powers of two with a linear part between them are near enough and exact everywhere.
fn zipf(draw: &mut Draw) -> usize {
    // 2^13 = 8,192 and 13.55 octaves are 12,000 words.
    let octave = draw.below(1_355) as u32;
    let whole = 1_usize << (octave / 100);
    let rank = whole + whole * (octave as usize % 100) / 100 + draw.below(whole.div_ceil(100));
    (rank - 1).min(WORDS - 1)
}

/// Writes chat JSONL of about `steps` steps: 6 a trajectory in the mean, 2.3 kB each, with labels
/// by message index on three of five trajectories.
///
/// # Errors
/// The writer's.
pub fn bench(out: &mut dyn Write, seed: u64, steps: u64) -> io::Result<()> {
    let mut draw = Draw::new(seed, "bench");
    let pool = Pool::new(&mut draw);
    let mut writer = Trajectories { pool, draw, line: Vec::with_capacity(1 << 16), number: 0 };
    let mut written = 0;
    while written < steps {
        let count = writer.steps_of_next().min((steps - written) as usize);
        writer.trajectory(count)?;
        out.write_all(&writer.line)?;
        written += count as u64;
    }
    Ok(())
}

struct Trajectories {
    pool: Pool,
    draw: Draw,
    line: Vec<u8>,
    number: u64,
}

impl Trajectories {
    /// Returns 1 to 11 steps, 6 in the mean; now and then up to 30.
    fn steps_of_next(&mut self) -> usize {
        match self.draw.below(100) {
            0..=1 => self.draw.within(12, 31),
            _ => 1 + self.draw.below(6) + self.draw.below(6),
        }
    }

    /// Makes the line of a trajectory.
    fn trajectory(&mut self, steps: usize) -> io::Result<()> {
        let Trajectories { pool, draw, line, number } = self;
        line.clear();
        let question = *number / 4;
        let model = *draw.pick(&MODELS);
        let reward = draw.below(1_001);
        let created_at = START_US + *number * 7_919_000 + draw.below(1_000_000) as u64;
        write!(
            line,
            "{{\"id\":\"bench-{number:08}\",\"source\":\"bench\",\"model\":\"{model}\",\
             \"question_id\":\"q{question:07}\",\"sample_index\":{},\"created_at\":{created_at},\
             \"reward\":{}.{:03},\"messages\":[{{\"role\":\"user\",\"content\":\"",
            *number % 4,
            reward / 1_000,
            reward % 1_000,
        )?;
        let bytes = draw.within(60, 240);
        line.extend_from_slice(pool.piece(draw, bytes));
        line.extend_from_slice(b"\"}");
        for step in 1..steps {
            put_call(pool, draw, line, step)?;
        }
        line.extend_from_slice(b",{\"role\":\"assistant\",\"content\":\"");
        let bytes = draw.within(80, 600);
        line.extend_from_slice(pool.piece(draw, bytes));
        line.extend_from_slice(b"\"}]");
        if draw.percent(60) {
            put_labels(draw, line, steps)?;
        }
        line.extend_from_slice(b"}\n");
        *number += 1;
        Ok(())
    }
}

/// Appends a step with a call and its result.
fn put_call(pool: &Pool, draw: &mut Draw, line: &mut Vec<u8>, step: usize) -> io::Result<()> {
    let (tool, key) = *draw.pick(&TOOLS);
    line.extend_from_slice(b",{\"role\":\"assistant\",\"content\":\"");
    let bytes = draw.within(60, 400);
    line.extend_from_slice(pool.piece(draw, bytes));
    write!(
        line,
        "\",\"tool_calls\":[{{\"id\":\"call_{step}\",\"type\":\"function\",\"function\":{{\
         \"name\":\"{tool}\",\"arguments\":\"{{\\\"{key}\\\": \\\""
    )?;
    let bytes = draw.within(20, 90);
    line.extend_from_slice(pool.piece(draw, bytes));
    write!(
        line,
        "\\\"}}\"}}}}]}},{{\"role\":\"tool\",\"tool_call_id\":\"call_{step}\",\"content\":\""
    )?;
    if draw.percent(6) {
        let error = *draw.pick(&ERRORS);
        write!(line, "{error}\",\"is_error\":true}}")?;
        return Ok(());
    }
    // Three pieces with line breaks between them, as results of tools have.
    for part in 0..3 {
        if part > 0 {
            line.extend_from_slice(b"\\n\\n");
        }
        let bytes = draw.within(120, 1_400);
        line.extend_from_slice(pool.piece(draw, bytes));
    }
    line.extend_from_slice(b"\"}");
    Ok(())
}

/// Appends labels: actions are the messages 1, 3, 5 and so on.
fn put_labels(draw: &mut Draw, line: &mut Vec<u8>, steps: usize) -> io::Result<()> {
    line.extend_from_slice(b",\"step_labels\":{");
    for step in 0..steps {
        let label = *draw.pick(&[-1, 0, 1, 1, 1]);
        let comma = if step > 0 { "," } else { "" };
        write!(line, "{comma}\"{}\":{label}", 2 * step + 1)?;
    }
    let outcome = *draw.pick(&[-1, 1]);
    write!(line, "}},\"final_label\":{outcome}")
}
