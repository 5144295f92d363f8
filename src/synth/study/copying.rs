//! Lines of names to be said again: what a small model learns to copy from.
//!
//! Attention that copies comes late where few tokens ask for it, as in episodes: a name here and
//! there. Here every token does. A decoder of a million weights that has seen some hundred
//! thousand tokens of these learns the episodes afterwards.

use std::io::{self, Write};

use serde_json::json;

use super::super::draw::Draw;
use super::super::names::Names;

/// Writes `count` trajectories of one step as chat JSONL: names of the world's kind, none of them
/// anything's, and the same names again.
pub(super) fn write_copying(out: &mut dyn Write, seed: u64, count: usize) -> io::Result<()> {
    let mut draw = Draw::new(seed, "copying");
    for number in 0..count {
        let mut names = Names::default();
        let words: Vec<String> =
            (0..draw.within(4, 10)).map(|_| names.compound(&mut draw)).collect();
        let text = words.join(" ");
        let id = format!("copy-{number:05}");
        let record = json!({
            "id": id,
            "data_source": "copying",
            "split": "train",
            "question_id": id,
            "model": "demonstrator",
            "question": text,
            "messages": [
                {"role": "user", "content": format!("Repeat: {text}")},
                {"role": "assistant", "content": text},
            ],
        });
        writeln!(out, "{record}")?;
    }
    Ok(())
}
