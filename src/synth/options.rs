//! What can be asked for.

use std::io::{self, Write};

use super::bench::bench;
use super::study::{Edition, StudyOptions, StudyWorld};
use super::world::World;

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Trajectories over a small world: chat JSONL with step labels.
    #[default]
    World,
    /// The documents of that world: JSONL of id, title, text.
    Documents,
    /// The questions of that world: JSONL of id, split, question, answer, hops.
    Questions,
    /// Bulk data: chat JSONL of any size.
    Bench,
    /// The demonstrator's trajectories over the world of a study: chat JSONL with step labels.
    Study,
    /// The questions of that world, all its parts: JSONL of id, split, type, question, answer (a
    /// list), hops, supporting titles, edition, tools and prompt.
    StudyQuestions,
    /// The documents of that world: JSONL of id, title, text, tool.
    StudyDocuments,
    /// The documents that its counterfactual questions are asked of.
    StudyCounterfactuals,
    /// Lines of names to be said again, for a model from nothing to learn copying from.
    StudyCopying,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 9] = [
        Shape::World,
        Shape::Documents,
        Shape::Questions,
        Shape::Bench,
        Shape::Study,
        Shape::StudyQuestions,
        Shape::StudyDocuments,
        Shape::StudyCounterfactuals,
        Shape::StudyCopying,
    ];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::World => "world",
            Shape::Documents => "documents",
            Shape::Questions => "questions",
            Shape::Bench => "bench",
            Shape::Study => "study",
            Shape::StudyQuestions => "study-questions",
            Shape::StudyDocuments => "study-documents",
            Shape::StudyCounterfactuals => "study-counterfactuals",
            Shape::StudyCopying => "study-copying",
        }
    }

    /// Returns the shape that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Shape> {
        Shape::ALL.into_iter().find(|shape| shape.as_str() == word)
    }
}

/// What to make. The default is the demo's world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthOptions {
    /// What is written.
    pub shape: Shape,
    /// The seed; the same seed gives the same bytes.
    pub seed: u64,
    /// World: the number of questions; the number of documents follows it.
    pub questions: usize,
    /// World: trajectories a question.
    pub samples: usize,
    /// Bench: about this many steps, of about 2.3 kB each.
    pub steps: u64,
    /// Study: what its world is made with. The study's shapes look at these options alone.
    pub study: StudyOptions,
    /// Study documents: those of this tool, or of all.
    pub tool: Option<String>,
}

impl Default for SynthOptions {
    fn default() -> SynthOptions {
        SynthOptions {
            shape: Shape::World,
            seed: 7,
            questions: 400,
            samples: 5,
            steps: 300_000,
            study: StudyOptions::default(),
            tool: None,
        }
    }
}

/// Writes what the options ask for to `out`, which should be buffered.
///
/// # Errors
/// The writer's.
pub fn write(options: &SynthOptions, out: &mut dyn Write) -> io::Result<()> {
    let world = || World::new(options.seed, options.questions);
    let study = || StudyWorld::new(&options.study);
    let tool = options.tool.as_deref();
    match options.shape {
        Shape::World => world().write_trajectories(out, options.samples),
        Shape::Documents => world().write_documents(out),
        Shape::Questions => world().write_questions(out),
        Shape::Bench => bench(out, options.seed, options.steps),
        Shape::Study => study().write_trajectories(out),
        Shape::StudyQuestions => study().write_questions(out),
        Shape::StudyDocuments => study().write_documents(out, Edition::Base, tool),
        Shape::StudyCopying => study().write_copying(out),
        Shape::StudyCounterfactuals => study().write_documents(out, Edition::Counterfactual, tool),
    }
}
