//! The cells of a study, and the statements that make them.

use toml::{Table, Value};

use super::cells::{Cell, Variant, cells, labelled, objective_of};
use super::config::{Filter, Model, StudyConfig, TestSet, test_of, wrong};
use super::pools::{
    BASE, Count, POLICY, Pool, WARM_START, evaluation_judge, first_pool, judge_of, name_for,
    name_of, pool_of, reading, start_of,
};
use super::statements::{With, named, text};
use crate::diag::{Diagnostic, nearest};
use crate::rollout::CallForm;
use crate::session::training::episode_option_names;

/// What a job leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Makes {
    /// The demonstrator's trajectories.
    Demonstrations,
    /// The folder of a model, by its name where there are several.
    Model(Option<String>),
    /// A run of this name.
    Run(String),
    /// A dataset.
    Dataset(Box<Drawn>),
    /// Labels.
    Labels,
}

/// A dataset of trajectories that pass a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drawn {
    /// Its name.
    pub(super) name: String,
    /// The first cell that is trained on it.
    pub(super) cell: Cell,
    /// What it is drawn from.
    pub(super) pool: Pool,
    /// How many are drawn.
    pub(super) count: Count,
    /// By which they are drawn.
    pub(super) seed: u64,
}

impl Drawn {
    /// Returns what they are, for whoever watches.
    fn what(&self) -> String {
        let Drawn { pool, cell, seed, .. } = self;
        format!("{}, filter {}, {}, seed {seed}", pool.by, cell.filter.as_str(), cell.size_word())
    }

    /// Returns the query of so many of them.
    pub(super) fn query(&self, count: &str) -> String {
        let Drawn { pool, cell, seed, .. } = self;
        let good = format!("{} > .5", pool.judges.process_column());
        let right = format!("{} > .5", pool.judges.outcome_column());
        let condition = match cell.filter {
            Filter::None => String::new(),
            Filter::Process => format!("|> WHERE every({good})\n"),
            Filter::Outcome => format!("|> WHERE every({right})\n"),
            Filter::ProcessAndOutcome => format!("|> WHERE every({good} AND {right})\n"),
        };
        let source = text(&pool.run);
        format!(
            "FROM subtrajectories\n|> WHERE source = {source}\n{condition}\
             |> SAMPLE {count} TRAJECTORIES SEED {seed}"
        )
    }

    /// Returns the statement that saves so many of them.
    pub(super) fn statement(&self, count: &str) -> String {
        format!("{}\n|> SAVE AS {}", self.query(count), named(&self.name))
    }
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
    /// The name of its model, where there are several.
    pub(super) model: Option<String>,
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
        let cells = cells(config)?;
        let mut plan = Plan::default();
        let of_model = |(name, model)| Planner { config, model: (name, model) };
        let planners: Vec<Planner<'_>> = config.models().into_iter().map(of_model).collect();
        demonstrations(config, &mut plan);
        for planner in &planners {
            planner.prepare(&mut plan)?;
        }
        for planner in &planners {
            planner.generate(&mut plan)?;
        }
        for planner in &planners {
            let path = planner.model.1.path.clone();
            planner.evaluate(&mut plan, (BASE, None), &[(path, None)])?;
            if config.warm_start.is_some() {
                planner.evaluate(&mut plan, (WARM_START, None), &[(planner.start(), None)])?;
            }
        }
        for planner in &planners {
            for cell in cells.iter().filter(|cell| cell.model.as_deref() == planner.model.0) {
                planner.cell(&mut plan, cell)?;
            }
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

    /// Adds a job, unless another way of training has asked for it.
    fn add(&mut self, job: Job) {
        let is_there = self.jobs.iter().any(|known| known.text == job.text);
        if !is_there {
            self.jobs.push(job);
        }
    }

    /// Returns the statements, each under what it is.
    pub(super) fn print(&self) -> String {
        let jobs = self.jobs.iter().map(|job| format!("-- {}\n{};\n", job.what, job.text));
        jobs.collect::<Vec<_>>().join("\n")
    }
}

/// Returns the name of the judge that EVALUATE's labels carry on a test.
pub(super) fn metric_of(config: &StudyConfig, test: &str) -> String {
    let (set, _) = test_of(test);
    let set = config.questions.as_ref().and_then(|sets| sets.test.get(set));
    let own = match set {
        Some(TestSet::Options(options)) => options.get("metric"),
        _ => None,
    };
    let metric = own.or_else(|| config.evaluate.get("metric")).and_then(Value::as_str);
    metric.unwrap_or("hotpotqa").to_owned()
}

/// Adds the demonstrator's trajectories, where there is a world.
fn demonstrations(config: &StudyConfig, plan: &mut Plan) {
    let Some(world) = &config.world else { return };
    let form = match config.action_form {
        CallForm::Calls => "",
        CallForm::Tags => ", actions by tags",
    };
    let name = name_of(config, "demonstrator");
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

/// What is done with one model.
struct Planner<'a> {
    config: &'a StudyConfig,
    /// The model, and its name where there are several.
    model: Model<'a>,
}

impl Planner<'_> {
    fn name(&self, rest: &str) -> String {
        name_for(self.config, self.model.0, rest)
    }

