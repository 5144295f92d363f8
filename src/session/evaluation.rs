//! How well a corpus is searched: topics and judgements in, measures out.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::SessionError;
use super::statement::Session;
use crate::db::{Corpus, DbError};
use crate::exchange::trec::{RunWriter, read_judgements, read_run, read_topics};
use crate::score::{Evaluation, Measure, Qrels, Run, Topics, evaluate};

/// What a search for topics looks for.
#[derive(Clone, Copy, Debug)]
pub struct TopicSearch<'a> {
    /// The file of topics.
    pub topics: &'a Path,
    /// Whether topics are called by their place in the file, from 1, and not by their identifiers.
    pub by_position: bool,
    /// How many documents are found for each.
    pub k: usize,
    /// Where the run is written, if it is.
    pub run: Option<&'a Path>,
    /// How often all topics are searched, at least once; the times are those of the last pass.
    pub passes: usize,
}

/// What a search for topics found.
#[derive(Clone, Debug)]
pub struct TopicRun {
    /// The documents.
    pub run: Run,
    /// How long each topic took, shortest first.
    pub times: Vec<Duration>,
}

impl TopicRun {
    /// Returns the time that a share of the topics, from 0 to 1, took at most.
    pub fn time_of(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        self.times.get(at).copied().unwrap_or_default()
    }
}

fn wrong(error: impl std::fmt::Display) -> SessionError {
    SessionError::mistake("evaluation", error.to_string())
}

/// Reads judgements.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn qrels(path: &Path) -> Result<Qrels, SessionError> {
    let mut qrels = Qrels::default();
    read_judgements(path, &mut |judged| {
        qrels.add(&judged.topic, &judged.document, judged.relevance).map_err(|e| e.to_string())
    })
    .map_err(wrong)?;
    Ok(qrels)
}

/// Reads a run.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn run(path: &Path) -> Result<Run, SessionError> {
    let mut run = Run::default();
    read_run(path, &mut |ranked| {
        run.add(&ranked.topic, &ranked.document, ranked.score).map_err(|e| e.to_string())
    })
    .map_err(wrong)?;
    Ok(run)
}

/// Returns what measures say of a run.
///
/// # Errors
/// A document stands twice in a ranking, or no topic has both judgements and documents.
pub fn measured(
    qrels: &Qrels,
    run: &Run,
    measures: &[Measure],
    topics: Topics,
) -> Result<Evaluation, SessionError> {
    evaluate(qrels, run, measures, topics).map_err(wrong)
}

impl Session {
    /// Searches a corpus for each topic of a file.
    ///
    /// # Errors
    /// What is wrong with the topics; damage, or what the disk says; it was cancelled.
    pub fn search_topics(
        &self,
        corpus: &Corpus,
        search: &TopicSearch<'_>,
    ) -> Result<TopicRun, SessionError> {
        let topics = read_topics(search.topics).map_err(wrong)?;
        let writer = search.run.map(|path| RunWriter::create(path, "swirl")).transpose();
        let mut writer = writer.map_err(wrong)?;
        let mut run = Run::default();
        let passes = search.passes.max(1);
        self.progress().begin("searching topics", (topics.len() * passes) as u64);
        let mut times = Vec::with_capacity(topics.len());
        for (topic, pass) in (1..=passes).flat_map(|pass| topics.iter().map(move |t| (t, pass))) {
            let began = Instant::now();
            let ranked = corpus.rank(&topic.query, search.k, &|| self.cancel().is_cancelled());
            let time = began.elapsed();
            let ranked = ranked.map_err(|error| match error {
                DbError::Stopped => SessionError::Cancelled,
                other => other.into(),
            })?;
            self.progress().advance(1);
            if pass < passes {
                continue;
            }
            times.push(time);
            let position = topic.position.to_string();
            let id = if search.by_position { &position } else { &topic.id };
            for (document, score) in &ranked {
                run.add(id, document, *score).map_err(wrong)?;
            }
            if let Some(writer) = &mut writer {
                let ranking = ranked.iter().map(|(document, score)| (document.as_str(), *score));
                writer.write(id, ranking).map_err(wrong)?;
            }
        }
        times.sort_unstable();
        self.progress().end();
        if let Some(writer) = writer {
            writer.finish().map_err(wrong)?;
        }
        Ok(TopicRun { run, times })
    }
}
