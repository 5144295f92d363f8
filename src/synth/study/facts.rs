//! What is true in the world, and where it is told wrongly or not at all.

use std::collections::BTreeMap;

use super::super::draw::Draw;
use super::super::names::Names;
use super::question::Split;

/// The encyclopaedia.
pub(super) const SEARCH: &str = "search";
/// The register.
pub(super) const RECORDS: &str = "records";
/// The tool that training never offers.
pub(super) const ATLAS: &str = "atlas";
/// The calculator.
pub(super) const CALCULATOR: &str = "calculator";

/// What kind of thing an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Person,
    Town,
    River,
    Guild,
    Book,
}

/// Sorts with how many of 20 entities are of each.
const SORTS: [(Sort, usize); 5] =
    [(Sort::Person, 6), (Sort::Town, 5), (Sort::River, 3), (Sort::Guild, 3), (Sort::Book, 3)];

/// A way from one entity to another, or to a number.
#[derive(Debug)]
pub(super) struct Relation {
    /// The word for it in questions, queries and documents.
    pub(super) word: &'static str,
    of: Sort,
    to: Target,
    /// The tool whose documents tell it.
    tool: &'static str,
    /// Whether the tool that training never offers tells it in that tool's part.
    moves: bool,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Sort(Sort),
    /// Numbers from the first up to, not including, the second.
    Number(usize, usize),
}

const fn way(word: &'static str, of: Sort, to: Sort, tool: &'static str, moves: bool) -> Relation {
    Relation { word, of, to: Target::Sort(to), tool, moves }
}

const fn number(
    word: &'static str,
    of: Sort,
    range: (usize, usize),
    tool: &'static str,
) -> Relation {
    Relation { word, of, to: Target::Number(range.0, range.1), tool, moves: false }
}

/// Every relation.
pub(super) const RELATIONS: [Relation; 15] = [
    way("birthplace", Sort::Person, Sort::Town, SEARCH, true),
    way("teacher", Sort::Person, Sort::Person, SEARCH, false),
    way("employer", Sort::Person, Sort::Guild, RECORDS, false),
    way("river", Sort::Town, Sort::River, SEARCH, true),
    way("twin", Sort::Town, Sort::Town, RECORDS, true),
    way("mayor", Sort::Town, Sort::Person, RECORDS, false),
    way("source", Sort::River, Sort::Town, SEARCH, false),
    way("keeper", Sort::River, Sort::Person, RECORDS, false),
    way("founder", Sort::Guild, Sort::Person, SEARCH, false),
    way("seat", Sort::Guild, Sort::Town, RECORDS, true),
    way("author", Sort::Book, Sort::Person, SEARCH, false),
    way("printer", Sort::Book, Sort::Guild, RECORDS, false),
    number("founding", Sort::Town, (900, 1700), SEARCH),
    number("length", Sort::River, (20, 980), RECORDS),
    number("output", Sort::Guild, (12, 240), RECORDS),
];

impl Relation {
    /// Returns the tool whose documents tell it of the things of a part.
    pub(super) fn tool(&self, part: Split) -> &'static str {
        if self.moves && part == Split::TestTool { ATLAS } else { self.tool }
    }

    /// Returns the sentence that tells it.
    pub(super) fn sentence(&self, of: &str, value: &str) -> String {
        format!("The {} of {of} is {value}.", self.word)
    }
}

/// What a relation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Entity(usize),
    Number(usize),
}

/// How documents tell a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// As it is.
    Truly,
    /// Not at all.
    Never,
    /// Wrongly, by an old almanac.
    Wrongly(Value),
    /// As it is, and wrongly by an old almanac; which of them is found first.
    Twice(Value, bool),
}

/// One fact of an entity.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// Its place in [`RELATIONS`].
    pub(super) relation: usize,
    pub(super) value: Value,
    pub(super) told: Told,
}

/// A thing of the world.
#[derive(Debug)]
pub(super) struct Entity {
    pub(super) name: String,
    pub(super) sort: Sort,
    /// The part whose questions are about it; dev and test have things of their own too, and
    /// counterfactual questions are about those of training.
    pub(super) part: Split,
    pub(super) facts: Vec<Fact>,
}

/// All things of the world.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) entities: Vec<Entity>,
}

/// Values that differ from the truth, by entity and relation: what documents of another edition
/// tell.
pub(super) type Changes = BTreeMap<(usize, usize), Value>;

impl Facts {
    /// Adds `count` things, or a few more, for a part. `trouble` is the chance of 1,000 that a fact
    /// is not told as it is.
    pub(super) fn add(
        &mut self,
        names: &mut Names,
        draw: &mut Draw,
        (part, count): (Split, usize),
        trouble: usize,
    ) {
        let first = self.entities.len();
        for (sort, share) in SORTS {
            for _ in 0..(count * share / 20).max(4) {
                let name = names.compound(draw);
                self.entities.push(Entity { name, sort, part, facts: Vec::new() });
            }
        }
        for at in first..self.entities.len() {
            let sort = self.entities[at].sort;
            let relations = (0..RELATIONS.len()).filter(|r| RELATIONS[*r].of == sort);
            let facts = relations.map(|relation| self.fact(draw, at, relation, trouble)).collect();
            self.entities[at].facts = facts;
        }
    }

    fn fact(&self, draw: &mut Draw, at: usize, relation: usize, trouble: usize) -> Fact {
        let value = self.other_than(draw, at, relation, None);
        let told = if draw.below(1_000) >= trouble {
            Told::Truly
        } else {
            let mut wrong = || self.other_than(draw, at, relation, Some(value));
            let wrong = wrong();
            match draw.below(10) {
                0..=1 => Told::Never,
                2..=6 => Told::Wrongly(wrong),
                kind => Told::Twice(wrong, kind == 7),
            }
        };
        Fact { relation, value, told }
    }

    /// Returns a value that a relation of an entity could have, other than itself and `value`.
    pub(super) fn other_than(
        &self,
        draw: &mut Draw,
        at: usize,
        relation: usize,
        value: Option<Value>,
    ) -> Value {
        loop {
            let drawn = match RELATIONS[relation].to {
                Target::Number(from, to) => Value::Number(draw.within(from, to)),
                Target::Sort(sort) => {
                    let own = &self.entities[at];
                    let same = |e: &&Entity| e.sort == sort && e.part == own.part;
                    let count = self.entities.iter().filter(same).count();
                    let chosen = draw.below(count);
                    let mut places = self.entities.iter().enumerate().filter(|(_, e)| same(e));
                    Value::Entity(places.nth(chosen).map_or(at, |(place, _)| place))
                }
            };
            if drawn != Value::Entity(at) && Some(drawn) != value {
                return drawn;
            }
        }
    }

    /// Returns the name of an entity, or the digits of a number.
    pub(super) fn text_of(&self, value: Value) -> String {
        match value {
            Value::Entity(at) => self.entities[at].name.clone(),
            Value::Number(number) => number.to_string(),
        }
    }

    /// Returns the things of a part.
    pub(super) fn of_part(&self, part: Split) -> Vec<usize> {
        (0..self.entities.len()).filter(|at| self.entities[*at].part == part).collect()
    }
}
