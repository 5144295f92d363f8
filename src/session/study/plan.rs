//! The cells of a study, and the statements that make them.

use toml::{Table, Value};

use super::cells::{Cell, cells, objective_of};
use super::config::{Filter, StudyConfig, TestSet, wrong};
use super::statements::{Judges, With, named, text};
use crate::diag::{Diagnostic, nearest};
use crate::rollout::CallForm;
use crate::session::training::episode_option_names;

/// What the trained model is called where it has not been trained.
pub(super) const BASE: &str = "base";
/// What the model is called after its warm-up.
pub(super) const WARM_START: &str = "warm_start";

/// What stands in a statement for the number of trajectories that the strictest filter leaves.
pub(super) const LEAST: &str = "{least}";

/// What a job leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Makes {
    /// The demonstrator's trajectories.
    Demonstrations,
    /// The folder of a model.
    Model,
    /// A run of this name.
    Run(String),
    /// A dataset of this name, of as many trajectories of a filter.
    Dataset {
        /// Its name.
        name: String,
        /// The filter.
        filter: Filter,
        /// The judges that the filter looks at.
        judges: Judges,
        /// The trajectories; 0 for as many as the strictest filter leaves.
        size: u64,
    },
    /// Labels.
    Labels,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    /// What it is, for whoever watches.
    pub(super) what: String,
    /// The statement; of the first two kinds a sentence.
    pub(super) text: String,
    /// What it leaves behind.
    pub(super) makes: Makes,
}

/// An evaluation of a policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evaluation {
    /// The test.
    pub(super) test: String,
    /// The run, which is also the source of its trajectories.
    pub(super) run: String,
    /// The statement that judges its steps.
    pub(super) judging: String,
}

/// A policy that is evaluated: one model, or one for each seed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    /// Its name in the study.
    pub(super) label: String,
    /// The way it was trained, unless it was not.
    pub(super) cell: Option<Cell>,
    /// On each test, once for each seed.
    pub(super) evaluations: Vec<Evaluation>,
}

/// All that a study does, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What is done.
    pub(super) jobs: Vec<Job>,
    /// What is compared; the first is the model as it was.
    pub(super) policies: Vec<Policy>,
}

impl Plan {
    /// Returns what a file asks for.
    ///
    /// # Errors
    /// A pattern of cells that matches none, a comparison of something that is not there, an option
    /// that can be none.
    pub(super) fn of(config: &StudyConfig) -> Result<Plan, Diagnostic> {
        let planner = Planner { config };
        let cells = cells(config)?;
        let mut plan = Plan::default();
        planner.prepare(&mut plan)?;
        planner.generate(&mut plan)?;
        planner.evaluate(&mut plan, (BASE, None), &[(config.model.path.clone(), None)])?;
        if config.warm_start.is_some() {
            let model = planner.start();
            planner.evaluate(&mut plan, (WARM_START, None), &[(model, None)])?;
        }
        for cell in &cells {
            planner.cell(&mut plan, cell)?;
        }
        let known: Vec<String> = plan.policies.iter().map(|p| p.label.clone()).collect();
        for name in config.comparisons.iter().flatten() {
            if !known.contains(name) {
                let help = nearest(name, &known, "cells", "there are none");
                let message = format!("there is no cell '{name}'");
                return Err(wrong("comparisons", &message).help(help));
            }
        }
        Ok(plan)
    }

    /// Returns the statements, each under what it is.
    pub(super) fn print(&self) -> String {
        let jobs = self.jobs.iter().map(|job| format!("-- {}\n{};\n", job.what, job.text));
        jobs.collect::<Vec<_>>().join("\n")
    }
}

/// Returns the name of something that a study makes.
pub(super) fn name_of(config: &StudyConfig, rest: &str) -> String {
    format!("{}/{rest}", config.name)
}

/// Returns the source of another world's demonstrations, by its number from 1.
pub(super) fn reading(config: &StudyConfig, number: u64) -> String {
    name_of(config, &format!("reading/{number}"))
}

/// Returns the judges that a cell's filter and reward look at.
pub(super) fn judges_of(config: &StudyConfig, noise: f64) -> Judges {
    let process = called(config, &config.judge, "process");
    Judges {
        process: if noise > 0.0 { format!("{process}/flipped_{noise}") } else { process },
        outcome: called(config, &config.outcome_judge(), "outcome"),
    }
}

/// Returns the name of the judge that evaluates.
pub(super) fn evaluation_judge(config: &StudyConfig) -> String {
    called(config, &config.evaluation_judge, "evaluation")
}

