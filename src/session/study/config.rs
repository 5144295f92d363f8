//! The file of a study.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::cells::Variant;
use super::pools::POLICY;
use crate::diag::{Diagnostic, Span, nearest};
use crate::rollout::CallForm;
use crate::session::error::SessionError;
use crate::session::rollouts::study_options;
use crate::synth::Split;

/// The judge of answers where the file names none.
const OUTCOME_JUDGE: &str = "exact_match";

/// What ends the name of a test in which no tool is offered.
const WITHOUT_TOOLS: &str = "/without_tools";

/// Options of EVALUATE in whose place a study has its own.
const OF_EVALUATION: [&str; 5] = ["model", "report", "judge", "outcome_judge", "same_judge"];

/// What a study is asked to do. Tables of options hold the options of the statement they are for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StudyConfig {
    /// What the names of all that it makes begin with.
    pub(super) name: String,
    /// The small world that gives questions, tools and a demonstrator: `default`, or its options.
    pub(super) world: Option<String>,
    /// How actions call tools: of policies, and of the demonstrator.
    #[serde(default)]
    pub(super) action_form: CallForm,
    /// Trajectories of the demonstrator for each question of the world.
    pub(super) demonstrations: Option<usize>,
    /// Other worlds, a tenth of the questions each, that the model is warmed up on too. Their facts
    /// are others: where there are some, knowing by heart helps less than reading results.
    #[serde(default)]
    pub(super) reading_worlds: u64,
    /// Files of questions, in place of a world.
    pub(super) questions: Option<QuestionSets>,
    /// The corpora that searches are over.
    pub(super) corpora: Option<Value>,
    /// The tools that are offered.
    pub(super) tools: Option<Value>,
    /// The model that all begins with.
    pub(super) model: Option<ModelConfig>,
    /// Several models by their names, in its place: all is done with each.
    #[serde(default)]
    pub(super) models: BTreeMap<String, ModelConfig>,
    /// Options of TRAIN, and `query`: how the model is warmed up before it generates.
    pub(super) warm_start: Option<Table>,
    /// Options of GENERATE.
    #[serde(default)]
    pub(super) generate: Table,
    /// Other policies by the name of what they generate: options of GENERATE in place of the
    /// usual ones; `model` may be the name of one of several models.
    #[serde(default)]
    pub(super) sources: BTreeMap<String, Table>,
    /// Options of JUDGE, of the judge of steps that filters and rewards.
    pub(super) judge: Table,
    /// Others in its place, by their names.
    #[serde(default)]
    pub(super) judges: BTreeMap<String, Table>,
    /// Options of JUDGE, of the judge of answers that filters.
    pub(super) outcome_judge: Option<Table>,
    /// Options of JUDGE, of the judge of steps that evaluates.
    pub(super) evaluation_judge: Table,
    /// Whether one judge may train and evaluate.
    #[serde(default)]
    pub(super) same_judge: bool,
    /// Options of EVALUATE.
    #[serde(default)]
    pub(super) evaluate: Table,
    /// Which filters are compared.
    pub(super) filters: Vec<Filter>,
    /// Ways of training by their names: options of TRAIN, and `rows`, a condition on steps.
    pub(super) objectives: BTreeMap<String, Table>,
    /// Numbers of trajectories to train on, or of tokens of their actions; 0 for as many as the
    /// strictest filter leaves.
    pub(super) sizes: Vec<u64>,
    /// By what filters are held equal.
    #[serde(default, rename = "match")]
    pub(super) matched: Match,
    /// Which trajectories are drawn, and the order of training.
    pub(super) seeds: Vec<u64>,
    /// What is evaluated on: parts of the world, or names of sets of questions; all sets, if empty.
    /// `NAME/without_tools` is the same without tools.
    #[serde(default)]
    pub(super) tests: Vec<String>,
    /// Shares of verdicts of judge 'world' that say the opposite in training.
    #[serde(default = "no_noise")]
    pub(super) noise: Vec<f64>,
    /// Which cells are trained, as `objective/filter/size` with `*` for any; all, if empty.
    #[serde(default)]
    pub(super) cells: Vec<String>,
    /// How many rounds cells go through, by their names or patterns.
    #[serde(default)]
    pub(super) rounds: BTreeMap<String, u64>,
    /// Pairs of cells, named before anything is known; all are reported.
    #[serde(default)]
    pub(super) comparisons: Vec<[String; 2]>,
    /// The report's files, without their endings.
    pub(super) report: String,
}

