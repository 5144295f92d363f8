//! Episodes of a model while it is trained: asked, played with tools, taped token by token, judged.
//!
//! Rules, tools and prompts are those of GENERATE on the same questions. Trajectories are not
//! stored: they are tens of times as many as the questions and follow from seed and weights.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::judges::{JudgeOptions, Judging, Shown, judging};
use super::policies::{cache_tokens, drawn, probe, renderer};
use super::questions::asked_in;
use super::request::ToolOptions;
use super::run::hash_of;
use super::toolset::Toolset;
use crate::lm::{Distribution, LoadedModel};
use crate::model::{Json, Message, Trajectory};
use crate::render::{Renderer, RendererChoice};
use crate::rollout::judge::Judged;
use crate::rollout::{
    ActRequest, Counts, Episode, LocalOptions, LocalPolicy, OnProposed, Policy, PolicyError,
    PolicyIdentity, Proposed, Protocol, Question, RolloutError, Setting, play, trajectory_id,
};
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::store::View;
use crate::train::{
    Asked, ChosenStep, EpisodePlayer, Example, Played, TrainConfig, TrainError, Turn, Worth,
};

/// How many actions are sampled at a time; it shows in none of them.
const SLOTS: usize = 16;

/// Tools and rules of episodes that are played while training, as GENERATE has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct EpisodeOptions {
    /// The small world that knows the questions and has the tools: `default`, or its options.
    world: String,
    /// The corpora that searches are over, joined by commas.
    corpora: String,
    /// The tools that are offered, joined by commas; all of the corpora and the calculator, if
    /// empty; `none` for none.
    tools: String,
    /// Documents that a search returns.
    k: usize,
    #[serde(flatten)]
    protocol: Protocol,
}

impl Default for EpisodeOptions {
    fn default() -> EpisodeOptions {
        EpisodeOptions {
            world: String::new(),
            corpora: String::new(),
            tools: String::new(),
            k: 3,
            protocol: Protocol::default(),
        }
    }
}

/// What all episodes of a run share: questions, tools, rules, the judge of answers.
pub(in crate::session) struct Episodes {
    options: EpisodeOptions,
    tools: Toolset,
    judging: Judging,
    /// The judge's name, with a hash over what it is.
    judge: String,
    sees_gold: bool,
    /// All questions; the key of a row is a place here.
    questions: Vec<Question>,
}

impl Episodes {
    /// Opens tools and judge.
    ///
    /// # Errors
    /// There is no such tool, corpus or world; a judge of steps.
    pub(in crate::session) fn open(
        session: &Session,
        options: &EpisodeOptions,
        judge: &JudgeOptions,
    ) -> Result<Episodes, SessionError> {
        let mut options = options.clone();
        let EpisodeOptions { world, corpora, tools, k, .. } = &options;
        let form = options.protocol.action_form;
        let tools = ToolOptions { world, corpora, tools, k: *k, form };
        let tools = Toolset::open(session, &tools, None)?;
        options.protocol.tags = tools.tags.clone();
        options.protocol.complete();
        let (judging, judge) = judging(session, judge, true)?;
        judging.check_answers(&judge.name)?;
        let definition = judge.definition.as_ref().map_or("", |d| d.as_str());
        let hash = blake3::hash(definition.as_bytes()).to_hex();
        Ok(Episodes {
            options,
            tools,
            judging,
            judge: format!("{} {}", judge.name, &hash[..16]),
            sees_gold: judge.sees_gold != Some(false),
            questions: Vec::new(),
        })
    }

