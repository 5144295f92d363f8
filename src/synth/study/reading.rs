//! What a state says: what was asked, what was found, and what the question calls for next.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Proposal;
use super::calculation::{Expression, parse_number, print};
use super::facts::CALCULATOR;
use super::library::words;
use super::question::{Operation, StudyHop, StudyQuestion};
use crate::model::{Message, role};

/// Words that a query may hold beside what it asks for.
const FILLERS: [&str; 14] = [
    "the", "of", "a", "an", "what", "who", "is", "was", "which", "s", "name", "in", "for", "about",
];

/// Answers at most this many ways in which facts told twice combine.
const MOST_WAYS: usize = 64;

/// A search that is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) tool: &'static str,
    pub(super) subject: String,
    pub(super) relation: &'static str,
}

impl Need {
    /// Returns the query in its plainest form.
    pub(super) fn query(&self) -> String {
        format!("{} {}", self.subject, self.relation)
    }
}

/// What a state says about a question.
pub(super) struct Reading<'a> {
    question: &'a StudyQuestion,
    /// By subject in lower case and relation, in the order of finding.
    found: BTreeMap<(String, String), Vec<String>>,
    /// Calls made: tools with what they were asked, however it was worded.
    asked: BTreeSet<(String, String)>,
    calculated: Vec<Expression>,
}

