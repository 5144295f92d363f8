//! The implicit judge: what a model that was trained on outcomes says of a step, against the model
//! that it was trained from.
//!
//! The value of a step is `beta` times the sum over its action's tokens of log p(model) - log
//! p(reference). Where the model was trained to tell right from wrong answers by the log-ratio of
//! whole trajectories, the sum up to a step is the log-odds that the answer will be right, and a
//! step's own part is how much it moved them: above zero it raised them ("Process Reinforcement
//! through Implicit Rewards", Cui et al. 2025, equations 3 and 4).

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::judges::{JudgeOptions, Shown};
use super::policies::{probe, renderer};
use crate::lm::{Decoder, LoadedModel, Tokenizer};
use crate::model::{Json, Judge, JudgeKind, Step, Trajectory};
use crate::render::{Renderer, RendererChoice};
use crate::rollout::CallForm;
use crate::rollout::judge::{
    Judged, OnJudged, Sees, Tally, Unreadable, UnreadableReason, Verdict as Found,
};
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::session::training::{identity, load_frozen, weights_of};
use crate::train::{
    ActionScore, ChosenStep, Example, Preparation, Sequence, TrainConfig, TrainError, Truncation,
    Whole, evaluate, evaluate_shared, policy_fingerprint,
};

/// What becomes of beta times the log-ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Itself.
    Real,
    /// 1 / (1 + exp(-it)), from 0 to 1.
    Sigmoid,
    /// 1 where it is above 0, else 0.
    Sign,
}

impl Scale {
    fn as_str(self) -> &'static str {
        match self {
            Scale::Real => "real",
            Scale::Sigmoid => "sigmoid",
            Scale::Sign => "sign",
        }
    }

    fn value(self, reward: f64) -> f64 {
        match self {
            Scale::Real => reward,
            Scale::Sigmoid => 1.0 / (1.0 + (-reward).exp()),
            Scale::Sign => f64::from(u8::from(reward > 0.0)),
        }
    }
}

/// Two models that are compared.
pub(in crate::session) struct ImplicitJudge {
    model: Decoder,
    reference: Decoder,
    tokenizer: Tokenizer,
    chat_template: Option<String>,
    config: TrainConfig,
    beta: f64,
    is_mean: bool,
    scale: Scale,
}

impl ImplicitJudge {
    /// Returns the judge that the options ask for, and the judge as labels know it. `is_verdict`:
    /// its values are to be from 0 to 1.
    ///
    /// # Errors
    /// A model that cannot be loaded; two that do not read the same tokens, or are one and the
    /// same; a scale that does not fit the label.
    pub(super) fn of(
        session: &Session,
        options: &JudgeOptions,
        is_verdict: bool,
    ) -> Result<(ImplicitJudge, Judge), SessionError> {
        let (is_mean, scale) = (is_mean(&options.normalize)?, scale(&options.scale, is_verdict)?);
        let beta = options.beta;
        if !(beta.is_finite() && beta > 0.0) {
            return Err(wrong(format!("beta = {beta}: expected a number above 0, such as 0.05")));
        }
        let (model, reference, tokenizer) = ImplicitJudge::models(session, options)?;
        let template = model.chat_template.clone();
        let probe = probe(CallForm::Calls, None);
        let renderer = renderer(template.as_deref(), &tokenizer, options.policy.renderer, &probe)?;
        let is_template = matches!(renderer, Renderer::Template(_));
        if is_template && template != reference.chat_template {
            return Err(wrong(
                "the reference has another chat template than the model: expected the model that \
                 it was trained from; renderer = 'tags' compares them without templates"
                    .to_owned(),
            ));
        }
        let context = |model: &LoadedModel| model.decoder.config().context_length;
        let config = TrainConfig {
            renderer: if is_template { RendererChoice::Template } else { RendererChoice::Tags },
            truncation: Truncation::Drop,
            max_length: Some(context(&model).min(context(&reference)) as u64),
            ..TrainConfig::default()
        };
        let of_model = |loaded: &LoadedModel, name: &str| {
            let named = identity(loaded);
            let policy = policy_fingerprint(&named, &tokenizer, &renderer, template.as_deref());
            json!({"name": name, "weights": weights_of(loaded), "policy": policy})
        };
        let sides =
            [of_model(&model, &options.policy.model), of_model(&reference, &options.reference)];
        if sides[0]["weights"] == sides[1]["weights"] {
            return Err(wrong(
                "model and reference have the same weights: every value would be 0; expected a \
                 model that was trained, and the one that it was trained from"
                    .to_owned(),
            ));
        }
        let definition = json!({
            "program": "implicit",
            "version": 1,
            "model": sides[0],
            "reference": sides[1],
            "beta": beta,
            "normalize": if is_mean { "mean" } else { "sum" },
            "scale": scale.as_str(),
            "renderer": renderer.name(),
            "sees": Sees { state: true, action: true, ..Sees::default() }.to_value(),
        });
        let judge = ImplicitJudge {
            model: model.decoder,
            reference: reference.decoder,
            tokenizer,
            chat_template: template,
            config,
            beta,
            is_mean,
            scale,
        };
        Ok((judge, known(&options.policy.model, &definition)))
    }

