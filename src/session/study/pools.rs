//! What cells draw their trajectories from: who generated them, and who judged them.

use toml::{Table, Value};

use super::cells::{Cell, Variant, labelled};
use super::config::{Match, Model, StudyConfig};
use super::statements::Judges;

/// What the trained model is called where it has not been trained.
pub(super) const BASE: &str = "base";
/// What the model is called after its warm-up.
pub(super) const WARM_START: &str = "warm_start";

/// What stands in a judge's options for the model that generates, before it is trained.
pub(super) const POLICY: &str = "{policy}";

/// Trajectories and their judges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pool {
    /// The run that generated them, which is also their source.
    pub(super) run: String,
    /// The policy that did, as the report calls it.
    pub(super) by: String,
    /// Who judged them.
    pub(super) judges: Judges,
}

/// How many trajectories are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// So many.
    Exactly(u64),
    /// As many as the strictest filter leaves.
    Least,
    /// As many as have no more tokens in their actions than this.
    Tokens(u64),
    /// As many as have no more tokens in their actions than what the strictest filter leaves.
    LeastTokens,
}

impl Count {
    /// Returns how many a size is.
    pub(super) fn of(size: u64, matched: Match) -> Count {
        match (size, matched) {
            (0, Match::Trajectories) => Count::Least,
            (0, Match::ActionTokens) => Count::LeastTokens,
            (_, Match::Trajectories) => Count::Exactly(size),
            (_, Match::ActionTokens) => Count::Tokens(size),
        }
    }

    /// Returns how it is written where it is not known yet.
    pub(super) fn word(self) -> String {
        match self {
            Count::Exactly(count) => count.to_string(),
            Count::Least => "{least}".to_owned(),
            Count::Tokens(tokens) => format!("{{within {tokens} action tokens}}"),
            Count::LeastTokens => "{within the least action tokens}".to_owned(),
        }
    }
}

/// Returns the name of something that a study makes.
pub(super) fn name_of(config: &StudyConfig, rest: &str) -> String {
    format!("{}/{rest}", config.name)
}

/// Returns the name of something that a study makes for one of its models.
pub(super) fn name_for(config: &StudyConfig, model: Option<&str>, rest: &str) -> String {
    name_of(config, &labelled(model, rest))
}

/// Returns the source of another world's demonstrations, by its number from 1.
pub(super) fn reading(config: &StudyConfig, number: u64) -> String {
    name_of(config, &format!("reading/{number}"))
}

/// Returns what a model is trained from: what it is after its warm-up, if it has one.
pub(super) fn start_of(config: &StudyConfig, (name, model): Model<'_>) -> String {
    match config.warm_start {
        Some(_) => format!("run:{}", name_for(config, name, WARM_START)),
        None => model.path.clone(),
    }
}

/// Returns the options of the judge of steps that filters and rewards, with the name that its
/// labels carry; [`POLICY`] still stands in them.
pub(super) fn judge_of(config: &StudyConfig, model: Model<'_>, variant: &Variant) -> Table {
    let mut judge = match variant {
        Variant::Judge(name) => config.judges.get(name).unwrap_or(&config.judge).clone(),
        _ => config.judge.clone(),
    };
    let name = match variant {
        Variant::Judge(_) => format!("process/{}", variant.word().unwrap_or_default()),
        _ => "process".to_owned(),
    };
    let is_of_model = judge.values().filter_map(Value::as_str).any(|text| text.contains(POLICY));
    let name = match is_of_model {
        true => called(&judge, &name_for(config, model.0, &name)),
        false => called(&judge, &name_of(config, &name)),
    };
    let name = match variant {
        Variant::Flipped(share) => {
            judge.insert("flipped".to_owned(), Value::Float(*share));
            format!("{name}/{}", variant.word().unwrap_or_default())
        }
        _ => name,
    };
    judge.insert("name".to_owned(), Value::String(name));
    judge
}

/// Returns the judges that the filter and the reward of a cell look at.
pub(super) fn judges_of(config: &StudyConfig, model: Model<'_>, variant: &Variant) -> Judges {
    let process = called(&judge_of(config, model, variant), "");
    let outcome = called(&config.outcome_judge(), &name_of(config, "outcome"));
    Judges { process, outcome }
}

/// Returns the name of the judge that evaluates.
pub(super) fn evaluation_judge(config: &StudyConfig) -> String {
    called(&config.evaluation_judge, &name_of(config, "evaluation"))
}

/// Returns the name in a judge's options, or one of the study's.
fn called(options: &Table, default: &str) -> String {
    options.get("name").and_then(Value::as_str).unwrap_or(default).to_owned()
}

/// Returns what a cell of a seed draws from.
pub(super) fn pool_of(config: &StudyConfig, model: Model<'_>, cell: &Cell, seed: u64) -> Pool {
    let Some(before) = cell.before() else { return first_pool(config, model, &cell.variant) };
    Pool {
        run: name_for(config, model.0, &format!("generated/{}/seed_{seed}", cell.name())),
        by: format!("{}, seed {seed}", before.label()),
        judges: judges_of(config, model, &cell.variant),
    }
}

/// Returns what cells of a variant draw from in their first round.
pub(super) fn first_pool(config: &StudyConfig, model: Model<'_>, variant: &Variant) -> Pool {
    let judges = judges_of(config, model, variant);
    if let Variant::Source(name) = variant {
        // Whoever is trained on them, they are the same.
        let run = name_of(config, &format!("generated/from_{name}"));
        return Pool { run, by: name.clone(), judges };
    }
    let start = if config.warm_start.is_some() { WARM_START } else { BASE };
    let by = match config.generate.get("model").and_then(Value::as_str) {
        Some(other) => other.to_owned(),
        None => labelled(model.0, start),
    };
    Pool { run: name_for(config, model.0, "generated"), by, judges }
}
