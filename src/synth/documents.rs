//! The facts of the world, and the documents that state them.

use super::draw::Draw;
use super::names::Names;

/// A document of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its identifier.
    pub id: String,
    /// Its title: the name of what it is about.
    pub title: String,
    /// A few sentences.
    pub text: String,
}

/// What kind of thing an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Person,
    Town,
    Region,
    River,
    Workshop,
    Book,
}

/// A way from one entity to another, or to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Birthplace,
    Teacher,
    Region,
    River,
    Founder,
    Seat,
    Author,
    Printer,
    Capital,
    FoundedYear,
    LengthKm,
    DailyPieces,
}

impl Relation {
    /// Returns the word that a query uses for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Relation::Birthplace => "birthplace",
            Relation::Teacher => "teacher",
            Relation::Region => "region",
            Relation::River => "river",
            Relation::Founder => "founder",
            Relation::Seat => "seat",
            Relation::Author => "author",
            Relation::Printer => "printer",
            Relation::Capital => "capital",
            Relation::FoundedYear => "founding year",
            Relation::LengthKm => "length",
            Relation::DailyPieces => "daily output",
        }
    }

    /// Returns the phrase for what it leads to from something.
    pub(super) fn phrase(self, from: &str) -> String {
        match self {
            Relation::Birthplace => format!("the town where {from} was born"),
            Relation::Teacher => format!("the teacher of {from}"),
            Relation::Region => format!("the region of {from}"),
            Relation::River => format!("the river that flows through {from}"),
            Relation::Founder => format!("the founder of {from}"),
            Relation::Seat => format!("the seat of {from}"),
            Relation::Author => format!("the author of {from}"),
            Relation::Printer => format!("the printer of {from}"),
            Relation::Capital => format!("the capital of {from}"),
            Relation::FoundedYear => format!("the founding year of {from}"),
            Relation::LengthKm => format!("the length of {from}"),
            Relation::DailyPieces => format!("the daily output of {from}"),
        }
    }

    /// Returns the sentence that states it.
    pub(super) fn sentence(self, from: &str, to: &str) -> String {
        match self {
            Relation::Birthplace => format!("{from} was born in {to}."),
            Relation::Teacher => format!("{from} was taught by {to}."),
            Relation::Region => format!("{from} lies in {to}."),
            Relation::River => format!("The {to} flows through {from}."),
            Relation::Founder => format!("{from} was founded by {to}."),
            Relation::Seat => format!("{from} has its seat in {to}."),
            Relation::Author => format!("{from} was written by {to}."),
            Relation::Printer => format!("{from} was printed by {to}."),
            Relation::Capital => format!("The capital of {from} is {to}."),
            Relation::FoundedYear => format!("{from} was founded in {to}."),
            Relation::LengthKm => format!("The {from} is {to} km long."),
            Relation::DailyPieces => format!("{from} makes {to} pieces a day."),
        }
    }
}

/// What a relation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Entity(usize),
    Number(u64),
}

/// A thing of the world.
pub(super) struct Entity {
    pub(super) name: String,
    pub(super) sort: Sort,
    pub(super) facts: Vec<(Relation, Value)>,
}

/// All things of the world and what is true of them.
pub(super) struct Facts {
    pub(super) entities: Vec<Entity>,
}

impl Facts {
    /// Returns a world that is large enough for this many questions.
    pub(super) fn new(seed: u64, questions: usize) -> Facts {
        let mut draw = Draw::new(seed, "facts");
        let mut facts = Facts { entities: Vec::new() };
        let mut names = Names::default();
        let counts = [
            (Sort::Region, 4 + questions / 20),
            (Sort::River, 5 + questions / 10),
            (Sort::Town, 10 + questions / 3),
            (Sort::Person, 12 + questions / 2),
            (Sort::Workshop, 8 + questions / 4),
            (Sort::Book, 8 + questions / 3),
        ];
        for (sort, count) in counts {
            for _ in 0..count {
                let name = name_of(&mut names, &mut draw, sort);
                let facts_of = facts.draw_facts(&mut draw, sort);
                facts.entities.push(Entity { name, sort, facts: facts_of });
            }
        }
        let towns = facts.of_sort(Sort::Town);
        for region in facts.of_sort(Sort::Region) {
            let own: Vec<usize> =
                towns.iter().copied().filter(|t| facts.lies_in(*t, region)).collect();
            let capital = *draw.pick(if own.is_empty() { &towns } else { &own });
            facts.entities[region].facts.push((Relation::Capital, Value::Entity(capital)));
        }
        facts
    }

