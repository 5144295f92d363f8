//! Trajectories over the world: good ways, bad ways, lucky and unlucky ends.
//!
//! A step is good if it is reasonable given what stands before it: a search for what the question
//! or the last result asks for next, a calculation with the numbers found, an answer that follows
//! from the results. It is bad if it searches for something else, repeats a query, calculates
//! with the wrong sign, or answers without support. Goodness and luck are independent: a search
//! may return the old almanac, whose word is wrong, and a guess may hit.

use serde_json::{Map, Value, json};

use super::documents::Document;
use super::draw::Draw;
use super::questions::{Hop, Question};

/// Whether all steps are good, and whether the answer is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    all_good: bool,
    right: bool,
}

const GOOD_RIGHT: Class = Class { all_good: true, right: true };
const GOOD_WRONG: Class = Class { all_good: true, right: false };
const BAD_RIGHT: Class = Class { all_good: false, right: true };
const BAD_WRONG: Class = Class { all_good: false, right: false };

/// The classes of 20 trajectories in a row, with how many are of each.
const CLASSES: [(Class, usize); 4] =
    [(GOOD_RIGHT, 8), (GOOD_WRONG, 3), (BAD_RIGHT, 4), (BAD_WRONG, 5)];

/// Returns the classes of 20 trajectories in random order.
pub(super) fn classes(draw: &mut Draw) -> Vec<Class> {
    let deck = CLASSES.iter().flat_map(|(class, count)| std::iter::repeat_n(*class, *count));
    let mut deck: Vec<Class> = deck.collect();
    draw.shuffle(&mut deck);
    deck
}

/// One step: what is said, what is called, what comes back, and whether it is good.
#[derive(Clone)]
struct Move {
    text: String,
    /// The tool and its argument; `None`: the answer.
    call: Option<(&'static str, String)>,
    result: String,
    good: bool,
}

/// One trajectory.
pub(super) struct Episode {
    moves: Vec<Move>,
    answer: Option<String>,
    right: bool,
}

impl Episode {
    /// Returns a trajectory of a class.
    pub(super) fn new(
        question: &Question,
        class: Class,
        documents: &[Document],
        draw: &mut Draw,
    ) -> Episode {
        let right = class.right;
        let (moves, answer) = match class {
            GOOD_RIGHT => (good_way(question, draw), Some(&question.answer)),
            GOOD_WRONG => (unlucky_way(question, draw), Some(&question.rumour.answer)),
            BAD_RIGHT if draw.percent(30) => return guess(question, documents, true, draw),
            BAD_RIGHT => {
                let mut moves = good_way(question, draw);
                for _ in 0..draw.within(1, 3) {
                    let at = draw.below(moves.len() + 1);
                    let detour = bad_search(&moves[..at], documents, draw);
                    moves.insert(at, detour);
                }
                (moves, Some(&question.answer))
            }
            _ if question.expression.is_some() && draw.percent(40) => {
                return miscalculation(question, draw);
            }
            _ if draw.percent(30) => {
                let mut moves = good_way(question, draw);
                moves.truncate(draw.below(moves.len()));
                for _ in 0..draw.within(2, 4) {
                    moves.push(bad_search(&moves, documents, draw));
                }
                (moves, None)
            }
            _ => return guess(question, documents, false, draw),
        };
        let answer = answer.cloned();
        let mut episode = Episode { moves, answer, right };
        episode.conclude(draw);
        episode
    }

    /// Appends the answer as one that follows from the results.
    fn conclude(&mut self, draw: &mut Draw) {
        let Some(answer) = &self.answer else { return };
        let said = *draw.pick(&["The results give", "So the answer is", "This leads to"]);
        let text = format!("{said} {answer}. <answer>{answer}</answer>");
        self.moves.push(Move { text, call: None, result: String::new(), good: true });
    }

    /// Returns the record of the trajectory.
    pub(super) fn record(&self, question: &Question, sample: usize) -> Value {
        let mut messages = vec![
            json!({"role": "system", "content": "Answer the question. Search or calculate as \
                   needed, one call at a time. End with <answer>...</answer>."}),
            json!({"role": "user", "content": question.question}),
        ];
        let mut labels = Map::new();
        for (number, Move { text, call, result, good }) in self.moves.iter().enumerate() {
            labels.insert(messages.len().to_string(), json!(if *good { 1 } else { -1 }));
            let Some((tool, argument)) = call else {
                messages.push(json!({"role": "assistant", "content": text}));
                continue;
            };
            let id = format!("call_{}", number + 1);
            let key = if *tool == "search" { "query" } else { "expression" };
            let arguments = json!({ key: argument }).to_string();
            let function = json!({"name": tool, "arguments": arguments});
            messages.push(json!({
                "role": "assistant",
                "content": text,
                "tool_calls": [{"id": id, "type": "function", "function": function}],
            }));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
        }
        let models = ["policy-a", "policy-b"];
        let mut record = json!({
            "id": format!("{}:{sample}", question.id),
            "data_source": "world",
            "split": question.split,
            "question_id": question.id,
            "sample_index": sample,
            "model": models[sample % models.len()],
            "question": question.question,
            "ground_truth": {"target": [question.answer]},
            "answer_text": self.answer,
            "messages": messages,
            "tools": [tool("search", "query"), tool("calculator", "expression")],
            "step_labels": labels,
            "final_label": if self.right { 1 } else { -1 },
        });
        if self.answer.is_none() {
            record["status"] = json!("limit");
        }
        record
    }
}

fn tool(name: &str, argument: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
    }}})
}