/// Files of questions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionSets {
    /// The file that is trained on.
    pub(super) train: String,
    /// Files to evaluate on by their names: a path, or `questions` and options of EVALUATE.
    pub(super) test: BTreeMap<String, TestSet>,
}

/// A set of questions to evaluate on.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum TestSet {
    /// A file.
    File(String),
    /// `questions`, and options of EVALUATE that differ from the other sets'.
    Options(Table),
}

/// The model that all begins with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelConfig {
    /// A file, a folder, or a repository of the hub; with sizes, the folder it is made in.
    pub(super) path: String,
    /// Tokens of the vocabulary of a new model.
    pub(super) vocab_size: Option<usize>,
    /// Its width.
    pub(super) hidden_size: Option<usize>,
    /// Its layers.
    pub(super) n_layers: Option<usize>,
    /// Its heads of attention.
    pub(super) n_heads: Option<usize>,
    /// Its longest sequence in tokens.
    pub(super) context_length: Option<usize>,
    /// Where its weights come from.
    pub(super) seed: Option<u64>,
}

/// A model, and its name where there are several.
pub(super) type Model<'a> = (Option<&'a str>, &'a ModelConfig);

impl ModelConfig {
    /// Whether the model is to be made where there is none.
    pub(super) fn is_new(&self) -> bool {
        let sizes =
            [self.vocab_size, self.hidden_size, self.n_layers, self.n_heads, self.context_length];
        sizes.iter().any(Option::is_some) || self.seed.is_some()
    }
}

/// Which trajectories are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Filter {
    /// All.
    None,
    /// Those whose every step is judged GOOD.
    Process,
    /// Those whose answer is judged right.
    Outcome,
    /// Those that pass both.
    ProcessAndOutcome,
}

impl Filter {
    /// Returns the word used in files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Filter::None => "none",
            Filter::Process => "process",
            Filter::Outcome => "outcome",
            Filter::ProcessAndOutcome => "process_and_outcome",
        }
    }

    /// Whether steps are looked at.
    pub(super) fn has_process(self) -> bool {
        matches!(self, Filter::Process | Filter::ProcessAndOutcome)
    }

    /// Whether the answer is looked at.
    pub(super) fn has_outcome(self) -> bool {
        matches!(self, Filter::Outcome | Filter::ProcessAndOutcome)
    }
}

/// By what filters are held equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Match {
    /// The number of trajectories, as in the paper.
    #[default]
    Trajectories,
    /// The tokens of actions.
    ActionTokens,
}

fn no_noise() -> Vec<f64> {
    vec![0.0]
}