impl<'a> Reading<'a> {
    /// Reads a state: the messages before an action.
    pub(super) fn new(question: &'a StudyQuestion, state: &[&Message]) -> Reading<'a> {
        let (found, asked) = (BTreeMap::new(), BTreeSet::new());
        let mut reading = Reading { question, found, asked, calculated: Vec::new() };
        let mut acted = false;
        for message in state {
            if message.role == role::ASSISTANT {
                acted = true;
                if let Proposal::Call { tool, argument } = Proposal::of(message) {
                    if tool == CALCULATOR {
                        reading.calculated.extend(Expression::parse(&argument));
                    }
                    reading.asked.insert((tool.clone(), key(&tool, &argument)));
                }
            } else if acted {
                reading.observe(message.text());
            }
        }
        reading
    }

    /// Takes the statements of a result. What stands before the arrow is what was asked, and no
    /// result, whatever it says.
    fn observe(&mut self, text: &str) {
        let result = text.rsplit_once(" -> ").map_or(text, |(_, result)| result);
        for sentence in result.split('.') {
            let Some((_, statement)) = sentence.rsplit_once("The ") else { continue };
            let Some((relation, rest)) = statement.split_once(" of ") else { continue };
            let Some((subject, value)) = rest.split_once(" is ") else { continue };
            let key = (subject.trim().to_lowercase(), relation.trim().to_lowercase());
            let values = self.found.entry(key).or_default();
            let value = value.trim().to_owned();
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    fn values(&self, subject: &str, relation: &str) -> &[String] {
        let key = (subject.to_lowercase(), relation.to_owned());
        self.found.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether a call was made before, in these words or others that mean the same.
    pub(super) fn was_asked(&self, tool: &str, argument: &str) -> bool {
        self.asked.contains(&(tool.to_owned(), key(tool, argument)))
    }

    /// Returns what is known to stand at each place of a path: the thing it starts with, then what
    /// was found of it, and so on.
    fn places(&self, path: &[StudyHop]) -> Vec<Vec<String>> {
        let start = path.first().map(|hop| hop.subject.clone());
        let mut places = vec![Vec::from_iter(start)];
        for hop in path {
            let mut next: Vec<String> = Vec::new();
            for subject in places.last().into_iter().flatten() {
                let values = self.values(subject, hop.relation);
                let new: Vec<_> = values.iter().filter(|v| !next.contains(v)).cloned().collect();
                next.extend(new);
            }
            places.push(next);
        }
        places
    }

    /// Returns what was found at the end of a path.
    fn ends(&self, path: &[StudyHop]) -> Vec<String> {
        self.places(path).pop().unwrap_or_default()
    }

    /// Returns the searches that are called for and were not made, those for what stands first in
    /// the question or the results first.
    pub(super) fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for path in &self.question.paths {
            for (hop, subjects) in path.iter().zip(self.places(path)) {
                for subject in subjects {
                    let need = Need { tool: hop.tool, subject, relation: hop.relation };
                    let is_open = self.values(&need.subject, need.relation).is_empty()
                        && !self.was_asked(need.tool, &need.query());
                    if is_open && !needs.contains(&need) {
                        needs.push(need);
                    }
                }
            }
        }
        needs
    }

    /// Returns the search that a query of any wording asks for, if it is called for, with whether
    /// the tool is right.
    pub(super) fn need_of(&self, tool: &str, query: &str) -> Option<(Need, bool)> {
        let asked = key(tool, query);
        let mut needs = self.needs().into_iter().filter(|need| key(tool, &need.query()) == asked);
        needs.next().map(|need| {
            let is_right = need.tool == tool;
            (need, is_right)
        })
    }

    /// Whether something that the question takes was asked for and not found.
    pub(super) fn is_stuck(&self) -> bool {
        self.needs().is_empty() && self.question.paths.iter().any(|p| self.ends(p).is_empty())
    }

    /// Returns the numbers found so far for each path that has any: one list for every way in
    /// which facts told twice combine.
    fn ways(&self) -> Vec<Vec<f64>> {
        let mut ways: Vec<Vec<f64>> = vec![Vec::new()];
        for path in &self.question.paths {
            let ends: Vec<f64> = self.ends(path).iter().filter_map(|e| parse_number(e)).collect();
            if ends.is_empty() {
                continue;
            }
            let longer = ways.iter().flat_map(|way| {
                ends.iter().map(move |end| way.iter().copied().chain([*end]).collect())
            });
            ways = longer.take(MOST_WAYS).collect();
        }
        ways
    }

    /// Returns the answers that follow from the results, of a chain by name and else as numbers;
    /// none where something is still to be found.
    pub(super) fn answers(&self) -> Vec<String> {
        let Some(operation) = self.question.operation else {
            return self.question.paths.first().map(|p| self.ends(p)).unwrap_or_default();
        };
        let whole = self.ways().into_iter().filter(|way| way.len() == self.question.paths.len());
        whole.map(|way| print(result(operation, &way))).collect()
    }

    /// Whether a calculation has the right operator on numbers that were found and not used yet.
    pub(super) fn calls_for(&self, expression: &Expression) -> bool {
        self.ways().iter().any(|way| {
            let mut left = self.left_of(way);
            match self.question.operation {
                None => false,
                Some(Operation::Sum) => {
                    expression.operator() == Some('+') && take(&mut left, expression)
                }
                Some(Operation::Difference) => {
                    let numbers = &expression.numbers;
                    expression.operators == ['-']
                        && numbers[0] >= numbers[1]
                        && left.len() == 2
                        && take(&mut left, expression)
                }
                Some(Operation::Product(by)) => {
                    left.push(f64::from(by));
                    expression.operators == ['*'] && left.len() == 2 && take(&mut left, expression)
                }
            }
        })
    }

    /// Returns the numbers of a way with those replaced by their sum that were added before.
    fn left_of(&self, way: &[f64]) -> Vec<f64> {
        let mut left = way.to_vec();
        if self.question.operation == Some(Operation::Sum) {
            for done in self.calculated.iter().filter(|done| done.operator() == Some('+')) {
                if take(&mut left, done) {
                    left.extend(done.value());
                }
            }
        }
        left
    }

    /// Returns the next calculation that the question takes once all numbers are found.
    pub(super) fn next_calculation(&self) -> Option<String> {
        let operation = self.question.operation?;
        let way = self.ways().into_iter().next()?;
        if way.len() < self.question.paths.len() {
            return None;
        }
        let left = self.left_of(&way);
        let text = match operation {
            Operation::Sum if left.len() < 2 => return None,
            Operation::Sum => format!("{} + {}", print(left[left.len() - 1]), print(left[0])),
            Operation::Difference => {
                let (a, b) = (left[0], left[1]);
                format!("{} - {}", print(a.max(b)), print(a.min(b)))
            }
            Operation::Product(by) => format!("{} * {by}", print(left[0])),
        };
        (!self.was_asked(CALCULATOR, &text)).then_some(text)
    }
}

/// Takes the numbers of a calculation out of those that are left; `false`, with none taken, where
/// one is not among them or there are fewer than two.
fn take(left: &mut Vec<f64>, expression: &Expression) -> bool {
    let mut rest = left.clone();
    for number in &expression.numbers {
        let Some(at) = rest.iter().position(|other| other == number) else { return false };
        rest.remove(at);
    }
    let is_one = expression.numbers.len() < 2;
    if !is_one {
        *left = rest;
    }
    !is_one
}

fn result(operation: Operation, numbers: &[f64]) -> f64 {
    match operation {
        Operation::Sum => numbers.iter().sum(),
        Operation::Difference => (numbers[0] - numbers[1]).abs(),
        Operation::Product(by) => numbers[0] * f64::from(by),
    }
}

/// Returns what a call asks for, the same for wordings that mean the same.
fn key(tool: &str, argument: &str) -> String {
    if tool == CALCULATOR {
        return argument.chars().filter(|c| !c.is_whitespace()).collect();
    }
    let mut words = words(argument);
    words.retain(|word| !FILLERS.contains(&word.as_str()));
    words.sort();
    words.join(" ")
}