    /// Adds the questions of trajectories, each once; returns them as what training is handed.
    ///
    /// # Errors
    /// A trajectory without a question, or with one that the small world does not have; no gold
    /// answer where the judge compares with one.
    pub(in crate::session) fn ask(
        &mut self,
        view: &View,
        ordinals: &[u64],
    ) -> Result<Vec<Example>, SessionError> {
        let mut questions = asked_in(view, ordinals)?;
        if let Some(world) = &self.tools.world {
            let ids: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
            let known = world.known(&ids).map_err(|id| {
                let message = format!(
                    "the world '{}' has no question '{id}': select trajectories of its questions, \
                     or name the world that they are of",
                    self.options.world
                );
                SessionError::mistake("world", message)
            });
            questions = known?;
        }
        let lacking: Vec<&str> =
            questions.iter().filter(|q| q.gold.is_empty()).map(|q| q.id.as_str()).collect();
        if let (true, Some(first)) = (self.sees_gold, lacking.first()) {
            let message = format!(
                "{} of {} questions have no gold answer, such as '{first}', and judge '{}' \
                 compares with one: leave them out (WHERE gold IS NOT NULL)",
                lacking.len(),
                questions.len(),
                self.judge_name()
            );
            return Err(SessionError::mistake("judge", message));
        }
        let before = self.questions.len();
        let examples =
            (before..).zip(&questions).map(|(key, question)| self.example(key, question));
        let examples = examples.collect();
        self.questions.extend(questions);
        Ok(examples)
    }

    /// Returns a question as the state before the first action of its episodes.
    fn example(&self, key: usize, question: &Question) -> Example {
        let episode = Episode::new(question.clone(), 0, &self.options.protocol);
        let trajectory = Trajectory {
            id: question.id.clone(),
            question_id: Some(question.id.clone()),
            question: Some(question.text.clone()),
            prompt: episode.state().into_iter().cloned().collect(),
            // Something has to stand behind the state that is asked for; it is not looked at.
            ..self.probe()
        };
        Example {
            key: key as u64,
            trajectory: Arc::new(trajectory),
            steps: vec![ChosenStep::new(1, 1.0)],
        }
    }

    /// Returns which renderer it is that a choice means: left to choose, the model's template where
    /// it loses nothing of calls, results and answers, as in GENERATE.
    ///
    /// # Errors
    /// A template that is asked for and loses something; a tokenizer without turns.
    pub(in crate::session) fn chosen(
        &self,
        model: &LoadedModel,
        choice: RendererChoice,
    ) -> Result<RendererChoice, SessionError> {
        Ok(match self.renderer(model, choice)? {
            Renderer::Tags(_) => RendererChoice::Tags,
            Renderer::Template(_) => RendererChoice::Template,
        })
    }

    fn renderer(
        &self,
        model: &LoadedModel,
        choice: RendererChoice,
    ) -> Result<Renderer, SessionError> {
        let Some(tokenizer) = &model.tokenizer else { return Err(no_tokenizer()) };
        renderer(model.chat_template.as_deref(), tokenizer, choice, &self.probe())
    }

    /// Returns a trajectory with everything that an episode writes.
    fn probe(&self) -> Trajectory {
        probe(self.options.protocol.action_form, self.tools.offered.as_ref())
    }

    /// Returns the player of a model, whose updates it sees.
    ///
    /// # Errors
    /// A model that is not on the CPU, no memory for the cache.
    pub(in crate::session) fn player<'a>(
        &'a mut self,
        session: &'a Session,
        model: &LoadedModel,
        config: &TrainConfig,
    ) -> Result<Player<'a>, SessionError> {
        let Some(tokenizer) = model.tokenizer.clone() else { return Err(no_tokenizer()) };
        let renderer = self.renderer(model, config.renderer)?;
        let local = LocalOptions {
            distribution: config.distribution(),
            max_new_tokens: config.completion_length(),
            slots: SLOTS,
            seed: config.seed,
        };
        let cache = cache_tokens(session, &model.decoder);
        let name = ("the model that is trained", "");
        let policy =
            LocalPolicy::new(name, &model.decoder, Arc::new(tokenizer), renderer, local, cache);
        let policy = policy.map_err(RolloutError::from)?;
        Ok(Player { session, episodes: self, policy, sampled: config.distribution() })
    }

    fn judge_name(&self) -> &str {
        self.judge.split(' ').next().unwrap_or_default()
    }

    /// Says how episodes go, in lines of a name and a value.
    pub(in crate::session) fn described(&self) -> Vec<(&'static str, String)> {
        let names = self.tools.names().join(", ");
        let tools = match (&self.tools.world, names.is_empty()) {
            (Some(_), _) => format!("those of the world '{}'", self.options.world),
            (None, true) => "none".to_owned(),
            (None, false) => names,
        };
        let calls = self.options.protocol.max_queries;
        vec![
            ("reward", format!("the final answer, by judge '{}'", self.judge_name())),
            ("tools", format!("{tools}; {calls} calls at most")),
        ]
    }

    /// Returns a hash over all that episodes depend on beside weights, options and prompts.
    fn setting(&self) -> String {
        let all: Value = json!({
            "tools": self.tools.described(),
            "protocol": self.options.protocol,
            "k": self.options.k,
            "questions": hash_of(&self.questions),
        });
        blake3::hash(all.to_string().as_bytes()).to_hex().to_string()
    }
}

