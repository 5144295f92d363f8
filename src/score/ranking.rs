//! Rankings against relevance judgements, as trec_eval measures them (trec_eval 9, NIST).
//!
//! What trec_eval does, and this does too:
//!
//! - Documents of a topic are ordered by score, then by identifier, both descending; scores have
//!   single precision, and what differs only beyond it is tied. Ranks written in a file do not
//!   count.
//! - A document without a judgement is not relevant, nor is one whose relevance is negative. A
//!   document is relevant from 1 on, or from `rel` in `P(rel=2)@5`.
//! - The gain of nDCG is the relevance itself, discounted by log2(rank + 1) (Järvelin and
//!   Kekäläinen 2002); the ideal order is that of all judged documents.
//! - A topic without a relevant document counts, with 0, also where all its judgements are negative
//!   (of which trec_eval makes undefined behaviour). Topics without judgements do not count.
//! - Means are over all judged topics, with 0 where the run has none (trec_eval's `-c`, what the
//!   published figures of BEIR use), or over the topics that both have (its default).

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::measure::{Kind, Measure};

/// Judgements: how relevant documents are to topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qrels {
    topics: BTreeMap<String, HashMap<String, i64>>,
}

/// A run: scored documents for topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    topics: BTreeMap<String, Vec<(String, f32)>>,
}

/// The topics that a mean is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topics {
    /// All that have judgements; 0 where the run has no document (trec_eval's `-c`).
    Judged,
    /// Those that have judgements and documents in the run.
    Answered,
}

/// What measures say of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The topics measured, in order of their identifiers, each with a value per measure.
    pub topics: Vec<(String, Vec<f64>)>,
    /// The means over the topics asked for, one a measure.
    pub means: Vec<f64>,
    /// How many topics the means are over.
    pub topics_count: usize,
    /// Topics with judgements for which the run has nothing, in order.
    pub unanswered: Vec<String>,
    /// Topics of the run without judgements, in order; they do not count.
    pub unjudged: Vec<String>,
}

/// Why a run cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RankingError {
    /// A document is judged twice for one topic.
    #[error("topic '{topic}': document '{document}' is judged twice; keep one of the judgements")]
    JudgedTwice {
        /// The topic.
        topic: String,
        /// The document.
        document: String,
    },
    /// A document stands twice in the ranking of one topic.
    #[error("topic '{topic}': document '{document}' is in the run twice; keep the better place")]
    RankedTwice {
        /// The topic.
        topic: String,
        /// The document.
        document: String,
    },
    /// A score is no finite number of single precision.
    #[error("topic '{topic}', document '{document}': found the score {score}; expected a number")]
    Score {
        /// The topic.
        topic: String,
        /// The document.
        document: String,
        /// The score, printed.
        score: String,
    },
    /// No topic has both judgements and documents.
    #[error(
        "no topic of the run has judgements: the run has {run}, the judgements {judged}; are \
         these the same topics, numbered alike?"
    )]
    NothingInCommon {
        /// Some topics of the run, as text.
        run: String,
        /// Some topics of the judgements, as text.
        judged: String,
    },
}

impl Qrels {
    /// Adds a judgement. 0 and less is not relevant.
    ///
    /// # Errors
    /// The document was judged for this topic before.
    pub fn add(&mut self, topic: &str, document: &str, relevance: i64) -> Result<(), RankingError> {
        let documents = self.topics.entry(topic.to_owned()).or_default();
        match documents.insert(document.to_owned(), relevance) {
            None => Ok(()),
            Some(_) => Err(RankingError::JudgedTwice {
                topic: topic.to_owned(),
                document: document.to_owned(),
            }),
        }
    }

    /// Returns the number of topics that have judgements.
    pub fn topics_count(&self) -> usize {
        self.topics.len()
    }
}

impl Run {
    /// Adds a document with its score, in any order.
    ///
    /// # Errors
    /// The score is not a number, or beyond single precision. A document that was added before is
    /// found when the run is measured.
    pub fn add(&mut self, topic: &str, document: &str, score: f64) -> Result<(), RankingError> {
        let single = score as f32;
        if !single.is_finite() {
            return Err(RankingError::Score {
                topic: topic.to_owned(),
                document: document.to_owned(),
                score: score.to_string(),
            });
        }
        self.topics.entry(topic.to_owned()).or_default().push((document.to_owned(), single));
        Ok(())
    }

    /// Returns the number of topics that have documents.
    pub fn topics_count(&self) -> usize {
        self.topics.len()
    }
}