    /// Judges steps, and hands on what came of each, by its number. GOOD is what raises the
    /// log-odds, whatever the scale.
    ///
    /// # Errors
    /// A model that fails.
    pub(super) fn judge(
        &self,
        shown: &[Shown<'_>],
        cancelled: &dyn Fn() -> bool,
        take: &mut OnJudged<'_>,
    ) -> Result<Tally, SessionError> {
        let mut tally = Tally::default();
        let mut first = 0;
        for of_one in shown.chunk_by(|a, b| std::ptr::eq(a.of, b.of)) {
            if cancelled() {
                return Err(SessionError::Cancelled);
            }
            for (number, judged) in self.judged(of_one)?.into_iter().enumerate() {
                tally.add(&judged);
                if let ControlFlow::Break(()) = take(first + number, judged) {
                    return Ok(tally);
                }
            }
            first += of_one.len();
        }
        Ok(tally)
    }

    /// Judges steps of one trajectory.
    fn judged(&self, shown: &[Shown<'_>]) -> Result<Vec<Judged>, SessionError> {
        // What was executed is in the trajectory: its steps are one sequence.
        let is_stored = shown.iter().all(|one| one.observation.is_some());
        let (mut sequences, mut failed) = (Vec::new(), vec![None; shown.len()]);
        let whole = self.sequences(&if is_stored { together(shown) } else { apart(shown) });
        match whole {
            Ok(found) => sequences = found,
            // Where one of them cannot be encoded, the others can.
            Err(_) => {
                for (number, example) in apart(shown).into_iter().enumerate() {
                    match self.sequences(std::slice::from_ref(&example)) {
                        Ok(found) => sequences.extend(found),
                        Err(error) => failed[number] = Some(Judged::Failed(error.to_string())),
                    }
                }
            }
        }
        let budget = self.config.tokens_per_batch;
        let scored = |decoder: &Decoder| match is_stored {
            true => evaluate(decoder, &sequences, budget),
            false => evaluate_shared(decoder, &sequences, budget),
        };
        let (own, other) = (scored(&self.model)?.actions, scored(&self.reference)?.actions);
        for (own, other) in own.iter().zip(&other) {
            let is_it = |(number, one): &(usize, &Shown<'_>)| match is_stored {
                true => one.step == own.row.step,
                false => *number as u64 == own.row.key,
            };
            if let Some((number, _)) = shown.iter().enumerate().find(is_it) {
                failed[number] = Some(self.verdict(own, other));
            }
        }
        let too_long = || {
            let max = self.config.max_length.unwrap_or_default();
            let text = format!("state and action take more than {max} tokens, the context");
            Judged::Unreadable(Unreadable { reason: UnreadableReason::TooLong, text })
        };
        Ok(failed.into_iter().map(|judged| judged.unwrap_or_else(too_long)).collect())
    }

    fn sequences(&self, examples: &[Example]) -> Result<Vec<Sequence>, TrainError> {
        let preparation = Preparation {
            decoder: &self.model,
            tokenizer: &self.tokenizer,
            chat_template: self.chat_template.as_deref(),
            config: &self.config,
            source: &Whole,
        };
        Ok(preparation.scoring(examples)?.sequences)
    }

    /// Returns the model of the judge, the one that it is compared with, and the tokenizer of both.
    fn models(
        session: &Session,
        options: &JudgeOptions,
    ) -> Result<(LoadedModel, LoadedModel, Tokenizer), SessionError> {
        let device = Some(options.device.as_str()).filter(|name| !name.is_empty());
        let named = |name: &str, option: &str, example: &str| match name {
            "" => Err(wrong(format!("'implicit' needs {option} = '{example}'"))),
            name => load_frozen(session, Path::new(name), device),
        };
        let mut model = named(&options.policy.model, "model", "run:NAME, trained on outcomes")?;
        let reference = named(&options.reference, "reference", "the model it was trained from")?;
        let Some(tokenizer) = model.tokenizer.take() else {
            return Err(SessionError::mistake("model", "the model has no tokenizer"));
        };
        check_tokenizers(&tokenizer, &reference)?;
        Ok((model, reference, tokenizer))
    }

    fn verdict(&self, own: &ActionScore, other: &ActionScore) -> Judged {
        let (own, other, tokens) = (own.sum(), other.sum(), own.log_probs.len());
        let mut ratio = own - other;
        let raw = json!({"log_ratio": ratio, "tokens": tokens, "model": own, "reference": other});
        if self.is_mean {
            ratio /= tokens.max(1) as f64;
        }
        let reward = self.beta * ratio;
        if !reward.is_finite() {
            let text = format!("the log-probabilities are {own} and {other}");
            let reason = UnreadableReason::NoProbability;
            return Judged::Unreadable(Unreadable { reason, text });
        }
        let (value, raw) = (self.scale.value(reward), Some(raw.to_string()));
        let word = if reward > 0.0 { "GOOD" } else { "BAD" };
        let verdict = (self.scale == Scale::Sign).then(|| word.to_owned());
        Judged::Verdict(Found { raw, verdict, ..Found::of(value) })
    }
}

/// Returns the judge as labels know it.
fn known(model: &str, definition: &Value) -> Judge {
    let fingerprint = blake3::hash(definition.to_string().as_bytes()).to_hex();
    let short = model.rsplit('/').next().unwrap_or_default();
    Judge {
        name: format!("implicit:{short}:{}", &fingerprint[..8]),
        kind: JudgeKind::Model,
        definition: Some(Json::of(definition)),
        sees_gold: Some(false),
    }
}

fn wrong(message: String) -> SessionError {
    SessionError::mistake("judge", message)
}

fn is_mean(word: &str) -> Result<bool, SessionError> {
    match word {
        "sum" => Ok(false),
        "mean" => Ok(true),
        other => {
            Err(wrong(format!("normalize = '{other}': expected 'sum' or 'mean' (over tokens)")))
        }
    }
}

/// Returns the scale of a word; without one, that which the label takes.
fn scale(word: &str, is_verdict: bool) -> Result<Scale, SessionError> {
    match word {
        "" if is_verdict => Ok(Scale::Sigmoid),
        "" => Ok(Scale::Real),
        "real" if is_verdict => Err(wrong(
            "scale = 'real' gives any number, and values of 'process', 'outcome' and rewards of \
             sampled actions are from 0 to 1: scale = 'sigmoid' or 'sign', or another label"
                .to_owned(),
        )),
        other => {
            let all = [Scale::Real, Scale::Sigmoid, Scale::Sign];
            all.into_iter().find(|scale| scale.as_str() == other).ok_or_else(|| {
                wrong(format!("scale = '{other}': expected 'real', 'sigmoid' or 'sign'"))
            })
        }
    }
}

/// Checks that a reference reads the tokens that the model reads.
fn check_tokenizers(tokenizer: &Tokenizer, reference: &LoadedModel) -> Result<(), SessionError> {
    let other = reference.tokenizer.as_ref();
    if other.is_some_and(|other| other.fingerprint() == tokenizer.fingerprint()) {
        return Ok(());
    }
    let has = match other.map(Tokenizer::vocab_size) {
        None => "has no tokenizer".to_owned(),
        Some(size) if size == tokenizer.vocab_size() => {
            format!("has another tokenizer, of {size} tokens as well")
        }
        Some(size) => format!("has {size} tokens, and the model {}", tokenizer.vocab_size()),
    };
    Err(wrong(format!(
        "the vocabulary of the reference is another one: it {has}; log-probabilities of different \
         tokens cannot be compared: expected the model that it was trained from"
    )))
}

/// Returns the steps of one trajectory as one example.
fn together(shown: &[Shown<'_>]) -> Vec<Example> {
    let steps = shown.iter().map(|one| ChosenStep::new(one.step, 1.0)).collect();
    let of = shown.first().map(|one| Arc::new(one.of.clone()));
    of.map(|trajectory| Example { key: 0, trajectory, steps }).into_iter().collect()
}

/// Returns each step as an example whose key is its number: what came before, and the action.
fn apart(shown: &[Shown<'_>]) -> Vec<Example> {
    let example = |(number, one): (usize, &Shown<'_>)| {
        let before = one.of.steps.iter().take(one.step.saturating_sub(1) as usize);
        // Stored tokens and all else that the step has; where it was sampled, its action alone.
        let own = match one.observation.and(one.of.steps.get(one.step as usize - 1)) {
            Some(stored) => stored.clone(),
            None => Step { action: one.action.clone(), ..Step::default() },
        };
        let steps = before.cloned().chain([own]).collect();
        let trajectory = Arc::new(Trajectory { steps, ..one.of.clone() });
        Example { key: number as u64, trajectory, steps: vec![ChosenStep::new(one.step, 1.0)] }
    };
    shown.iter().enumerate().map(example).collect()
}