fn no_tokenizer() -> SessionError {
    SessionError::mistake("model", "the model has no tokenizer")
}

/// Plays the episodes of a run.
pub(in crate::session) struct Player<'a> {
    session: &'a Session,
    episodes: &'a mut Episodes,
    policy: LocalPolicy,
    sampled: Distribution,
}

impl EpisodePlayer for Player<'_> {
    fn judge(&self) -> String {
        self.episodes.judge.clone()
    }

    fn setting(&self) -> String {
        self.episodes.setting()
    }

    fn play(&mut self, asked: &[Asked<'_>]) -> Result<Vec<Played>, TrainError> {
        let is_sampled = asked.iter().any(|one| one.seed.is_some());
        let distribution = if is_sampled { self.sampled } else { Distribution::greedy() };
        self.policy.renew(distribution);
        let session = self.session;
        // A step that was cancelled is made again; an evaluation belongs to a step that was made.
        let cancelled = || is_sampled && session.cancel().is_cancelled();
        let (ended, mut turns) = self.played(asked, &cancelled).map_err(|error| match error {
            RolloutError::Cancelled => TrainError::Cancelled,
            other => TrainError::Episodes(other.to_string()),
        })?;
        let worth = self.judged(&ended, &cancelled)?;
        let all = ended.into_iter().zip(worth).map(|((trajectory, counts), worth)| Played {
            turns: turns.remove(&trajectory.id).unwrap_or_default(),
            worth,
            counts: named(&counts),
        });
        Ok(all.collect())
    }
}

/// What has ended, in the order asked, and the actions of each by its id.
type Ended = (Vec<(Trajectory, Counts)>, HashMap<String, Vec<Turn>>);

