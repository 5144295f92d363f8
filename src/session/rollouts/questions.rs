//! The questions of a rollout: of a file, or of the trajectories that a query selects.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::request::RolloutOptions;
use super::world::World;
use crate::db::DbError;
use crate::exchange::Questions;
use crate::model::Json;
use crate::query::Scope;
use crate::query::syntax::QueryStatement;
use crate::rollout::Question;
use crate::session::error::SessionError;
use crate::session::select::select;
use crate::session::statement::Session;
use crate::store::View;

/// Trajectories whose heads are fetched together.
const TOGETHER: usize = 1024;

/// Returns the questions in their order, each once.
///
/// # Errors
/// Neither a file nor a query gives them, or both do; the file cannot be read, or a record of it; a
/// trajectory has no question.
pub(super) fn questions(
    session: &Session,
    scope: &Scope<'_>,
    query: Option<&QueryStatement>,
    options: &RolloutOptions,
    world: Option<&World>,
) -> Result<Vec<Question>, SessionError> {
    let mistake = |message: &str| Err(SessionError::mistake("questions", message));
    let mut questions = match (query, options.questions.as_str(), world) {
        (None, "", Some(world)) => world.questions(&options.split)?,
        (_, _, Some(_)) => {
            return mistake("the world gives the questions: drop 'questions', and the query");
        }
        (None, "", None) => {
            return mistake(
                "which questions? questions = 'file.jsonl', or a query before it: FROM \
                 trajectories |> WHERE split = 'dev' |> GENERATE WITH (...)",
            );
        }
        (Some(_), file, None) if !file.is_empty() => {
            return mistake("the query gives the questions: drop the option 'questions'");
        }
        (None, file, None) => of_file(Path::new(file))?,
        (Some(query), _, None) => of_query(session, scope, query)?,
    };
    if options.limit > 0 {
        questions.truncate(options.limit as usize);
    }
    match questions.is_empty() {
        true => mistake("no question is selected"),
        false => Ok(questions),
    }
}

fn of_file(path: &Path) -> Result<Vec<Question>, SessionError> {
    let mut questions = Vec::new();
    let mut seen = HashSet::new();
    let wrong =
        |what: String| SessionError::mistake("questions", format!("{}: {what}", path.display()));
    for read in Questions::open(path).map_err(DbError::from)? {
        let (place, asked) = read.map_err(DbError::from)?.map_err(|bad| wrong(bad.to_string()))?;
        if !seen.insert(asked.id.clone()) {
            return Err(wrong(format!("{place}: a second question has the id '{}'", asked.id)));
        }
        let mut meta = serde_json::Map::new();
        if let Some(hops) = asked.hops {
            meta.insert("hops".to_owned(), hops.into());
        }
        if let Some(kind) = asked.kind {
            meta.insert("type".to_owned(), kind.into());
        }
        if !asked.supporting_titles.is_empty() {
            meta.insert("titles".to_owned(), asked.supporting_titles.into());
        }
        let meta = (!meta.is_empty()).then(|| Json::of(&serde_json::Value::Object(meta)));
        let (id, text, gold, split) = (asked.id, asked.question, asked.gold, asked.split);
        questions.push(Question { id, text, gold, split, meta, ..Question::default() });
    }
    Ok(questions)
}

fn of_query(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
) -> Result<Vec<Question>, SessionError> {
    let rows = select(session, scope, query, None)?.rows;
    let ordinals: BTreeSet<u64> = rows.iter().map(|row| row.trajectory).collect();
    let ordinals: Vec<u64> = ordinals.into_iter().collect();
    asked_in(scope.view, &ordinals)
}

/// Returns the questions of trajectories in their order, each once.
///
/// # Errors
/// A trajectory has no question.
pub(super) fn asked_in(view: &View, ordinals: &[u64]) -> Result<Vec<Question>, SessionError> {
    let mut questions = Vec::new();
    let mut seen = HashSet::new();
    for part in ordinals.chunks(TOGETHER) {
        for header in view.headers(part)? {
            let Some(text) = header.question else {
                let message = format!("trajectory '{}' has no question to ask again", header.id);
                return Err(SessionError::mistake("questions", message));
            };
            let id = header.question_id.unwrap_or(header.id);
            if seen.insert(id.clone()) {
                let (gold, split) = (header.gold, header.split);
                questions.push(Question { id, text, gold, split, ..Question::default() });
            }
        }
    }
    Ok(questions)
}