/// Returns the searches and the calculation that a question asks for.
fn good_way(question: &Question, draw: &mut Draw) -> Vec<Move> {
    let mut moves: Vec<Move> =
        question.hops.iter().map(|hop| search(hop, &hop.subject, &hop.text, draw)).collect();
    moves.extend(question.expression.as_ref().map(|e| calculation(e, &question.answer)));
    moves
}

/// Returns the same where the last search meets the old almanac, and trusts it.
fn unlucky_way(question: &Question, draw: &mut Draw) -> Vec<Move> {
    let rumour = &question.rumour;
    let mut moves: Vec<Move> = Vec::new();
    for (number, hop) in question.hops.iter().enumerate() {
        moves.push(if number + 1 < question.hops.len() {
            search(hop, &hop.subject, &hop.text, draw)
        } else {
            search(hop, &rumour.title, &rumour.text, draw)
        });
    }
    moves.extend(rumour.expression.as_ref().map(|e| calculation(e, &rumour.answer)));
    moves
}

/// Returns the search for what a hop asks, which finds a document.
fn search(hop: &Hop, title: &str, text: &str, draw: &mut Draw) -> Move {
    let Hop { subject, wanted, .. } = hop;
    let query = format!("{subject} {wanted}");
    let said = *draw.pick(&["I need", "Next comes", "First I want"]);
    Move {
        text: format!("{said} the {wanted} of {subject}."),
        result: format!("{query} -> {title}: {text}"),
        call: Some(("search", query)),
        good: true,
    }
}

fn calculation(expression: &str, value: &str) -> Move {
    Move {
        text: "Now I can calculate.".to_owned(),
        call: Some(("calculator", expression.to_owned())),
        result: format!("{expression} -> {value}.0"),
        good: true,
    }
}

/// Returns a search that does not help after `before`: the last one again, or one for something
/// that nobody asked for.
fn bad_search(before: &[Move], documents: &[Document], draw: &mut Draw) -> Move {
    let last = before.iter().rev().find(|done| done.result.contains(" -> "));
    if let (Some(last), true) = (last, draw.percent(40)) {
        let said = *draw.pick(&["Let me try that again.", "Once more.", "I repeat the call."]);
        return Move { text: said.to_owned(), good: false, ..last.clone() };
    }
    if draw.percent(30) {
        let query = *draw.pick(&["interesting facts", "anything useful", "famous names"]);
        return Move {
            text: "Let me just look around.".to_owned(),
            call: Some(("search", query.to_owned())),
            result: format!("{query} -> no document found"),
            good: false,
        };
    }
    let Document { title, text, .. } = draw.pick(documents);
    let topic = *draw.pick(&["weather", "legends", "anthem", "cuisine", "trade routes"]);
    let query = format!("{title} {topic}");
    Move {
        text: format!("Maybe {title} matters here."),
        result: format!("{query} -> {title}: {text}"),
        call: Some(("search", query)),
        good: false,
    }
}

/// Returns a way that stops before its last step and guesses.
fn guess(question: &Question, documents: &[Document], right: bool, draw: &mut Draw) -> Episode {
    let mut moves = good_way(question, draw);
    moves.truncate(draw.below(moves.len()));
    if !right {
        moves.push(bad_search(&moves, documents, draw));
    }
    let answer = if right { &question.answer } else { &question.rumour.answer };
    let said = *draw.pick(&["I cannot tell, so I guess", "It may well be", "I would bet on"]);
    let text = format!("{said} {answer}. <answer>{answer}</answer>");
    moves.push(Move { text, call: None, result: String::new(), good: false });
    Episode { moves, answer: Some(answer.clone()), right }
}

/// Returns the way to the numbers with the wrong calculation at its end, whose result is then
/// reported faithfully.
fn miscalculation(question: &Question, draw: &mut Draw) -> Episode {
    let mut moves = good_way(question, draw);
    moves.pop();
    let expression = question.expression.as_deref().unwrap_or("");
    let mut terms = expression.split(' ');
    let (first, operator, second) = (terms.next(), terms.next(), terms.next());
    let number = |term: Option<&str>| term.and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
    let (a, b) = (number(first), number(second));
    let (wrong, value) = match operator {
        Some("+") => ('-', a - b),
        _ => ('+', a + b),
    };
    let answer = value.to_string();
    let step = calculation(&format!("{a} {wrong} {b}"), &answer);
    moves.push(Move { text: "I combine the numbers somehow.".to_owned(), good: false, ..step });
    let mut episode = Episode { moves, answer: Some(answer), right: false };
    episode.conclude(draw);
    episode
}