impl Player<'_> {
    fn played(
        &mut self,
        asked: &[Asked<'_>],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Ended, RolloutError> {
        let Episodes { options, tools, questions, .. } = &*self.episodes;
        let mut seeds = HashMap::new();
        let mut order = Vec::with_capacity(asked.len());
        let mut episodes = Vec::with_capacity(asked.len());
        for one in asked {
            let question = &questions[one.row.key as usize];
            let number = u32::try_from(one.number).unwrap_or(u32::MAX);
            let id = trajectory_id(&question.id, number);
            seeds.insert(id.clone(), one.seed.unwrap_or_default());
            order.push(id);
            episodes.push(Episode::new(question.clone(), number, &options.protocol));
        }
        let seed = |episode: &Episode, step: u32| {
            let id = trajectory_id(&episode.question().id, episode.sample());
            drawn(seeds.get(&id).copied().unwrap_or_default(), episode, step)
        };
        let names = episodes.iter().map(|episode| seed(episode, 0)).zip(order.clone());
        let names: Vec<(u64, String)> = names.collect();
        let offered = tools.offered.as_ref().map(Json::to_value);
        let mut setting = Setting {
            protocol: &options.protocol,
            tools: offered.as_ref(),
            call: &mut |question, name, arguments| match cancelled() {
                true => Err(RolloutError::Cancelled),
                false => tools.call(question, name, arguments, cancelled),
            },
            seed: &seed,
            source: "",
            width: SLOTS,
        };
        let mut taped = Taped { policy: &mut self.policy, turns: BTreeMap::new() };
        let mut by_id = HashMap::new();
        let mut take = |ended: Vec<(Trajectory, Counts)>| -> Result<(), RolloutError> {
            by_id.extend(ended.into_iter().map(|one| (one.0.id.clone(), one)));
            Ok(())
        };
        play(&mut episodes.into_iter(), &mut taped, &mut setting, cancelled, &mut take)?;
        let mut turns = taped.turns;
        let of_name = |(name, id)| Some((id, turns.remove(&name)?));
        let turns = names.into_iter().filter_map(of_name).collect();
        Ok((order.iter().filter_map(|id| by_id.remove(id)).collect(), turns))
    }

    /// Returns what each trajectory is worth.
    fn judged(
        &mut self,
        ended: &[(Trajectory, Counts)],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Worth>, TrainError> {
        let mut worth = vec![Worth::Unanswered; ended.len()];
        let answered = ended.iter().enumerate().filter_map(|(at, (of, _))| {
            let answer = of.answer.clone()?;
            let (state, action) = (Vec::new(), Message::default());
            Some((at, Shown { of, step: 0, state, action, observation: None, answer }))
        });
        let (places, shown): (Vec<usize>, Vec<Shown<'_>>) = answered.unzip();
        for at in &places {
            worth[*at] = Worth::Failed("it said nothing".to_owned());
        }
        let judged = self.episodes.judging.judge(&shown, cancelled, &mut |number, judged| {
            worth[places[number]] = match judged {
                Judged::Verdict(verdict) => Worth::Value(verdict.value),
                Judged::Unreadable(unreadable) => Worth::Failed(unreadable.reason.to_string()),
                Judged::Failed(why) => Worth::Failed(why),
            };
            ControlFlow::Continue(())
        });
        match judged {
            Ok(_) => Ok(worth),
            Err(SessionError::Cancelled) => Err(TrainError::Cancelled),
            Err(error) => Err(TrainError::Judge(error.to_string())),
        }
    }
}

fn named(counts: &Counts) -> Vec<(&'static str, f64)> {
    let all = counts.named().into_iter().filter(|(name, _)| *name != "episodes/count");
    all.map(|(name, count)| (name, count as f64)).collect()
}

/// A policy whose actions are kept as tokens, conversation by conversation.
struct Taped<'p> {
    policy: &'p mut LocalPolicy,
    turns: BTreeMap<u64, Vec<Turn>>,
}

impl Policy for Taped<'_> {
    fn identity(&self) -> &PolicyIdentity {
        self.policy.identity()
    }

    fn act(
        &mut self,
        requests: &[ActRequest],
        cancelled: &dyn Fn() -> bool,
        on_done: &mut OnProposed<'_>,
    ) -> Result<(), PolicyError> {
        let turns = &mut self.turns;
        self.policy.act(requests, cancelled, &mut |at, outcome| {
            if let (Ok(proposed), Some(name)) = (&outcome, requests[at].conversation) {
                turns.entry(name).or_default().push(turn(proposed));
            }
            on_done(at, outcome)
        })
    }

    fn forget(&mut self, conversation: u64) {
        self.policy.forget(conversation);
    }
}

/// Returns an action as tokens; one that found no room in the context has none.
fn turn(proposed: &Proposed) -> Turn {
    Turn {
        state: proposed.state_ids.clone().unwrap_or_default(),
        action: proposed.token_ids.clone().unwrap_or_default(),
        log_probs: proposed.log_probs.clone().unwrap_or_default(),
        ended: proposed.finish_reason.as_deref() == Some("stop"),
    }
}
