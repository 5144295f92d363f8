//! The documents, and what the tools find in them.

use std::collections::BTreeMap;

use super::calculation::Expression;
use super::facts::{ATLAS, CALCULATOR, Changes, Facts, RECORDS, RELATIONS, SEARCH, Told, Value};

/// Which documents a tool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// Those that training has, with what all other parts ask about.
    #[default]
    Base,
    /// The same where some facts that training asks for are others.
    Counterfactual,
}

impl Edition {
    /// Every edition.
    pub const ALL: [Edition; 2] = [Edition::Base, Edition::Counterfactual];

    /// Returns the word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Edition::Base => "base",
            Edition::Counterfactual => "counterfactual",
        }
    }
}

/// A document of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyDocument {
    /// Its identifier, unique within the edition.
    pub id: String,
    /// The tool that finds it.
    pub tool: &'static str,
    /// The name of what it is about, and of the almanac where it is from one.
    pub title: String,
    /// A few sentences of one form.
    pub text: String,
}

/// The most words of a name that a query is searched for.
const NAME_WORDS_MAX: usize = 4;

/// What the tools answer where they have nothing.
pub(super) const NOTHING: &str = "nothing found";

/// The documents of one edition.
pub(super) struct Library {
    pub(super) documents: Vec<StudyDocument>,
    /// By tool and name in lower case.
    about: BTreeMap<(&'static str, String), Vec<usize>>,
}

impl Library {
    pub(super) fn new(facts: &Facts, changes: &Changes) -> Library {
        let mut library = Library { documents: Vec::new(), about: BTreeMap::new() };
        for at in 0..facts.entities.len() {
            for tool in [SEARCH, RECORDS, ATLAS] {
                library.add_about(facts, changes, (at, tool));
            }
        }
        library
    }

    /// Adds what a tool tells of an entity, and what an old almanac tells of it, which may come
    /// first.
    fn add_about(&mut self, facts: &Facts, changes: &Changes, (at, tool): (usize, &'static str)) {
        let entity = &facts.entities[at];
        let (mut first, mut then) = (Vec::new(), Vec::new());
        let mut own = String::new();
        for fact in &entity.facts {
            let relation = &RELATIONS[fact.relation];
            if relation.tool(entity.part) != tool {
                continue;
            }
            let sentence = |value: Value| relation.sentence(&entity.name, &facts.text_of(value));
            let change = changes.get(&(at, fact.relation));
            let told = change.map_or(fact.told, |_| Told::Truly);
            let (truth, wrong) = match told {
                Told::Truly => (true, None),
                Told::Never => (false, None),
                Told::Wrongly(wrong) => (false, Some((wrong, false))),
                Told::Twice(wrong, is_first) => (true, Some((wrong, is_first))),
            };
            if truth {
                let gap = if own.is_empty() { "" } else { " " };
                own.push_str(gap);
                own.push_str(&sentence(*change.unwrap_or(&fact.value)));
            }
            if let Some((wrong, is_first)) = wrong {
                // Of a year that the entity determines, so that two almanacs have two titles.
                let year = 1_700 + (at * RELATIONS.len() + fact.relation) % 200;
                let title = format!("{}, almanac of {year}", entity.name);
                let almanacs = if is_first { &mut first } else { &mut then };
                almanacs.push((title, sentence(wrong)));
            }
        }
        if !own.is_empty() {
            first.push((entity.name.clone(), own));
        }
        first.append(&mut then);
        for (title, text) in first {
            let number = self.documents.len();
            self.documents.push(StudyDocument { id: format!("s{number:06}"), tool, title, text });
            let key = (tool, entity.name.to_lowercase());
            self.about.entry(key).or_default().push(number);
        }
    }

    /// Returns what a tool answers.
    pub(super) fn call(&self, tool: &str, argument: &str) -> String {
        if tool == CALCULATOR {
            let value = Expression::parse(argument).and_then(|read| read.value());
            // As a calculator of floats prints: 24.0.
            return value.map_or_else(|| "cannot be calculated".to_owned(), |v| format!("{v:?}"));
        }
        let Some(tool) = [SEARCH, RECORDS, ATLAS].into_iter().find(|known| *known == tool) else {
            return "no such tool".to_owned();
        };
        let words = words(argument);
        let runs = (0..words.len())
            .flat_map(|at| (at + 1..=words.len()).take(NAME_WORDS_MAX).map(move |end| at..end));
        let about = runs.filter_map(|run| self.about.get(&(tool, words[run].join(" ")))).next();
        let Some(about) = about else { return NOTHING.to_owned() };
        let documents = || about.iter().map(|at| &self.documents[*at]);
        let tells = |document: &&StudyDocument| {
            words.iter().any(|word| document.text.contains(&format!("The {word} of ")))
        };
        let mut found: Vec<&StudyDocument> = documents().filter(tells).collect();
        if found.is_empty() {
            found = documents().take(1).collect();
        }
        let print = |document: &&StudyDocument| format!("{}: {}", document.title, document.text);
        found.iter().map(print).collect::<Vec<_>>().join(" ")
    }
}

/// Returns the words of a text in lower case.
pub(super) fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    parts.map(str::to_lowercase).collect()
}
