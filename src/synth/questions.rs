//! Questions whose answers take several steps.

use std::collections::HashSet;

use super::documents::{Facts, Relation, Sort, Value};
use super::draw::Draw;

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By a chain of searches, each for what the one before found.
    Chain,
    /// By searches for numbers and a calculation.
    Arithmetic,
}

/// A question about the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its identifier.
    pub id: String,
    /// `train`, `dev` or `test`.
    pub split: &'static str,
    /// How it is answered.
    pub kind: Kind,
    /// Its text.
    pub question: String,
    /// The answer.
    pub answer: String,
    /// The searches it takes.
    pub hops: Vec<Hop>,
    /// The calculation behind the searches, of an arithmetic question.
    pub expression: Option<String>,
    /// What an old almanac wrongly says for the last search.
    pub rumour: Rumour,
}

/// One search of the way to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The name of what is looked up.
    pub subject: String,
    /// The word for what is wanted of it.
    pub wanted: &'static str,
    /// What is found.
    pub found: String,
    /// The text of the document that says so.
    pub text: String,
}

/// A wrong statement, and the answer that follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rumour {
    /// The title of the document that states it.
    pub title: String,
    /// The statement.
    pub text: String,
    /// What it wrongly names.
    pub found: String,
    /// The calculation that follows, of an arithmetic question.
    pub expression: Option<String>,
    /// The wrong answer that follows.
    pub answer: String,
}

/// Parts of 20 questions in a row: 14 train, 3 dev, 3 test.
const SPLITS: [(&str, usize); 3] = [("train", 14), ("dev", 3), ("test", 3)];

/// Returns `count` questions, none twice, a quarter of them arithmetic.
pub(super) fn questions(facts: &Facts, seed: u64, count: usize) -> Vec<Question> {
    let mut draw = Draw::new(seed, "questions");
    let mut asked = HashSet::new();
    let mut questions = Vec::with_capacity(count);
    let mut splits: Vec<&'static str> = Vec::new();
    while questions.len() < count {
        if splits.is_empty() {
            let deck = SPLITS.iter().flat_map(|(split, n)| std::iter::repeat_n(*split, *n));
            splits = deck.collect();
            draw.shuffle(&mut splits);
        }
        let number = questions.len();
        let mut question = if number % 4 == 3 {
            arithmetic(facts, &mut draw)
        } else {
            chain(facts, &mut draw, 2 + number % 3)
        };
        if !asked.insert(question.question.clone()) {
            continue;
        }
        question.id = format!("q{number:04}");
        let subject = question.hops.last().map_or("", |hop| hop.subject.as_str());
        question.rumour.title = format!("{subject}, almanac of {}", 1_700 + number);
        question.split = splits.pop().unwrap_or("train");
        questions.push(question);
    }
    questions
}

fn hop(facts: &Facts, at: usize, relation: Relation, value: Value) -> Hop {
    Hop {
        subject: facts.entities[at].name.clone(),
        wanted: relation.word(),
        found: facts.text_of(value),
        text: facts.text_about(at),
    }
}

/// Returns a question over a walk of `length` relations that visits nothing twice.
fn chain(facts: &Facts, draw: &mut Draw, length: usize) -> Question {
    'walk: loop {
        let start = draw.below(facts.entities.len());
        let (mut at, mut seen) = (start, vec![start]);
        let mut phrase = facts.entities[start].name.clone();
        let mut hops = Vec::with_capacity(length);
        let mut last = None;
        for _ in 0..length {
            let onward: Vec<(Relation, usize)> = facts.entities[at]
                .facts
                .iter()
                .filter_map(|(relation, value)| match value {
                    Value::Entity(next) if !seen.contains(next) => Some((*relation, *next)),
                    _ => None,
                })
                .collect();
            if onward.is_empty() {
                continue 'walk;
            }
            let (relation, next) = *draw.pick(&onward);
            hops.push(hop(facts, at, relation, Value::Entity(next)));
            phrase = relation.phrase(&phrase);
            last = Some((at, relation, next));
            seen.push(next);
            at = next;
        }
        let Some((from, relation, to)) = last else { continue };
        let wrong = facts.text_of(facts.other_than(draw, Value::Entity(to)));
        let text = relation.sentence(&facts.entities[from].name, &wrong);
        let answer = facts.entities[to].name.clone();
        let rumour = Rumour {
            title: String::new(),
            text,
            found: wrong.clone(),
            expression: None,
            answer: wrong,
        };
        return ask(Kind::Chain, format!("Name {phrase}."), answer, hops, None, rumour);
    }
}

/// Returns a question without identifier, split and title of its rumour.
fn ask(
    kind: Kind,
    question: String,
    answer: String,
    hops: Vec<Hop>,
    expression: Option<String>,
    rumour: Rumour,
) -> Question {
    Question { id: String::new(), split: "", kind, question, answer, hops, expression, rumour }
}

/// Returns a question for a calculation with looked-up numbers.
fn arithmetic(facts: &Facts, draw: &mut Draw) -> Question {
    let (sort, relation) = *draw.pick(&[
        (Sort::Town, Relation::FoundedYear),
        (Sort::River, Relation::LengthKm),
        (Sort::Workshop, Relation::DailyPieces),
    ]);
    let all = facts.of_sort(sort);
    let first = *draw.pick(&all);
    let Value::Entity(second) = facts.other_than(draw, Value::Entity(first)) else {
        return arithmetic(facts, draw);
    };
    let days = draw.within(3, 30) as u64;
    let name = |at: usize| facts.entities[at].name.as_str();
    let (a, b) = (number_of(facts, first, relation), number_of(facts, second, relation));
    let sum = |x: u64, y: u64| match relation {
        Relation::FoundedYear => (format!("{} - {}", x.max(y), x.min(y)), x.abs_diff(y)),
        Relation::LengthKm => (format!("{x} + {y}"), x + y),
        _ => (format!("{y} * {days}"), y * days),
    };
    let question = match relation {
        Relation::FoundedYear => {
            format!(
                "How many years lie between the founding of {} and {}?",
                name(first),
                name(second)
            )
        }
        Relation::LengthKm => {
            format!("How many km are the {} and the {} together?", name(first), name(second))
        }
        _ => format!("How many pieces does {} make in {days} days?", name(second)),
    };
    let mut hops = vec![hop(facts, second, relation, Value::Number(b))];
    if relation != Relation::DailyPieces {
        hops.insert(0, hop(facts, first, relation, Value::Number(a)));
    }
    let (expression, answer) = sum(a, b);
    let (wrong, (mistaken, wrong_answer)) = loop {
        let Value::Number(wrong) = facts.other_than(draw, Value::Number(b)) else { continue };
        if sum(a, wrong).1 != answer {
            break (wrong, sum(a, wrong));
        }
    };
    let rumour = Rumour {
        title: String::new(),
        text: relation.sentence(name(second), &wrong.to_string()),
        found: wrong.to_string(),
        expression: Some(mistaken),
        answer: wrong_answer.to_string(),
    };
    ask(Kind::Arithmetic, question, answer.to_string(), hops, Some(expression), rumour)
}

fn number_of(facts: &Facts, at: usize, relation: Relation) -> u64 {
    let value = facts.entities[at].facts.iter().find(|(known, _)| *known == relation);
    match value {
        Some((_, Value::Number(number))) => *number,
        _ => 0,
    }
}
