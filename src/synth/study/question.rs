//! Questions and how they are made.

use std::collections::{BTreeSet, HashSet};

use super::super::draw::Draw;
use super::facts::{Changes, Facts, RELATIONS, Value};
use super::library::Edition;

/// The parts of the questions. Only `train` is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Chains of 2 or 3 searches, and calculations with two numbers.
    Train,
    /// The same of other things, to choose a model with.
    Dev,
    /// The same of other things: in domain.
    Test,
    /// Chains of 4 searches: more than training has.
    TestHops,
    /// Calculations with three numbers, or with one at the end of a chain.
    TestArithmetic,
    /// Chains through relations that the tool `atlas` tells, which training does not have.
    TestTool,
    /// Chains over the things of training that end with a fact asked there, where the documents
    /// ([`Edition::Counterfactual`]) now tell another: whoever answers from memory is wrong.
    TestCounterfactual,
}

impl Split {
    /// Every part.
    pub const ALL: [Split; 7] = [
        Split::Train,
        Split::Dev,
        Split::Test,
        Split::TestHops,
        Split::TestArithmetic,
        Split::TestTool,
        Split::TestCounterfactual,
    ];

    /// Returns the word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Dev => "dev",
            Split::Test => "test",
            Split::TestHops => "test_hops",
            Split::TestArithmetic => "test_arithmetic",
            Split::TestTool => "test_tool",
            Split::TestCounterfactual => "test_counterfactual",
        }
    }

    /// Returns the part that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Split> {
        Split::ALL.into_iter().find(|split| split.as_str() == word)
    }

    /// Returns the part whose things its questions are about.
    pub(super) fn things(self) -> Split {
        if self == Split::TestCounterfactual { Split::Train } else { self }
    }

    /// Returns the edition of the documents that its questions are asked of.
    pub fn edition(self) -> Edition {
        match self {
            Split::TestCounterfactual => Edition::Counterfactual,
            _ => Edition::Base,
        }
    }
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StudyKind {
    /// By a chain of searches, each for what the one before found.
    Chain,
    /// By searches for numbers and a calculation.
    Arithmetic,
}

impl StudyKind {
    /// Returns the word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            StudyKind::Chain => "chain",
            StudyKind::Arithmetic => "arithmetic",
        }
    }
}

/// What is done with the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// All are added.
    Sum,
    /// The smaller of two is taken from the larger.
    Difference,
    /// The one number is multiplied with one that the question names.
    Product(u32),
}

/// One search of the way to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyHop {
    /// The name of what is looked up.
    pub subject: String,
    /// The word for what is wanted of it.
    pub relation: &'static str,
    /// The tool whose documents tell it.
    pub tool: &'static str,
    /// What is true.
    pub value: String,
}

/// A question about the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyQuestion {
    /// Its identifier.
    pub id: String,
    /// The part it belongs to.
    pub split: Split,
    /// How it is answered.
    pub kind: StudyKind,
    /// Its text.
    pub question: String,
    /// The true answer.
    pub answer: String,
    /// The searches it takes: one chain, or a chain to each number.
    pub paths: Vec<Vec<StudyHop>>,
    /// What is done with the numbers, of an arithmetic question.
    pub operation: Option<Operation>,
}

impl StudyQuestion {
    /// Returns the number of searches it takes.
    pub fn hops(&self) -> usize {
        self.paths.iter().map(Vec::len).sum()
    }
}

/// Where questions are drawn from.
pub(super) struct Asking<'a> {
    pub(super) facts: &'a Facts,
    /// What the documents of the counterfactual edition tell.
    pub(super) changes: &'a Changes,
}

/// A walk through the facts: entity, relation, value, for each step.
type Walk = Vec<(usize, usize, Value)>;

