//! The world of a study as a whole.

use std::collections::{BTreeMap, HashSet};

use super::super::draw::Draw;
use super::super::names::Names;
use super::facts::{ATLAS, CALCULATOR, Changes, Facts, RECORDS, RELATIONS, SEARCH};
use super::library::{Edition, Library, StudyDocument};
use super::question::{Asking, Split, StudyQuestion};
use crate::model::{Message, role};

/// How actions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActionForm {
    /// With tags in the text, results as user turns: the paper's form.
    #[default]
    Tags,
    /// As calls of tools, results as tool turns.
    Calls,
}

impl ActionForm {
    /// Every form.
    pub const ALL: [ActionForm; 2] = [ActionForm::Tags, ActionForm::Calls];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionForm::Tags => "tags",
            ActionForm::Calls => "calls",
        }
    }

    /// Returns the form that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<ActionForm> {
        ActionForm::ALL.into_iter().find(|form| form.as_str() == word)
    }
}

/// What to make. The default has 4,000 questions to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyOptions {
    /// The seed; the same options give the same bytes.
    pub seed: u64,
    /// Questions of `train`.
    pub questions: usize,
    /// Questions of each other part; fewer where there is too little to ask about, as of
    /// counterfactual ones where training has a few questions only.
    pub held_out: usize,
    /// Of 100 questions of train, dev and test, those with a calculation; with 0, calculations are
    /// held out of training altogether.
    pub arithmetic_percent: usize,
    /// Of 1,000 facts, those that documents do not tell as they are.
    pub trouble_permille: usize,
    /// Trajectories for each question of train and dev.
    pub samples: usize,
    /// Of 1,000 steps of the demonstrator, those that are bad, about.
    pub noise_permille: usize,
    /// The most actions of a trajectory.
    pub steps: usize,
    /// How actions are written.
    pub form: ActionForm,
}

impl Default for StudyOptions {
    fn default() -> StudyOptions {
        StudyOptions {
            seed: 7,
            questions: 4_000,
            held_out: 300,
            arithmetic_percent: 25,
            trouble_permille: 200,
            samples: 5,
            noise_permille: 160,
            steps: 8,
            form: ActionForm::Tags,
        }
    }
}

/// A small closed world: what its documents do not say is not so.
pub struct StudyWorld {
    options: StudyOptions,
    facts: Facts,
    questions: Vec<StudyQuestion>,
    base: Library,
    counterfactual: Library,
}

impl StudyWorld {
    /// Returns the world of these options.
    pub fn new(options: &StudyOptions) -> StudyWorld {
        let facts = all_facts(options);
        let mut asked = HashSet::new();
        let mut questions = Vec::new();
        let mut changes = Changes::new();
        for split in Split::ALL {
            let train = split == Split::Train;
            let count = if train { options.questions } else { options.held_out };
            if split == Split::TestCounterfactual {
                changes = changed(&facts, &questions, options.seed);
                if changes.is_empty() {
                    continue;
                }
            }
            let asking = Asking { facts: &facts, changes: &changes };
            let mut draw = Draw::new(options.seed, split.as_str());
            let percent = options.arithmetic_percent.min(100);
            questions.extend(asking.questions(&mut draw, (split, count), percent, &mut asked));
        }
        let base = Library::new(&facts, &Changes::new());
        let counterfactual = Library::new(&facts, &changes);
        StudyWorld { options: options.clone(), facts, questions, base, counterfactual }
    }

    /// Returns the options it was made with.
    pub fn options(&self) -> &StudyOptions {
        &self.options
    }

    /// Returns the questions of all parts, those of one part together.
    pub fn questions(&self) -> &[StudyQuestion] {
        &self.questions
    }

    /// Returns the documents of an edition.
    pub fn documents(&self, edition: Edition) -> &[StudyDocument] {
        &self.library(edition).documents
    }

    fn library(&self, edition: Edition) -> &Library {
        match edition {
            Edition::Base => &self.base,
            Edition::Counterfactual => &self.counterfactual,
        }
    }

    /// Returns the tools that a part's prompts offer.
    pub fn tools(&self, split: Split) -> Vec<&'static str> {
        let mut tools = vec![SEARCH, RECORDS];
        if split == Split::TestTool {
            tools.push(ATLAS);
        }
        tools.push(CALCULATOR);
        tools
    }

    /// Returns what a tool answers: to a query the documents about the first thing it names that
    /// tell a relation it names, else the first about that thing; to an expression its value.
    /// Wrong names and expressions are answered by a sentence that says so.
    pub fn call(&self, edition: Edition, tool: &str, argument: &str) -> String {
        self.library(edition).call(tool, argument.trim())
    }

    /// Returns what a call puts into the transcript: `QUERY -> RESULT`.
    pub fn observe(&self, edition: Edition, tool: &str, argument: &str) -> String {
        let argument = argument.trim();
        format!("{argument} -> {}", self.call(edition, tool, argument))
    }

    /// Returns the messages before the first action: which tool tells what, and the question.
    pub fn prompt(&self, question: &StudyQuestion) -> Vec<Message> {
        let tools = self.tools(question.split);
        let told = |tool: &&'static str| {
            let things = question.split.things();
            let told = RELATIONS.iter().filter(|relation| relation.tool(things) == *tool);
            let words: Vec<&str> = told.map(|relation| relation.word).collect();
            if words.is_empty() {
                (*tool).to_owned()
            } else {
                format!("{tool}: {}", words.join(" "))
            }
        };
        let system = tools.iter().map(told).collect::<Vec<_>>().join("\n");
        vec![
            Message::new(role::SYSTEM, system),
            Message::new(role::USER, question.question.clone()),
        ]
    }

    /// Returns the name of something that a part's questions are about.
    pub(super) fn name(&self, split: Split, draw: &mut Draw) -> String {
        let of_part = self.facts.of_part(split.things());
        self.facts.entities[*draw.pick(&of_part)].name.clone()
    }
}

/// Returns the things of all parts. Those of training are few, so that each fact is asked for
/// several times and can be learnt by heart.
fn all_facts(options: &StudyOptions) -> Facts {
    let (mut facts, mut names) = (Facts::default(), Names::default());
    for split in Split::ALL.into_iter().filter(|split| split.things() == *split) {
        let count =
            if split == Split::Train { options.questions / 8 } else { options.held_out / 2 };
        let mut draw = Draw::new(options.seed, &format!("things of {}", split.as_str()));
        facts.add(&mut names, &mut draw, (split, count.max(40)), options.trouble_permille);
    }
    facts
}

/// Returns other values for a third of the facts that chains of training end with.
fn changed(facts: &Facts, questions: &[StudyQuestion], seed: u64) -> Changes {
    let mut draw = Draw::new(seed, "changes");
    let names: BTreeMap<&str, usize> = (facts.entities.iter().enumerate())
        .map(|(at, entity)| (entity.name.as_str(), at))
        .collect();
    let mut changes = Changes::new();
    let chains = questions.iter().filter(|q| q.split == Split::Train && q.operation.is_none());
    for hop in chains.filter_map(|question| question.paths.first()?.last()) {
        let relation = RELATIONS.iter().position(|relation| relation.word == hop.relation);
        let (Some(&at), Some(relation)) = (names.get(hop.subject.as_str()), relation) else {
            continue;
        };
        if changes.contains_key(&(at, relation)) || !draw.percent(33) {
            continue;
        }
        let fact = facts.entities[at].facts.iter().find(|fact| fact.relation == relation);
        let value = fact.map(|fact| fact.value);
        changes.insert((at, relation), facts.other_than(&mut draw, at, relation, value));
    }
    changes
}
