//! The world as a whole: documents, questions, trajectories.

use std::io::{self, Write};

use serde_json::json;

use super::documents::{Document, Facts};
use super::draw::Draw;
use super::episodes::{self, Episode};
use super::questions::{self, Kind, Question};

/// A small closed world: what its documents do not say is not so.
pub struct World {
    seed: u64,
    documents: Vec<Document>,
    questions: Vec<Question>,
}

impl World {
    /// Returns the world of a seed with this many questions.
    pub fn new(seed: u64, questions: usize) -> World {
        let facts = Facts::new(seed, questions);
        let questions = questions::questions(&facts, seed, questions);
        let mut documents = Vec::new();
        let mut add = |title: String, text: String| {
            documents.push(Document { id: format!("d{:05}", documents.len()), title, text });
        };
        for (at, entity) in facts.entities.iter().enumerate() {
            add(entity.name.clone(), facts.text_about(at));
        }
        for question in &questions {
            add(question.rumour.title.clone(), question.rumour.text.clone());
        }
        World { seed, documents, questions }
    }

    /// Returns the documents: one about each thing, and for each question an old almanac's
    /// wrong one.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Returns the questions.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Writes the documents as JSONL of id, title, text.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_documents(&self, out: &mut dyn Write) -> io::Result<()> {
        for Document { id, title, text } in &self.documents {
            writeln!(out, "{}", json!({"id": id, "title": title, "text": text}))?;
        }
        Ok(())
    }

    /// Writes the questions as JSONL of id, split, kind, question, answer and the number of hops.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_questions(&self, out: &mut dyn Write) -> io::Result<()> {
        for question in &self.questions {
            let kind = match question.kind {
                Kind::Chain => "chain",
                Kind::Arithmetic => "arithmetic",
            };
            let line = json!({
                "id": question.id,
                "split": question.split,
                "kind": kind,
                "question": question.question,
                "answer": question.answer,
                "hops": question.hops.len(),
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Writes `samples` trajectories a question as chat JSONL with step labels. Of every 20 in a
    /// row a fixed number has all steps good or some bad, and the right or a wrong answer.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_trajectories(&self, out: &mut dyn Write, samples: usize) -> io::Result<()> {
        let mut draw = Draw::new(self.seed, "episodes");
        let mut classes = Vec::new();
        for question in &self.questions {
            for sample in 0..samples {
                if classes.is_empty() {
                    classes = episodes::classes(&mut draw);
                }
                let Some(class) = classes.pop() else { continue };
                let episode = Episode::new(question, class, &self.documents, &mut draw);
                writeln!(out, "{}", episode.record(question, sample))?;
            }
        }
        Ok(())
    }
}
