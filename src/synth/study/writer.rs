//! The world as lines of JSON.

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::super::draw::Draw;
use super::action::tag_of;
use super::copying::write_copying;
use super::demonstrator::{Demonstrator, Episode};
use super::library::Edition;
use super::question::{Split, StudyHop, StudyQuestion};
use super::world::StudyWorld;
use crate::model::{Message, role};

impl StudyWorld {
    /// Writes the questions: `id`, `split`, `type`, `question`, `answer` (a list), `hops`,
    /// `supporting_titles`, `edition` (whose documents to ask), `tools` and `prompt` (messages).
    ///
    /// # Errors
    /// The writer's.
    pub fn write_questions(&self, out: &mut dyn Write) -> io::Result<()> {
        // A thing of which nothing is told has no document.
        let told = Edition::ALL.map(|edition| {
            let titles = self.documents(edition).iter().map(|document| document.title.as_str());
            titles.filter_map(|title| title.split(',').next()).collect::<HashSet<_>>()
        });
        for question in self.questions() {
            let told = &told[usize::from(question.split.edition() != Edition::Base)];
            let mut titles = titles(question);
            titles.retain(|title| told.contains(*title));
            let line = json!({
                "id": question.id,
                "split": question.split.as_str(),
                "type": question.kind.as_str(),
                "question": question.question,
                "answer": [question.answer],
                "hops": question.hops(),
                "supporting_titles": titles,
                "edition": question.split.edition().as_str(),
                "tools": self.tools(question.split),
                "prompt": self.prompt(question),
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Writes the documents of an edition that a tool finds, or those of all tools, as JSONL of
    /// `id`, `title`, `text`, `tool`.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_documents(
        &self,
        out: &mut dyn Write,
        edition: Edition,
        tool: Option<&str>,
    ) -> io::Result<()> {
        for document in self.documents(edition) {
            if tool.is_none_or(|tool| tool == document.tool) {
                let (id, title, text) = (&document.id, &document.title, &document.text);
                let tool = document.tool;
                let line = json!({"id": id, "title": title, "text": text, "tool": tool});
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Writes the demonstrator's trajectories of train and dev as chat JSONL with step labels.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_trajectories(&self, out: &mut dyn Write) -> io::Result<()> {
        let options = self.options();
        let demonstrator = Demonstrator {
            world: self,
            form: options.form,
            noise: options.noise_permille,
            steps: options.steps,
        };
        for question in self.questions() {
            if !matches!(question.split, Split::Train | Split::Dev) {
                continue;
            }
            for sample in 0..options.samples {
                let name = format!("episode {} {sample}", question.id);
                let mut draw = Draw::new(options.seed, &name);
                let episode = demonstrator.run(question, &mut draw);
                writeln!(out, "{}", self.record(question, sample, &episode))?;
            }
        }
        Ok(())
    }

    fn record(&self, question: &StudyQuestion, sample: usize, episode: &Episode) -> Value {
        let labels: Map<String, Value> = (episode.steps.iter())
            .map(|(message, good)| (message.to_string(), json!(if *good { 1 } else { -1 })))
            .collect();
        let right = episode.answer.as_ref() == Some(&question.answer);
        let mut record = json!({
            "id": format!("{}:{sample}", question.id),
            "data_source": "study",
            "split": question.split.as_str(),
            "question_id": question.id,
            "sample_index": sample,
            "model": "demonstrator",
            "question": question.question,
            "ground_truth": {"target": [question.answer]},
            "answer_text": episode.answer,
            "messages": episode.messages.iter().map(chat).collect::<Vec<_>>(),
        });
        record["step_labels"] = json!(labels);
        record["final_label"] = json!(if right { 1 } else { -1 });
        record["kind"] = json!(question.kind.as_str());
        record["hops"] = json!(question.hops());
        if episode.answer.is_none() {
            record["status"] = json!("limit");
        }
        record
    }

    /// Writes lines of names to be said again, as many as there are questions to train on, as chat
    /// JSONL: what a model from nothing is trained on before the demonstrator's trajectories.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_copying(&self, out: &mut dyn Write) -> io::Result<()> {
        write_copying(out, self.options().seed, self.options().questions)
    }

    /// Returns the tags that open an action of a part, for whoever stops a policy at their ends.
    pub fn tags(&self, split: Split) -> Vec<String> {
        self.tools(split).into_iter().map(tag_of).chain(["answer".to_owned()]).collect()
    }
}

/// Returns a message as chat records have it.
fn chat(message: &Message) -> Value {
    let mut out = json!({"role": message.role, "content": message.content});
    if message.role == role::ASSISTANT && !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        });
        // Who renders a message prints `tool_calls` behind its content.
        let name = if message.calls_in_content { "calls_in_content" } else { "tool_calls" };
        out[name] = calls.collect();
    }
    if let Some(error) = message.error {
        out["is_error"] = json!(error);
    }
    if let Some(id) = &message.tool_call_id {
        out["tool_call_id"] = json!(id);
    }
    out
}

/// Returns the titles of the documents that tell what a question takes.
fn titles(question: &StudyQuestion) -> Vec<&str> {
    let mut titles: Vec<&str> = Vec::new();
    for StudyHop { subject, .. } in question.paths.iter().flatten() {
        if !titles.contains(&subject.as_str()) {
            titles.push(subject);
        }
    }
    titles
}