impl StudyConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, has a key that there is not, lacks one, or has a value that
    /// its key does not take; two keys that do not go together.
    pub(super) fn read(path: &Path) -> Result<StudyConfig, SessionError> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            SessionError::mistake("study-config", format!("{}: {e}", path.display()))
        })?;
        let file = path.display();
        let config: StudyConfig = toml::from_str(&text).map_err(|error| {
            let message = format!("{file}: {}", error.message());
            let mut diagnostic = Diagnostic::new("study-config", message);
            if let Some(span) = error.span() {
                diagnostic = diagnostic.at(Span::new(span.start, span.end));
            }
            SessionError::Mistake { diagnostic, text: text.clone() }
        })?;
        config.completed().map_err(|mut diagnostic| {
            diagnostic.message = format!("{file}: {}", diagnostic.message);
            SessionError::Mistake { diagnostic, text: String::new() }
        })
    }

    /// Checks what one key says of another, and puts in what is left to choose.
    fn completed(mut self) -> Result<StudyConfig, Diagnostic> {
        self.check_names()?;
        self.check_lists()?;
        self.check_questions()?;
        self.check_options()?;
        if self.world.is_some() && self.tests.is_empty() {
            self.tests = vec![Split::Test.as_str().to_owned()];
        }
        if let (Some(sets), true) = (&self.questions, self.tests.is_empty()) {
            self.tests = sets.test.keys().cloned().collect();
        }
        let judges = [&mut self.judge, &mut self.evaluation_judge];
        for judge in judges.into_iter().chain(self.judges.values_mut()) {
            let is_of_world = judge.get("judge").and_then(Value::as_str) == Some("world");
            if let (true, false, Some(world)) =
                (is_of_world, judge.contains_key("world"), &self.world)
            {
                judge.insert("world".to_owned(), Value::String(world.clone()));
            }
        }
        self.check_judges()?;
        Ok(self)
    }

    fn check_names(&self) -> Result<(), Diagnostic> {
        let is_name = |name: &str| {
            let is_letter =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
            !name.is_empty() && name.chars().all(is_letter)
        };
        let expected = "expected small letters, digits, _ and -";
        let sets = self.questions.iter().flat_map(|sets| sets.test.keys());
        let names = std::iter::once(("name", &self.name))
            .chain(self.objectives.keys().map(|name| ("objectives", name)))
            .chain(sets.map(|name| ("questions.test", name)))
            .chain(self.models.keys().map(|name| ("models", name)))
            .chain(self.judges.keys().map(|name| ("judges", name)))
            .chain(self.sources.keys().map(|name| ("sources", name)));
        for (key, name) in names {
            if !is_name(name) {
                return Err(wrong(key, &format!("'{name}' is no name here: {expected}")));
            }
        }
        if self.report.is_empty() {
            return Err(wrong("report", "it is empty; expected a file's name without its ending"));
        }
        match (&self.model, self.models.is_empty()) {
            (Some(_), true) | (None, false) => {}
            _ => {
                let message = "expected one of [model], and [models.NAME] for several";
                return Err(Diagnostic::new("study-config", message));
            }
        }
        for model in self.model.iter().chain(self.models.values()) {
            if model.path.is_empty() {
                let message = "it is empty; expected a model, or a folder to make";
                return Err(wrong("model.path", message));
            }
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), Diagnostic> {
        let lists = [
            ("filters", self.filters.len()),
            ("objectives", self.objectives.len()),
            ("sizes", self.sizes.len()),
            ("seeds", self.seeds.len()),
            ("noise", self.noise.len()),
        ];
        if let Some((key, _)) = lists.iter().find(|(_, length)| *length == 0) {
            return Err(wrong(key, "it is empty; expected one value at least"));
        }
        let unlike = [
            ("filters", self.filters.iter().map(|f| f.as_str()).collect::<BTreeSet<_>>().len()),
            ("sizes", self.sizes.iter().collect::<BTreeSet<_>>().len()),
            ("seeds", self.seeds.iter().collect::<BTreeSet<_>>().len()),
        ];
        for (key, different) in unlike {
            let given = lists.iter().find(|(name, _)| *name == key).map_or(0, |(_, n)| *n);
            if given != different {
                return Err(wrong(key, "a value stands in it twice; expected each once"));
            }
        }
        if let Some(share) = self.noise.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return Err(wrong("noise", &format!("{share} is no share; expected 0 to 1")));
        }
        if let Some((cell, rounds)) = self.rounds.iter().find(|(_, rounds)| **rounds < 2) {
            let message = format!("{rounds} of '{cell}': expected 2 or more; every cell has one");
            return Err(wrong("rounds", &message));
        }
        Ok(())
    }

    fn check_questions(&self) -> Result<(), Diagnostic> {
        let known: Vec<String> = match (&self.world, &self.questions) {
            (Some(world), None) => {
                let options = study_options(world).map_err(|e| wrong("world", &e.to_string()))?;
                if options.is_none() {
                    return Err(wrong("world", "it is empty; expected default, or its options"));
                }
                if self.corpora.is_some() || self.tools.is_some() {
                    return Err(wrong("world", "it has its own tools: drop 'corpora', 'tools'"));
                }
                let tests = Split::ALL.into_iter().filter(|split| *split != Split::Train);
                tests.map(|split| split.as_str().to_owned()).collect()
            }
            (None, Some(sets)) => {
                if sets.test.is_empty() {
                    return Err(wrong("questions.test", "it is empty; expected a set at least"));
                }
                if self.demonstrations.is_some() {
                    return Err(wrong("demonstrations", "only a 'world' has a demonstrator"));
                }
                if self.reading_worlds > 0 {
                    return Err(wrong("reading_worlds", "only a 'world' has others like it"));
                }
                sets.test.keys().cloned().collect()
            }
            _ => {
                let message = "expected one of 'world' and 'questions', which give the questions";
                return Err(Diagnostic::new("study-config", message));
            }
        };
        for test in &self.tests {
            let (set, _) = test_of(test);
            if !known.iter().any(|name| name == set) {
                let help = nearest(set, &known, "tests", "there are none");
                return Err(wrong("tests", &format!("there is no test '{test}'")).help(help));
            }
        }
        Ok(())
    }

    fn check_options(&self) -> Result<(), Diagnostic> {
        const QUESTIONS: [&str; 5] = ["world", "questions", "split", "corpora", "tools"];
        refuse("generate", &self.generate, &["action_form"])?;
        refuse("evaluate", &self.evaluate, &["action_form"])?;
        refuse("generate", &self.generate, &QUESTIONS)?;
        refuse("evaluate", &self.evaluate, &QUESTIONS)?;
        refuse("evaluate", &self.evaluate, &OF_EVALUATION)?;
        for (name, options) in &self.sources {
            let key = format!("sources.{name}");
            refuse(&key, options, &QUESTIONS)?;
            refuse(&key, options, &["action_form"])?;
            if options.get("model").and_then(Value::as_str).is_none() {
                return Err(wrong(&key, "it lacks 'model', whose trajectories they are"));
            }
        }
        for (name, options) in &self.objectives {
            let key = format!("objectives.{name}");
            let own = ["model", "seed", "resume", "world", "corpora", "tools", "action_form"];
            refuse(&key, options, &own)?;
        }
        for (name, set) in self.questions.iter().flat_map(|sets| &sets.test) {
            if let TestSet::Options(options) = set {
                let key = format!("questions.test.{name}");
                refuse(&key, options, &["world", "split", "action_form"])?;
                refuse(&key, options, &OF_EVALUATION)?;
                if options.get("questions").and_then(Value::as_str).is_none() {
                    return Err(wrong(&key, "it lacks 'questions', the path of a file"));
                }
            }
        }
        let Some(warm) = &self.warm_start else { return Ok(()) };
        refuse("warm_start", warm, &["model", "resume"])?;
        if warm.get("full").and_then(Value::as_bool) != Some(true) {
            let message = "expected full = true: an adapter cannot be trained further";
            return Err(wrong("warm_start", message));
        }
        match (&self.world, warm.get("query").map(Value::as_str)) {
            (_, Some(None)) => Err(wrong("warm_start.query", "expected a text")),
            (None, None) => {
                Err(wrong("warm_start", "it lacks 'query', whose rows are steps to train on"))
            }
            (Some(_), Some(_)) => {
                Err(wrong("warm_start.query", "with 'world' the rows are the demonstrator's steps"))
            }
            _ => Ok(()),
        }
    }

    fn check_judges(&self) -> Result<(), Diagnostic> {
        let unnamed = |judge: &Table| {
            let mut judge = judge.clone();
            judge.remove("name");
            judge
        };
        let others = self.judges.iter().map(|(name, judge)| (format!("judges.{name}"), judge));
        let training: Vec<(String, &Table)> =
            std::iter::once(("judge".to_owned(), &self.judge)).chain(others).collect();
        let evaluating = ("evaluation_judge".to_owned(), &self.evaluation_judge);
        for (key, judge) in training.iter().chain([&evaluating]) {
            if judge.get("judge").and_then(Value::as_str).is_none() {
                return Err(wrong(key, "it lacks 'judge', such as judge = \"process\""));
            }
        }
        self.check_judge_names(training.iter().chain([&evaluating]))?;
        let evaluates = unnamed(&self.evaluation_judge);
        let is_same = training.iter().any(|(_, judge)| unnamed(judge) == evaluates);
        if !self.same_judge && is_same {
            let message = "it is the judge that is trained with, whose mistakes are then not seen; \
                           expected another one, or same_judge = true to say that it is meant";
            return Err(wrong("evaluation_judge", message));
        }
        let is_noisy = self.noise.iter().any(|share| *share > 0.0);
        if is_noisy && self.judge.get("judge").and_then(Value::as_str) != Some("world") {
            return Err(wrong("noise", "verdicts are turned of judge 'world' only"));
        }
        if is_noisy && self.judge.contains_key("flipped") {
            return Err(wrong("judge.flipped", "'noise' says it: drop one of them"));
        }
        Ok(())
    }

    /// Checks that no two judges have one name.
    fn check_judge_names<'a>(
        &self,
        judges: impl Iterator<Item = &'a (String, &'a Table)>,
    ) -> Result<(), Diagnostic> {
        let mut known: BTreeMap<&str, &Table> = BTreeMap::new();
        for (key, judge) in judges {
            let Some(name) = judge.get("name").and_then(Value::as_str) else { continue };
            if known.insert(name, judge).is_some_and(|other| other != *judge) {
                let message = "another judge has it, and their labels would be mixed";
                return Err(wrong(&format!("{key}.name"), message));
            }
            let is_policy = judge.values().filter_map(Value::as_str).any(|v| v.contains(POLICY));
            if is_policy && self.models.len() > 1 {
                let message = "with several models {policy} is several judges: drop the name";
                return Err(wrong(&format!("{key}.name"), message));
            }
        }
        Ok(())
    }

    /// Returns the models with their names; a single one has none.
    pub(super) fn models(&self) -> Vec<Model<'_>> {
        let named = self.models.iter().map(|(name, model)| (Some(name.as_str()), model));
        self.model.iter().map(|model| (None, model)).chain(named).collect()
    }

    /// Returns in what the cells of a model differ from the usual. What a model generates itself
    /// is no other source for it.
    pub(super) fn variants(&self, model: Option<&str>) -> Vec<Variant> {
        let noise = self.noise.iter().map(|share| match *share > 0.0 {
            true => Variant::Flipped(*share),
            false => Variant::Usual,
        });
        let judges = self.judges.keys().cloned().map(Variant::Judge);
        let of_others = self.sources.iter().filter(|(_, options)| {
            model.is_none() || options.get("model").and_then(Value::as_str) != model
        });
        let sources = of_others.map(|(name, _)| Variant::Source(name.clone()));
        noise.chain(judges).chain(sources).collect()
    }

    /// Returns the files of questions.
    pub(super) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        if let Some(sets) = &self.questions {
            files.push(sets.train.clone());
            files.extend(sets.test.values().filter_map(|set| match set {
                TestSet::File(file) => Some(file.clone()),
                TestSet::Options(options) => {
                    options.get("questions").and_then(Value::as_str).map(str::to_owned)
                }
            }));
        }
        files
    }

    /// Returns the options of the judge of answers.
    pub(super) fn outcome_judge(&self) -> Table {
        self.outcome_judge.clone().unwrap_or_else(|| {
            let judge = ("judge".to_owned(), Value::String(OUTCOME_JUDGE.to_owned()));
            Table::from_iter([judge])
        })
    }
}

/// Returns the set of questions that a test is over, and whether tools are offered.
pub(super) fn test_of(test: &str) -> (&str, bool) {
    test.strip_suffix(WITHOUT_TOOLS).map_or((test, true), |set| (set, false))
}

/// Refuses options that the study sets.
fn refuse(key: &str, options: &Table, names: &[&str]) -> Result<(), Diagnostic> {
    match names.iter().find(|name| options.contains_key(**name)) {
        Some(name) => Err(wrong(&format!("{key}.{name}"), "the study sets it: drop it")),
        None => Ok(()),
    }
}

/// Returns the mistake in the value of a key.
pub(super) fn wrong(key: &str, what: &str) -> Diagnostic {
    Diagnostic::new("study-config", format!("{key}: {what}"))
}
