//! Which messages of a record have their calls in their content.
//!
//! Records of messages were first written without it. Their second version ends with a list of the
//! places of such messages, behind all else; an empty list is one byte, 0. So the first version is
//! the second without its last byte, and is what is written where there are none.

use std::borrow::Cow;

use super::record::Record;
use crate::model::{ContextItem, Message, Step};

/// The version that ends before the list.
const WITHOUT: u8 = 1;

/// Returns the places of the messages that have their calls in their content, from 0.
pub(super) fn places<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<u32> {
    let marked = messages.zip(0..).filter(|(message, _)| message.calls_in_content);
    marked.map(|(_, place)| place).collect()
}

/// Marks the messages at `places`.
pub(super) fn mark<'a>(messages: impl Iterator<Item = &'a mut Message>, places: &[u32]) {
    if places.is_empty() {
        return;
    }
    for (message, place) in messages.zip(0..) {
        message.calls_in_content = places.contains(&place);
    }
}

/// Returns the messages that stand in a step's record, in their order.
pub(super) fn step_messages(step: &Step) -> impl Iterator<Item = &Message> {
    let replaced = step.context.iter().flatten().filter_map(|item| match item {
        ContextItem::Replaced(message) => Some(message),
        ContextItem::Kept { .. } => None,
    });
    std::iter::once(&step.action).chain(&step.observation).chain(replaced)
}

/// Marks the messages at `places` of a step's record.
pub(super) fn mark_step(step: &mut Step, places: &[u32]) {
    let replaced = step.context.iter_mut().flatten().filter_map(|item| match item {
        ContextItem::Replaced(message) => Some(message),
        ContextItem::Kept { .. } => None,
    });
    let messages = std::iter::once(&mut step.action).chain(&mut step.observation);
    mark(messages.chain(replaced), places);
}

/// Returns the bytes of a record that ends with the list `marked`, in the first version that can
/// hold it.
pub(super) fn encode_least<R: Record>(record: &R, marked: &[u32]) -> Vec<u8> {
    let mut bytes = record.encode_current();
    if marked.is_empty() && bytes.pop().is_some() {
        bytes[0] = WITHOUT;
    }
    bytes
}

/// Returns the bytes of a record in the version written now.
pub(super) fn climb<R: Record>(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.split_first() {
        Some((&WITHOUT, body)) => {
            let mut climbed = Vec::with_capacity(bytes.len() + 1);
            climbed.push(R::VERSION);
            climbed.extend_from_slice(body);
            climbed.push(0);
            Cow::Owned(climbed)
        }
        _ => Cow::Borrowed(bytes),
    }
}