    fn draw_facts(&self, draw: &mut Draw, sort: Sort) -> Vec<(Relation, Value)> {
        let of = |sort| self.of_sort(sort);
        let any = |draw: &mut Draw, sort| Value::Entity(*draw.pick(&of(sort)));
        match sort {
            Sort::Region => Vec::new(),
            Sort::River => {
                vec![(Relation::LengthKm, Value::Number(draw.within(20, 980) as u64))]
            }
            Sort::Town => vec![
                (Relation::Region, any(draw, Sort::Region)),
                (Relation::River, any(draw, Sort::River)),
                (Relation::FoundedYear, Value::Number(draw.within(900, 1700) as u64)),
            ],
            Sort::Person => {
                let mut facts = vec![(Relation::Birthplace, any(draw, Sort::Town))];
                if !self.of_sort(Sort::Person).is_empty() {
                    facts.push((Relation::Teacher, any(draw, Sort::Person)));
                }
                facts
            }
            Sort::Workshop => vec![
                (Relation::Founder, any(draw, Sort::Person)),
                (Relation::Seat, any(draw, Sort::Town)),
                (Relation::DailyPieces, Value::Number(draw.within(12, 240) as u64)),
            ],
            Sort::Book => vec![
                (Relation::Author, any(draw, Sort::Person)),
                (Relation::Printer, any(draw, Sort::Workshop)),
            ],
        }
    }

    /// Returns the entities of a sort.
    pub(super) fn of_sort(&self, sort: Sort) -> Vec<usize> {
        (0..self.entities.len()).filter(|at| self.entities[*at].sort == sort).collect()
    }

    fn lies_in(&self, town: usize, region: usize) -> bool {
        self.entities[town].facts.contains(&(Relation::Region, Value::Entity(region)))
    }

    /// Returns the name of an entity, or the digits of a number.
    pub(super) fn text_of(&self, value: Value) -> String {
        match value {
            Value::Entity(at) => self.entities[at].name.clone(),
            Value::Number(number) => number.to_string(),
        }
    }

    /// Returns a value of the same kind that is not `value`.
    pub(super) fn other_than(&self, draw: &mut Draw, value: Value) -> Value {
        match value {
            Value::Number(number) => Value::Number(number + 3 + draw.below(40) as u64),
            Value::Entity(at) => {
                let same = self.of_sort(self.entities[at].sort);
                let place = same.iter().position(|other| *other == at).unwrap_or(0);
                let step = draw.within(1, same.len());
                Value::Entity(same[(place + step) % same.len()])
            }
        }
    }

    /// Returns the text of the document about an entity.
    pub(super) fn text_about(&self, at: usize) -> String {
        let entity = &self.entities[at];
        let sentence = |(relation, value): &(Relation, Value)| {
            relation.sentence(&entity.name, &self.text_of(*value))
        };
        entity.facts.iter().map(sentence).collect::<Vec<_>>().join(" ")
    }
}

fn name_of(names: &mut Names, draw: &mut Draw, sort: Sort) -> String {
    match sort {
        Sort::Person => {
            let first = names.word(draw, 1);
            format!("{first} {}", names.word(draw, 2))
        }
        Sort::Town | Sort::River => names.word(draw, 2),
        Sort::Region => format!("{} Land", names.word(draw, 2)),
        Sort::Workshop => {
            let trade = draw.pick(&["Mill", "Forge", "Press", "Yard"]);
            format!("{} {trade}", names.word(draw, 1))
        }
        Sort::Book => {
            let kind = draw.pick(&["Songs", "Letters", "Travels", "Tales"]);
            format!("{kind} of {}", names.word(draw, 2))
        }
    }
}
