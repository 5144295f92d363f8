//! What can be asked for.

use std::io::{self, Write};

use super::bench::bench;
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
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 4] = [Shape::World, Shape::Documents, Shape::Questions, Shape::Bench];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::World => "world",
            Shape::Documents => "documents",
            Shape::Questions => "questions",
            Shape::Bench => "bench",
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
}

impl Default for SynthOptions {
    fn default() -> SynthOptions {
        SynthOptions { shape: Shape::World, seed: 7, questions: 400, samples: 5, steps: 300_000 }
    }
}

/// Writes what the options ask for to `out`, which should be buffered.
///
/// # Errors
/// The writer's.
pub fn write(options: &SynthOptions, out: &mut dyn Write) -> io::Result<()> {
    let world = || World::new(options.seed, options.questions);
    match options.shape {
        Shape::World => world().write_trajectories(out, options.samples),
        Shape::Documents => world().write_documents(out),
        Shape::Questions => world().write_questions(out),
        Shape::Bench => bench(out, options.seed, options.steps),
    }
}
