//! RocksDB's list of tables, `MANIFEST-<number>`, where its last entry was never acknowledged.
//!
//! Whoever merges tables writes new ones, adds an entry to the list that puts them in the place of
//! the old ones, and syncs the list. Where the sync fails, RocksDB removes the new tables and keeps
//! the old ones; but the entry is in the file, and who opens the database next may find a list of
//! tables that are gone. Such an entry is taken back: it is the last, and all tables that it
//! replaces are there.
//!
//! ```text
//!   list    blocks of 32 KiB of records: checksum (4), length (2, LE), kind (1), part of an entry
//!           kind: 1 whole, 2 first, 3 middle, 4 last
//!   entry   fields, each a tag and its value: numbers are varints, texts have their length before
//!           them; tables removed (tag 6: level, number) stand before tables added
//! ```
//! The format is that of RocksDB's `db/log_format.h` and `db/version_edit.h`.

use std::fs;
use std::path::{Path, PathBuf};

use super::backup::durable_bytes;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

/// Takes back the last entry of the list of the database in `records`, if it replaces tables all
/// of which are there; returns whether it did. The list as it was stays beside it, as
/// `taken-back`.
pub(super) fn take_back_last(records: &Path) -> bool {
    let Some(list) = current(records) else { return false };
    let Ok(bytes) = fs::read(&list) else { return false };
    let Some((start, entry)) = last_entry(&bytes) else { return false };
    let replaced = removed_tables(&entry);
    let is_there = |number: &u64| records.join(format!("{number:06}.sst")).exists();
    if replaced.is_empty() || !replaced.iter().all(is_there) {
        return false;
    }
    let (aside, shorter) = (records.join("taken-back"), records.join("taken-back.new"));
    let swapped = fs::copy(&list, &aside)
        .and_then(|_| durable_bytes(&shorter, &bytes[..start]))
        .and_then(|()| fs::rename(&shorter, &list));
    swapped.is_ok()
}

/// Returns the list that counts.
fn current(records: &Path) -> Option<PathBuf> {
    let name = fs::read_to_string(records.join("CURRENT")).ok()?;
    let name = name.trim_end();
    name.starts_with("MANIFEST-").then(|| records.join(name))
}

/// Returns where the last entry begins, and the entry.
fn last_entry(list: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut at, mut begun, mut last) = (0, None, None);
    while at + HEADER_BYTES <= list.len() {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            continue;
        }
        let length = usize::from(u16::from_le_bytes([list[at + 4], list[at + 5]]));
        let kind = list[at + 6];
        let part = list.get(at + HEADER_BYTES..at + HEADER_BYTES + length)?;
        match (kind, &mut begun) {
            // Room that was reserved and never written.
            (0, _) if length == 0 => break,
            (1, _) => last = Some((at, part.to_vec())),
            (2, _) => begun = Some((at, part.to_vec())),
            (3 | 4, Some((_, entry))) => entry.extend_from_slice(part),
            _ => return None,
        }
        if kind == 4 {
            last = begun.take();
        }
        at += HEADER_BYTES + length;
    }
    if begun.is_some() { None } else { last }
}

/// Returns the numbers of the tables that an entry removes; none where it reads as no entry.
fn removed_tables(entry: &[u8]) -> Vec<u64> {
    let (mut rest, mut removed) = (entry, Vec::new());
    while let Some(tag) = varint(&mut rest) {
        let read = match tag {
            // Comparator, identity of the database.
            1 | 8193 => text(&mut rest),
            // Numbers of files and sequences, of families.
            2 | 3 | 4 | 9 | 10 | 203 => varint(&mut rest).map(|_| ()),
            // Where merging goes on: level, key.
            5 => varint(&mut rest).and_then(|_| text(&mut rest)),
            6 => varint(&mut rest).and_then(|_| varint(&mut rest)).map(|n| removed.push(n)),
            _ => return removed,
        };
        if read.is_none() {
            return Vec::new();
        }
    }
    removed
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn text(bytes: &mut &[u8]) -> Option<()> {
    let length = varint(bytes)? as usize;
    *bytes = bytes.get(length..)?;
    Some(())
}