/// Returns the values of measures for each topic and their means.
///
/// # Errors
/// A document that stands twice in a ranking; no topic that has both judgements and documents.
pub fn evaluate(
    qrels: &Qrels,
    run: &Run,
    measures: &[Measure],
    topics: Topics,
) -> Result<Evaluation, RankingError> {
    let mut values = Vec::new();
    let mut unanswered = Vec::new();
    for (topic, judged) in &qrels.topics {
        let Some(documents) = run.topics.get(topic) else {
            unanswered.push(topic.clone());
            continue;
        };
        let judged = Judged::new(topic, judged, documents)?;
        let of_topic = measures.iter().map(|measure| judged.value(measure)).collect();
        values.push((topic.clone(), of_topic));
    }
    if values.is_empty() {
        let run = crate::diag::list_some(run.topics.keys().map(String::as_str));
        let judged = crate::diag::list_some(qrels.topics.keys().map(String::as_str));
        return Err(RankingError::NothingInCommon { run, judged });
    }
    let topics_count = match topics {
        Topics::Judged => qrels.topics.len(),
        Topics::Answered => values.len(),
    };
    let mean = |at: usize| {
        let sum: f64 = values.iter().map(|(_, of_topic): &(_, Vec<f64>)| of_topic[at]).sum();
        sum / topics_count as f64
    };
    let means = (0..measures.len()).map(mean).collect();
    let is_unjudged = |topic: &&String| !qrels.topics.contains_key(*topic);
    let unjudged = run.topics.keys().filter(is_unjudged).cloned().collect();
    Ok(Evaluation { topics: values, means, topics_count, unanswered, unjudged })
}

/// One topic: relevance in the order of the ranking, and in the best order.
struct Judged {
    /// The relevance of the document at each rank; 0 without a judgement.
    ranked: Vec<i64>,
    /// The relevance of the documents judged relevant, descending.
    ideal: Vec<i64>,
}

impl Judged {
    fn new(
        topic: &str,
        judged: &HashMap<String, i64>,
        documents: &[(String, f32)],
    ) -> Result<Judged, RankingError> {
        let mut order: Vec<&(String, f32)> = documents.iter().collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RankingError::RankedTwice {
                topic: topic.to_owned(),
                document: twice[0].0.clone(),
            });
        }
        let by_score = |a: &&(String, f32), b: &&(String, f32)| {
            b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then_with(|| b.0.cmp(&a.0))
        };
        order.sort_unstable_by(by_score);
        let relevance = |document: &String| judged.get(document).copied().unwrap_or(0);
        let ranked = order.iter().map(|(document, _)| relevance(document)).collect();
        let mut ideal: Vec<i64> = judged.values().copied().filter(|grade| *grade > 0).collect();
        ideal.sort_unstable_by_key(|grade| std::cmp::Reverse(*grade));
        Ok(Judged { ranked, ideal })
    }

    fn value(&self, measure: &Measure) -> f64 {
        let cutoff = measure.cutoff().unwrap_or(usize::MAX);
        let ranked = &self.ranked[..cutoff.min(self.ranked.len())];
        let is_relevant = |grade: &i64| *grade >= measure.relevant_from();
        let relevant_count = self.ideal.iter().filter(|grade| is_relevant(grade)).count() as f64;
        let hits = || ranked.iter().zip(1_u32..).filter(|(grade, _)| is_relevant(grade));
        let share = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
        match measure.kind() {
            Kind::Precision => share(hits().count() as f64, cutoff as f64),
            Kind::Recall => share(hits().count() as f64, relevant_count),
            Kind::ReciprocalRank => hits().next().map_or(0.0, |(_, rank)| 1.0 / f64::from(rank)),
            Kind::AveragePrecision => {
                let precisions =
                    hits().zip(1_u32..).map(|((_, rank), nth)| f64::from(nth) / f64::from(rank));
                share(precisions.sum(), relevant_count)
            }
            Kind::Ndcg => share(gain(ranked), gain(&self.ideal[..cutoff.min(self.ideal.len())])),
        }
    }
}

/// Returns the discounted cumulative gain of documents in this order.
fn gain(grades: &[i64]) -> f64 {
    let discounted = |(grade, rank): (&i64, u32)| *grade as f64 / f64::from(rank + 1).log2();
    grades.iter().zip(1_u32..).filter(|(grade, _)| **grade > 0).map(discounted).sum()
}
