//! Where trajectories of one question, in one state, act differently.
//!
//! ```text
//!   state 1 ──┬─ search(a) ── result ── state 2 ──┬─ search(b) ...     a branch point at step 1
//!             ├─ search(a) ── result ── state 2 ──┴─ answer            with two choices, and one
//!             └─ search(c) ...                                         at step 2 with two
//! ```
//!
//! States are compared message by message, so that a state that a context manager has cut is what
//! the policy saw. Identifiers of calls, which are drawn anew each time, make no difference.

use std::collections::HashMap;

use crate::model::{Message, Trajectory, role};

/// When two actions are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Likeness {
    /// Content, reasoning and calls are.
    Action,
    /// The calls are, tools and arguments; of an action without any, the content is.
    Call,
}

impl Likeness {
    pub const ALL: [Likeness; 2] = [Likeness::Action, Likeness::Call];

    /// Returns the word in statements.
    pub fn as_str(self) -> &'static str {
        match self {
            Likeness::Action => "action",
            Likeness::Call => "call",
        }
    }
}

/// A state at which trajectories act differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BranchPoint {
    /// The step, from 1.
    pub step: u32,
    /// How many different actions there are.
    pub choices: usize,
    /// Who stands there, by place among the question's trajectories, and the number of its action
    /// in the order of the first to take it, from 0.
    pub members: Vec<(usize, usize)>,
}

/// Returns the branch points of the trajectories of one question, by step and first member.
pub(super) fn branch_points(trajectories: &[Trajectory], like: Likeness) -> Vec<BranchPoint> {
    let mut points = Vec::new();
    let mut alive: Vec<usize> = (0..trajectories.len()).collect();
    let mut step = 1u32;
    while !alive.is_empty() {
        let acting = alive.iter().filter(|at| trajectories[**at].steps.len() >= step as usize);
        let mut states: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<Key, usize> = HashMap::new();
        for at in acting {
            let state = state_key(&trajectories[*at].state(step), like);
            let group = *known.entry(state).or_insert(states.len());
            match states.get_mut(group) {
                Some(members) => members.push(*at),
                None => states.push(vec![*at]),
            }
        }
        alive.clear();
        for members in states.into_iter().filter(|members| members.len() > 1) {
            let mut actions: HashMap<Key, usize> = HashMap::new();
            let chosen = |at: &usize| {
                let action = &trajectories[*at].steps[step as usize - 1].action;
                let next = actions.len();
                (*at, *actions.entry(action_key(action, like)).or_insert(next))
            };
            let chosen: Vec<(usize, usize)> = members.iter().map(chosen).collect();
            alive.extend(members);
            if actions.len() > 1 {
                points.push(BranchPoint { step, choices: actions.len(), members: chosen });
            }
        }
        step += 1;
    }
    points
}

/// The first half of a BLAKE3 hash.
type Key = [u8; 16];

fn state_key(messages: &[&Message], like: Likeness) -> Key {
    let mut hasher = blake3::Hasher::new();
    for message in messages {
        match message.role == role::ASSISTANT {
            true => hasher.update(&action_key(message, like)),
            false => hasher.update(&message_key(message)),
        };
    }
    first_half(&hasher)
}

fn action_key(action: &Message, like: Likeness) -> Key {
    let mut hasher = blake3::Hasher::new();
    if like == Likeness::Action || action.tool_calls.is_empty() {
        add(&mut hasher, action.content.as_deref());
        add(&mut hasher, action.parts.as_ref().map(|parts| parts.as_str()));
    }
    if like == Likeness::Action {
        add(&mut hasher, action.reasoning.as_deref());
    }
    for call in &action.tool_calls {
        add(&mut hasher, Some(&call.name));
        add(&mut hasher, Some(&call.arguments));
    }
    first_half(&hasher)
}

fn message_key(message: &Message) -> Key {
    let mut hasher = blake3::Hasher::new();
    add(&mut hasher, Some(&message.role));
    add(&mut hasher, message.content.as_deref());
    add(&mut hasher, message.parts.as_ref().map(|parts| parts.as_str()));
    add(&mut hasher, message.name.as_deref());
    first_half(&hasher)
}

fn add(hasher: &mut blake3::Hasher, text: Option<&str>) {
    // A text that is not there is told from an empty one.
    let length = text.map_or(u64::MAX, |text| text.len() as u64);
    hasher.update(&length.to_be_bytes());
    hasher.update(text.unwrap_or_default().as_bytes());
}

fn first_half(hasher: &blake3::Hasher) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}