/// Returns the name in a judge's options, or one of the study's.
fn called(config: &StudyConfig, options: &Table, default: &str) -> String {
    match options.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => name_of(config, default),
    }
}

/// Returns the name of the judge that EVALUATE's labels carry on a test.
pub(super) fn metric_of(config: &StudyConfig, test: &str) -> String {
    let set = config.questions.as_ref().and_then(|sets| sets.test.get(test));
    let own = match set {
        Some(TestSet::Options(options)) => options.get("metric"),
        _ => None,
    };
    let metric = own.or_else(|| config.evaluate.get("metric")).and_then(Value::as_str);
    metric.unwrap_or("hotpotqa").to_owned()
}

struct Planner<'a> {
    config: &'a StudyConfig,
}

impl Planner<'_> {
    fn name(&self, rest: &str) -> String {
        name_of(self.config, rest)
    }

    /// Returns the model that generates, unless another one is asked to, and is trained.
    fn start(&self) -> String {
        match self.config.warm_start {
            Some(_) => format!("run:{}", self.name(WARM_START)),
            None => self.config.model.path.clone(),
        }
    }

    /// Adds what comes before anything is generated.
    fn prepare(&self, plan: &mut Plan) -> Result<(), Diagnostic> {
        let config = self.config;
        let path = &config.model.path;
        if let Some(world) = &config.world {
            let form = match config.action_form {
                CallForm::Calls => "",
                CallForm::Tags => ", actions by tags",
            };
            let name = self.name("demonstrator");
            let others = match config.reading_worlds {
                0 => String::new(),
                count => format!(", and of {count} others"),
            };
            plan.jobs.push(Job {
                what: "the demonstrator's trajectories".to_owned(),
                text: format!("import of the world '{world}' as '{name}'{form}{others}"),
                makes: Makes::Demonstrations,
            });
        }
        if config.model.is_new() {
            plan.jobs.push(Job {
                what: "a new model".to_owned(),
                text: format!("a new model in '{path}'"),
                makes: Makes::Model,
            });
        }
        let Some(warm) = &config.warm_start else { return Ok(()) };
        let mut rows = match warm.get("query").and_then(Value::as_str) {
            Some(query) => query.trim().trim_end_matches(';').trim_end().to_owned(),
            None => {
                let own = text(&self.name("demonstrator"));
                let others = (1..=config.reading_worlds).map(|n| text(&reading(config, n)));
                let sources = match others.collect::<Vec<_>>().join(", ") {
                    none if none.is_empty() => format!("source = {own}"),
                    others => format!("source IN ({own}, {others})"),
                };
                format!("FROM steps\n|> WHERE {sources} AND split = 'train'")
            }
        };
        if let Some(condition) = warm.get("rows").and_then(Value::as_str) {
            rows.push_str(&format!("\n|> WHERE {condition}"));
        }
        let run = self.name(WARM_START);
        let with = With::default().text("model", path).unless(warm, "objective", "'sft'");
        let with = with.table("warm_start", warm, &["query", "rows"])?;
        plan.jobs.push(Job {
            what: "warm start".to_owned(),
            text: format!("{rows}\n|> TRAIN {with} AS {}", named(&run)),
            makes: Makes::Run(run),
        });
        Ok(())
    }

    /// Adds how actions call tools, where it is not as usual.
    fn written(&self, with: With) -> With {
        match self.config.action_form {
            CallForm::Calls => with,
            form => with.text("action_form", form.as_str()),
        }
    }

    /// Adds the questions, and the tools with which they are answered.
    fn asked(&self, with: With, test: Option<&str>) -> Result<With, Diagnostic> {
        let config = self.config;
        let with = self.written(with);
        if let Some(world) = &config.world {
            return Ok(with.text("world", world).text("split", test.unwrap_or("train")));
        }
        let Some(sets) = &config.questions else { return Ok(with) };
        let mut own = Table::new();
        match test.and_then(|test| sets.test.get(test)) {
            None => drop(own.insert("questions".into(), Value::String(sets.train.clone()))),
            Some(TestSet::File(file)) => {
                own.insert("questions".into(), Value::String(file.clone()));
            }
            Some(TestSet::Options(options)) => own = options.clone(),
        }
        for (name, value) in [("corpora", &config.corpora), ("tools", &config.tools)] {
            if let (Some(value), false) = (value, own.contains_key(name)) {
                own.insert(name.to_owned(), value.clone());
            }
        }
        with.table("questions", &own, &[])
    }

    /// Adds generation, and the judging of what was generated.
    fn generate(&self, plan: &mut Plan) -> Result<(), Diagnostic> {
        let config = self.config;
        let run = self.name("generated");
        let start = text(&self.start());
        let with = With::default().unless(&config.generate, "model", &start);
        let with = self.asked(with, None)?.unless(&config.generate, "n", "5");
        let with = with.table("generate", &config.generate, &[])?;
        plan.jobs.push(Job {
            what: "trajectories to train on".to_owned(),
            text: format!("GENERATE {with} AS {}", named(&run)),
            makes: Makes::Run(run.clone()),
        });
        let of_run = format!("WHERE source = {}", text(&run));
        for noise in &config.noise {
            let judges = judges_of(config, *noise);
            let with = With::default().table("judge", &self.judge(*noise), &[])?;
            plan.jobs.push(Job {
                what: format!("steps judged by '{}'", judges.process),
                text: format!("FROM steps\n|> {of_run}\n|> JUDGE AS process {with}"),
                makes: Makes::Labels,
            });
        }
        let name = judges_of(config, 0.0).outcome;
        let with = With::default().table("outcome_judge", &config.outcome_judge(), &["name"])?;
        let with = with.text("name", &name);
        plan.jobs.push(Job {
            what: format!("answers judged by '{name}'"),
            text: format!("FROM trajectories\n|> {of_run}\n|> JUDGE AS outcome {with}"),
            makes: Makes::Labels,
        });
        Ok(())
    }

    /// Returns the options of the judge of steps, with the name that its labels carry.
    fn judge(&self, noise: f64) -> Table {
        let mut judge = self.config.judge.clone();
        let name = judges_of(self.config, noise).process;
        judge.insert("name".to_owned(), Value::String(name));
        if noise > 0.0 {
            judge.insert("flipped".to_owned(), Value::Float(noise));
        }
        judge
    }

    /// Adds the evaluations of a policy: its models, each with the seed it was trained with.
    fn evaluate(
        &self,
        plan: &mut Plan,
        (label, cell): (&str, Option<&Cell>),
        models: &[(String, Option<u64>)],
    ) -> Result<(), Diagnostic> {
        let config = self.config;
        let mut evaluations = Vec::new();
        for (model, seed) in models {
            let of_seed = seed.map(|seed| format!("/seed_{seed}")).unwrap_or_default();
            for test in &config.tests {
                let run = self.name(&format!("eval/{label}{of_seed}/{test}"));
                let own = config.questions.as_ref().and_then(|sets| sets.test.get(test));
                let mut options = config.evaluate.clone();
                if let Some(TestSet::Options(own)) = own {
                    options.retain(|name, _| !own.contains_key(name));
                }
                let with = self.asked(With::default().text("model", model), Some(test))?;
                let with = with.table("evaluate", &options, &[])?;
                plan.jobs.push(Job {
                    what: format!("{label}{of_seed} on {test}"),
                    text: format!("EVALUATE {with} AS {}", named(&run)),
                    makes: Makes::Run(run.clone()),
                });
                let judge = &config.evaluation_judge;
                let with = With::default().table("evaluation_judge", judge, &["name"])?;
                let with = with.text("name", &evaluation_judge(config));
                let of_run = format!("WHERE source = {}", text(&run));
                let judging = format!("FROM steps\n|> {of_run}\n|> JUDGE AS process {with}");
                plan.jobs.push(Job {
                    what: format!("steps of {label}{of_seed} on {test}"),
                    text: judging.clone(),
                    makes: Makes::Labels,
                });
                evaluations.push(Evaluation { test: test.clone(), run, judging });
            }
        }
        let (label, cell) = (label.to_owned(), cell.cloned());
        plan.policies.push(Policy { label, cell, evaluations });
        Ok(())
    }

    /// Adds the datasets, the training and the evaluations of a cell.
    fn cell(&self, plan: &mut Plan, cell: &Cell) -> Result<(), Diagnostic> {
        let label = cell.label();
        let mut models = Vec::new();
        for seed in &self.config.seeds {
            let job = self.dataset(cell, *seed);
            let Makes::Dataset { name, .. } = &job.makes else { continue };
            let dataset = name.clone();
            if !plan.jobs.contains(&job) {
                plan.jobs.push(job);
            }
            let run = self.name(&format!("train/{label}/seed_{seed}"));
            let rows = self.rows(cell, &dataset);
            let with = self.training(cell, *seed)?;
            plan.jobs.push(Job {
                what: format!("train {label}, seed {seed}"),
                text: format!("{rows}\n|> TRAIN {with} AS {}", named(&run)),
                makes: Makes::Run(run.clone()),
            });
            models.push((format!("run:{run}"), Some(*seed)));
        }
        self.evaluate(plan, (&label, Some(cell)), &models)
    }

    /// Returns what saves the trajectories of a cell. Noise counts only where the filter sees it.
    fn dataset(&self, cell: &Cell, seed: u64) -> Job {
        let Cell { filter, size, .. } = *cell;
        let noise = if filter.has_process() { cell.noise } else { 0.0 };
        let judges = judges_of(self.config, noise);
        let mut name = format!("data/{}/{}", filter.as_str(), cell.size_word());
        if noise > 0.0 {
            name.push_str(&format!("/flipped_{noise}"));
        }
        let name = self.name(&format!("{name}/seed_{seed}"));
        let good = format!("{} > .5", judges.process_column());
        let right = format!("{} > .5", judges.outcome_column());
        let condition = match filter {
            Filter::None => String::new(),
            Filter::Process => format!("|> WHERE every({good})\n"),
            Filter::Outcome => format!("|> WHERE every({right})\n"),
            Filter::ProcessAndOutcome => format!("|> WHERE every({good} AND {right})\n"),
        };
        let source = text(&self.name("generated"));
        let count = if size == 0 { LEAST.to_owned() } else { size.to_string() };
        Job {
            what: format!(
                "trajectories of filter {}, {}, seed {seed}",
                filter.as_str(),
                cell.size_word()
            ),
            text: format!(
                "FROM subtrajectories\n|> WHERE source = {source}\n{condition}\
                 |> SAMPLE {count} TRAJECTORIES SEED {seed}\n|> SAVE AS {}",
                named(&name)
            ),
            makes: Makes::Dataset { name, filter, judges, size },
        }
    }

    /// Returns the rows that a cell is trained on. Of pairs the better action is one of the
    /// dataset's, the worse one any that was generated in that state.
    fn rows(&self, cell: &Cell, dataset: &str) -> String {
        let options = &self.config.objectives[&cell.objective];
        let judges = judges_of(self.config, cell.noise);
        let dataset = format!("dataset.{}", named(dataset));
        let mut rows = match objective_of(options) {
            "dpo" => format!(
                "FROM preference_pairs({})\n|> WHERE source = {} AND chosen_id IN (SELECT \
                 trajectory_id FROM {dataset})",
                text(&format!("process@{}", judges.process)),
                text(&self.name("generated"))
            ),
            _ => format!("FROM {dataset}"),
        };
        if let Some(condition) = options.get("rows").and_then(Value::as_str) {
            rows.push_str(&format!("\n|> WHERE {}", judges.filled(condition)));
        }
        rows
    }

    /// Adds how the episodes of an objective that plays them go: with the tools of the study, by
    /// the rules that trajectories are generated by and the judge of answers, where its own table
    /// says nothing of them.
    fn played(&self, with: With, options: &Table) -> Result<With, Diagnostic> {
        let config = self.config;
        let mut own = Table::new();
        if let Some(world) = &config.world {
            own.insert("world".to_owned(), Value::String(world.clone()));
        }
        for (name, value) in [("corpora", &config.corpora), ("tools", &config.tools)] {
            own.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        }
        let rules = episode_option_names();
        let given = config.generate.iter().filter(|(name, _)| rules.contains(name));
        own.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        own.insert("judge".to_owned(), Value::Table(config.outcome_judge()));
        own.retain(|name, _| !options.contains_key(name));
        with.table("objectives", &own, &[])
    }

    /// Returns the options of a cell's training.
    fn training(&self, cell: &Cell, seed: u64) -> Result<With, Diagnostic> {
        let options = &self.config.objectives[&cell.objective];
        let judges = judges_of(self.config, cell.noise);
        let key = format!("objectives.{}", cell.objective);
        let with = With::default().text("model", &self.start());
        let with = with.unless(options, "objective", "'sft'").raw("seed", seed.to_string());
        let mut with = with.table(&key, options, &["rows"])?;
        if matches!(objective_of(options), "swirl" | "grpo") {
            with = self.written(with);
        }
        match objective_of(options) {
            "swirl" if !options.contains_key("judge") => {
                let judge = Value::Table(self.judge(cell.noise));
                let judge = Table::from_iter([("judge".to_owned(), judge)]);
                with = with.table("judge", &judge, &[])?;
            }
            "grpo" => with = self.played(with, options)?,
            "reinforce" | "ppo" | "kto" if !options.contains_key("reward") => {
                with = with.text("reward", &judges.process_column());
            }
            _ => {}
        }
        Ok(with.filled(&judges))
    }
}
