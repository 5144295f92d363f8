//! What a run is made of before its first step: sequences, and who judges or plays.

use super::examples::{Stored, examples, held_out};
use super::online::{StoredStates, check_form_of};
use super::request::RunConfig;
use crate::db::NewRow;
use crate::lm::LoadedModel;
use crate::session::error::SessionError;
use crate::session::rollouts::Episodes;
use crate::session::statement::Session;
use crate::store::View;
use crate::train::{Example, Objective, Preparation, Prepared, Source, TrainConfig, Whole};

/// A run before its first step.
pub(super) struct Material<'a> {
    pub(super) ready: Prepared,
    pub(super) live: Live<'a>,
}

/// Who gives rewards while a model is trained.
pub(super) enum Live<'a> {
    /// Nobody: what is stored is trained on.
    Nobody,
    /// A judge of actions that are sampled at stored states.
    Judge(Box<StoredStates<'a>>),
    /// Tools and a judge of answers: whole episodes are played.
    Episodes(Box<Episodes>),
}

impl<'a> Material<'a> {
    /// Returns what a run makes of rows.
    ///
    /// # Errors
    /// What cannot be trained on, or judged, or played.
    pub(super) fn of(
        session: &'a Session,
        view: &View,
        model: &LoadedModel,
        config: &RunConfig,
        rows: &[NewRow],
    ) -> Result<Material<'a>, SessionError> {
        let examples = examples(view, rows)?;
        let held_out = held_out(session, view, config, &examples)?;
        if config.options.objective == Objective::Grpo {
            return of_questions(session, view, model, config, (&examples, &held_out));
        }
        check_form_of(view, config, &examples)?;
        let view = session.database().view();
        let ready = prepared(model, &config.options, &Stored(&view), (&examples, &held_out))?;
        let live = match StoredStates::of(session, config)? {
            Some(judge) => Live::Judge(Box::new(judge)),
            None => Live::Nobody,
        };
        Ok(Material { ready, live })
    }
}

/// Examples, and held-out sets of them by their names.
type Sets<'e> = (&'e [Example], &'e [(String, Vec<Example>)]);

/// Returns a run whose questions are asked anew.
fn of_questions<'a>(
    session: &'a Session,
    view: &View,
    model: &LoadedModel,
    config: &RunConfig,
    (examples, held_out): Sets<'_>,
) -> Result<Material<'a>, SessionError> {
    let (Some(options), Some(judge)) = (&config.episodes, &config.judge) else {
        let message = "the run was stored without tools and judge of its episodes";
        return Err(SessionError::mistake("run", message));
    };
    let mut episodes = Box::new(Episodes::open(session, options, judge)?);
    let ordinals = |examples: &[Example]| examples.iter().map(|e| e.key).collect::<Vec<u64>>();
    let asked = episodes.ask(view, &ordinals(examples))?;
    let mut sets = Vec::with_capacity(held_out.len());
    for (name, examples) in held_out {
        sets.push((name.clone(), episodes.ask(view, &ordinals(examples))?));
    }
    let renderer = episodes.chosen(model, config.options.renderer)?;
    let options = TrainConfig { renderer, ..config.options.clone() };
    let ready = prepared(model, &options, &Whole, (&asked, &sets))?;
    Ok(Material { ready, live: Live::Episodes(episodes) })
}

fn prepared(
    model: &LoadedModel,
    config: &TrainConfig,
    source: &dyn Source,
    (examples, held_out): Sets<'_>,
) -> Result<Prepared, SessionError> {
    let Some(tokenizer) = &model.tokenizer else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    let chat_template = model.chat_template.as_deref();
    let decoder = &model.decoder;
    let preparation = Preparation { decoder, tokenizer, chat_template, config, source };
    Ok(preparation.run(examples, held_out)?)
}