impl Asking<'_> {
    /// Returns `count` questions of a part whose texts are not among those asked, `arithmetic` of
    /// 100 with a calculation where the part has both kinds. There are fewer where the part has too
    /// few things to ask about.
    pub(super) fn questions(
        &self,
        draw: &mut Draw,
        (split, count): (Split, usize),
        arithmetic: usize,
        asked: &mut HashSet<String>,
    ) -> Vec<StudyQuestion> {
        let things = self.facts.of_part(split.things());
        let mut out = Vec::with_capacity(count);
        // Of a part that is large enough every few tries give a question.
        let tries = 10_000 + 500 * count;
        for _ in 0..tries {
            if out.len() == count {
                break;
            }
            let calculates = match split {
                Split::Train | Split::Dev | Split::Test => draw.percent(arithmetic),
                _ => split == Split::TestArithmetic,
            };
            let made = if calculates {
                self.calculation(draw, split, &things)
            } else {
                self.chain(draw, split, &things)
            };
            let Some(mut question) = made else { continue };
            if asked.insert(question.question.clone()) {
                question.id = format!("{}-{:05}", split.as_str(), out.len());
                out.push(question);
            }
        }
        out
    }

    fn chain(&self, draw: &mut Draw, split: Split, things: &[usize]) -> Option<StudyQuestion> {
        let length = if split == Split::TestHops { 4 } else { draw.within(2, 4) };
        let walk = self.walk(draw, split, things, length)?;
        let last = walk.last()?;
        let path = self.path(split, &walk);
        let fits = match split {
            Split::TestTool => path.iter().any(|hop| hop.tool == super::facts::ATLAS),
            Split::TestCounterfactual => self.changes.contains_key(&(last.0, last.1)),
            _ => true,
        };
        let question = format!("Name {}.", phrase(&path));
        let answer = self.facts.text_of(last.2);
        fits.then(|| ask(split, StudyKind::Chain, question, answer, vec![path], None))
    }

    fn calculation(
        &self,
        draw: &mut Draw,
        split: Split,
        things: &[usize],
    ) -> Option<StudyQuestion> {
        let harder = split == Split::TestArithmetic;
        let kinds = [(Operation::Sum, "length"), (Operation::Difference, "founding")];
        let product = (Operation::Product(draw.within(3, 31) as u32), "output");
        let (operation, word) = *draw.pick(&[kinds[0], kinds[1], product]);
        let numbers = match operation {
            Operation::Product(_) => 1,
            Operation::Sum if harder => 3,
            _ => 2,
        };
        // The number of a thing that is named, or of one that a search finds.
        let length = if harder && operation != Operation::Sum { 2 } else { 1 };
        let mut walks: Vec<Walk> = Vec::with_capacity(numbers);
        while walks.len() < numbers {
            let walk = self.walk_to_number(draw, split, things, (word, length))?;
            let known = |other: &Walk| other.last() == walk.last();
            if walks.iter().any(known) {
                return None;
            }
            walks.push(walk);
        }
        let values: Vec<usize> = walks
            .iter()
            .filter_map(|walk| match walk.last()?.2 {
                Value::Number(number) => Some(number),
                Value::Entity(_) => None,
            })
            .collect();
        let paths: Vec<_> = walks.iter().map(|walk| self.path(split, walk)).collect();
        let mut phrases: Vec<String> = paths.iter().map(|path| phrase(path)).collect();
        let (what, answer) = match operation {
            Operation::Sum => ("sum", values.iter().sum()),
            Operation::Difference => ("difference", values[0].abs_diff(values[1])),
            Operation::Product(by) => {
                phrases.push(by.to_string());
                ("product", values[0] * by as usize)
            }
        };
        let question = format!("What is the {what} of {}?", phrases.join(" and "));
        let kind = StudyKind::Arithmetic;
        Some(ask(split, kind, question, answer.to_string(), paths, Some(operation)))
    }

    /// Returns a walk of `length` relations between things that visits nothing twice, or `None`
    /// where the one that was begun cannot go on.
    fn walk(&self, draw: &mut Draw, split: Split, things: &[usize], length: usize) -> Option<Walk> {
        let mut at = *draw.pick(things);
        let mut seen = BTreeSet::from([at]);
        let mut walk = Walk::new();
        for _ in 0..length {
            let onward: Vec<(usize, usize)> = (self.values(split, at))
                .filter_map(|(relation, value)| match value {
                    Value::Entity(next) if !seen.contains(&next) => Some((relation, next)),
                    _ => None,
                })
                .collect();
            if onward.is_empty() {
                return None;
            }
            let (relation, next) = *draw.pick(&onward);
            walk.push((at, relation, Value::Entity(next)));
            seen.insert(next);
            at = next;
        }
        Some(walk)
    }

    /// Returns a walk of `length` relations to a number of this word.
    fn walk_to_number(
        &self,
        draw: &mut Draw,
        split: Split,
        things: &[usize],
        (word, length): (&str, usize),
    ) -> Option<Walk> {
        loop {
            let Some(mut walk) = self.walk(draw, split, things, length - 1) else { continue };
            let at = match walk.last() {
                Some((_, _, Value::Entity(at))) => *at,
                Some(_) => continue,
                None => *draw.pick(things),
            };
            let found =
                self.values(split, at).find(|(relation, _)| RELATIONS[*relation].word == word);
            if let Some((relation, value)) = found {
                walk.push((at, relation, value));
                return Some(walk);
            }
        }
    }

    /// Returns the relations of an entity and what they lead to, as the part's edition has it.
    fn values(&self, split: Split, at: usize) -> impl Iterator<Item = (usize, Value)> {
        let changed = split.edition() == Edition::Counterfactual;
        self.facts.entities[at].facts.iter().map(move |fact| {
            let change = self.changes.get(&(at, fact.relation)).filter(|_| changed);
            (fact.relation, change.copied().unwrap_or(fact.value))
        })
    }

    fn path(&self, split: Split, walk: &Walk) -> Vec<StudyHop> {
        let hop = |(at, relation, value): &(usize, usize, Value)| StudyHop {
            subject: self.facts.entities[*at].name.clone(),
            relation: RELATIONS[*relation].word,
            tool: RELATIONS[*relation].tool(split.things()),
            value: self.facts.text_of(*value),
        };
        walk.iter().map(hop).collect()
    }
}

/// Returns the phrase for what a path leads to: `the mayor of the birthplace of Kour`.
fn phrase(path: &[StudyHop]) -> String {
    let start = path.first().map_or("", |hop| hop.subject.as_str());
    path.iter().fold(start.to_owned(), |of, hop| format!("the {} of {of}", hop.relation))
}

/// Returns a question without identifier.
fn ask(
    split: Split,
    kind: StudyKind,
    question: String,
    answer: String,
    paths: Vec<Vec<StudyHop>>,
    operation: Option<Operation>,
) -> StudyQuestion {
    StudyQuestion { id: String::new(), split, kind, question, answer, paths, operation }
}