    /// Returns the model that generates, unless another one is asked to, and is trained.
    fn start(&self) -> String {
        start_of(self.config, self.model)
    }

    /// Puts the model into the options of judges that are the policy itself.
    fn with_policy(&self, with: With) -> With {
        with.replaced(POLICY, &self.start().replace('\'', "''"))
    }

    /// Returns what something is called for whoever watches.
    fn what(&self, what: &str) -> String {
        labelled(self.model.0, what)
    }

    /// Adds what comes before anything is generated.
    fn prepare(&self, plan: &mut Plan) -> Result<(), Diagnostic> {
        let config = self.config;
        let path = &self.model.1.path;
        if self.model.1.is_new() {
            plan.jobs.push(Job {
                what: self.what("a new model"),
                text: format!("a new model in '{path}'"),
                makes: Makes::Model(self.model.0.map(str::to_owned)),
            });
        }
        let Some(warm) = &config.warm_start else { return Ok(()) };
        let mut rows = match warm.get("query").and_then(Value::as_str) {
            Some(query) => query.trim().trim_end_matches(';').trim_end().to_owned(),
            None => {
                let own = text(&name_of(config, "demonstrator"));
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
            what: self.what("warm start"),
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
        let test = test.map(test_of);
        let without_tools = test.is_some_and(|(_, has_tools)| !has_tools);
        let none = || ("tools".to_owned(), Value::String("none".to_owned()));
        if let Some(world) = &config.world {
            let split = test.map_or("train", |(split, _)| split);
            let with = with.text("world", world).text("split", split);
            return match without_tools {
                true => with.table("tests", &Table::from_iter([none()]), &[]),
                false => Ok(with),
            };
        }
        let Some(sets) = &config.questions else { return Ok(with) };
        let mut own = Table::new();
        match test.and_then(|(set, _)| sets.test.get(set)) {
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
        own.extend(without_tools.then(none));
        with.table("questions", &own, &[])
    }

    /// Adds generation, and the judging of what was generated, by the model and by other sources.
    fn generate(&self, plan: &mut Plan) -> Result<(), Diagnostic> {
        let config = self.config;
        for variant in config.variants(self.model.0) {
            let mut options = config.generate.clone();
            if let Variant::Source(name) = &variant {
                options.extend(config.sources[name].clone());
                let model = options.get("model").and_then(Value::as_str);
                let mut models = config.models().into_iter();
                if let Some(known) = models.find(|(name, _)| name.is_some() && *name == model) {
                    options.insert("model".to_owned(), Value::String(start_of(config, known)));
                }
            }
            let pool = first_pool(config, self.model, &variant);
            let of = match (&variant, self.model.0) {
                (Variant::Source(name), _) => format!(" of source {name}"),
                (_, Some(model)) => format!(" of {model}"),
                _ => String::new(),
            };
            self.generated(plan, (&of, &self.start()), &pool, &options, &variant)?;
        }
        Ok(())
    }

    /// Adds what a model generates, unless it is there already, and its judging.
    fn generated(
        &self,
        plan: &mut Plan,
        (of, model): (&str, &str),
        pool: &Pool,
        options: &Table,
        variant: &Variant,
    ) -> Result<(), Diagnostic> {
        let config = self.config;
        let with = With::default().unless(options, "model", &text(model));
        let with = self.asked(with, None)?.unless(options, "n", "5");
        let with = with.table("generate", options, &[])?;
        plan.add(Job {
            what: format!("trajectories{of} to train on"),
            text: format!("GENERATE {with} AS {}", named(&pool.run)),
            makes: Makes::Run(pool.run.clone()),
        });
        let of_run = format!("WHERE source = {}", text(&pool.run));
        let judge = judge_of(config, self.model, variant);
        let with = self.with_policy(With::default().table("judge", &judge, &[])?);
        plan.add(Job {
            what: format!("steps{of} judged by '{}'", pool.judges.process),
            text: format!("FROM steps\n|> {of_run}\n|> JUDGE AS process {with}"),
            makes: Makes::Labels,
        });
        let name = &pool.judges.outcome;
        let with = With::default().table("outcome_judge", &config.outcome_judge(), &["name"])?;
        let with = with.text("name", name);
        plan.add(Job {
            what: format!("answers{of} judged by '{name}'"),
            text: format!("FROM trajectories\n|> {of_run}\n|> JUDGE AS outcome {with}"),
            makes: Makes::Labels,
        });
        Ok(())
    }

    /// Adds the evaluations of a policy: its models, each with the seed it was trained with.
    fn evaluate(
        &self,
        plan: &mut Plan,
        (name, cell): (&str, Option<&Cell>),
        models: &[(String, Option<u64>)],
    ) -> Result<(), Diagnostic> {
        let config = self.config;
        let label = self.what(name);
        let mut evaluations = Vec::new();
        for (model, seed) in models {
            let of_seed = seed.map(|seed| format!("/seed_{seed}")).unwrap_or_default();
            for test in &config.tests {
                let run = self.name(&format!("eval/{name}{of_seed}/{test}"));
                let (set, _) = test_of(test);
                let own = config.questions.as_ref().and_then(|sets| sets.test.get(set));
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
        let (model, cell) = (self.model.0.map(str::to_owned), cell.cloned());
        plan.policies.push(Policy { label, model, cell, evaluations });
        Ok(())
    }

    /// Adds the datasets, the training and the evaluations of a cell; in later rounds what its
    /// model of the round before generates, first.
    fn cell(&self, plan: &mut Plan, cell: &Cell) -> Result<(), Diagnostic> {
        let (label, name) = (cell.label(), cell.name());
        let mut models = Vec::new();
        for seed in &self.config.seeds {
            let drawn = self.drawn(cell, *seed);
            let mut start = self.start();
            if let Some(before) = cell.before() {
                start = self.trained(&before, *seed);
                let mut options = self.config.generate.clone();
                options.remove("model");
                options.insert("round".to_owned(), Value::Integer(cell.round.cast_signed()));
                let of = format!(" of {}", drawn.pool.by);
                self.generated(plan, (&of, &start), &drawn.pool, &options, &cell.variant)?;
            }
            let rows = self.rows(cell, &drawn);
            plan.add(Job {
                what: format!("trajectories of {}", drawn.what()),
                text: drawn.statement(&drawn.count.word()),
                makes: Makes::Dataset(Box::new(drawn)),
            });
            let run = self.name(&format!("train/{name}/seed_{seed}"));
            let with = self.training(cell, &start, *seed)?;
            plan.jobs.push(Job {
                what: format!("train {label}, seed {seed}"),
                text: format!("{rows}\n|> TRAIN {with} AS {}", named(&run)),
                makes: Makes::Run(run),
            });
            models.push((self.trained(cell, *seed), Some(*seed)));
        }
        self.evaluate(plan, (&name, Some(cell)), &models)
    }

    /// Returns the model that a cell ends with.
    fn trained(&self, cell: &Cell, seed: u64) -> String {
        format!("run:{}", self.name(&format!("train/{}/seed_{seed}", cell.name())))
    }

    /// Returns the trajectories of a cell. Another judge counts only where the filter sees it.
    fn drawn(&self, cell: &Cell, seed: u64) -> Drawn {
        let Cell { filter, size, variant, .. } = cell;
        let pool = pool_of(self.config, self.model, cell, seed);
        let name = match (cell.round, variant) {
            (1, Variant::Flipped(_) | Variant::Judge(_)) if !filter.has_process() => None,
            (1, variant) => variant.word(),
            _ => Some(cell.name()),
        };
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        let (filter, size_word) = (filter.as_str(), cell.size_word());
        let name = self.name(&format!("data/{filter}/{size_word}{name}/seed_{seed}"));
        let count = Count::of(*size, self.config.matched);
        Drawn { name, cell: cell.clone(), pool, count, seed }
    }

    /// Returns the rows that a cell is trained on. Of pairs the better action is one of the
    /// dataset's, the worse one any that was generated in that state.
    fn rows(&self, cell: &Cell, drawn: &Drawn) -> String {
        let options = &self.config.objectives[&cell.objective];
        let Drawn { name, pool, .. } = drawn;
        let dataset = format!("dataset.{}", named(name));
        let mut rows = match objective_of(options) {
            "dpo" => format!(
                "FROM preference_pairs({})\n|> WHERE source = {} AND chosen_id IN (SELECT \
                 trajectory_id FROM {dataset})",
                text(&format!("process@{}", pool.judges.process)),
                text(&pool.run)
            ),
            _ => format!("FROM {dataset}"),
        };
        if let Some(condition) = options.get("rows").and_then(Value::as_str) {
            rows.push_str(&format!("\n|> WHERE {}", pool.judges.filled(condition)));
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

    /// Returns the options of a cell's training from a model.
    fn training(&self, cell: &Cell, start: &str, seed: u64) -> Result<With, Diagnostic> {
        let options = &self.config.objectives[&cell.objective];
        let judges = pool_of(self.config, self.model, cell, seed).judges;
        let key = format!("objectives.{}", cell.objective);
        let with = With::default().text("model", start);
        let with = with.unless(options, "objective", "'sft'").raw("seed", seed.to_string());
        let mut with = with.table(&key, options, &["rows"])?;
        if matches!(objective_of(options), "swirl" | "grpo") {
            with = self.written(with);
        }
        match objective_of(options) {
            "swirl" if !options.contains_key("judge") => {
                let judge = Value::Table(judge_of(self.config, self.model, &cell.variant));
                let judge = Table::from_iter([("judge".to_owned(), judge)]);
                with = with.table("judge", &judge, &[])?;
            }
            "grpo" => with = self.played(with, options)?,
            "reinforce" | "ppo" | "kto" if !options.contains_key("reward") => {
                with = with.text("reward", &judges.process_column());
            }
            _ => {}
        }
        Ok(self.with_policy(with.filled(&judges)))
    }
}
