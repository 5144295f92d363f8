//! Options by name, as statements and command lines give them.

use serde_json::{Map, Value};

use crate::diag::{did_you_mean, list_some};

use super::error::ConfigError;
use super::train_config::TrainConfig;

/// Names of verl's for options that go by TRL's.
const OTHER_NAMES: [(&str, &str); 3] =
    [("clip_ratio", "epsilon"), ("clip_ratio_low", "epsilon"), ("clip_ratio_high", "epsilon_high")];

/// Returns the name that an option goes by.
fn canonical(name: &str) -> String {
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    other.map_or(name, |(_, own)| own).to_owned()
}

/// An option's value as a statement or command line gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

impl TrainConfig {
    /// Returns the names of all options.
    pub fn option_names() -> Vec<String> {
        match serde_json::to_value(TrainConfig::default()) {
            Ok(Value::Object(map)) => map.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the run that named options ask for; every option not named has its default.
    /// `target_modules` is a text with commas, or `all-linear`.
    ///
    /// # Errors
    /// A name that is no option, a value of the wrong type or range, options without effect.
    pub fn from_options(options: &[(String, OptionValue)]) -> Result<TrainConfig, ConfigError> {
        let known = TrainConfig::option_names();
        let mut all = Map::new();
        for (name, value) in options {
            let name = &canonical(name);
            if !known.contains(name) {
                return Err(ConfigError::UnknownOption {
                    name: name.clone(),
                    nearest: did_you_mean(name, known.iter().map(String::as_str))
                        .map(str::to_owned),
                    known: list_some(known.iter().map(String::as_str)),
                });
            }
            let value = json_value(name, value)?;
            // Alone first, so that a mistake is told of the option it is in.
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = serde_json::from_value::<TrainConfig>(Value::Object(alone)) {
                return Err(ConfigError::Value { name: name.clone(), message: error.to_string() });
            }
            if all.insert(name.clone(), value).is_some() {
                return Err(ConfigError::Twice { name: name.clone() });
            }
        }
        let config: TrainConfig = serde_json::from_value(Value::Object(all))
            .map_err(|error| ConfigError::Combination(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }
}

/// Returns an option's value as JSON.
fn json_value(name: &str, value: &OptionValue) -> Result<Value, ConfigError> {
    /// Above this not every whole number is a double.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    Ok(match value {
        OptionValue::Bool(value) => Value::from(*value),
        OptionValue::Text(text) if name == "target_modules" => {
            let names = text.split(',').map(str::trim).filter(|t| !t.is_empty());
            Value::from(names.map(str::to_owned).collect::<Vec<_>>())
        }
        OptionValue::Text(text) => Value::from(text.as_str()),
        OptionValue::Number(number) if number.fract() == 0.0 && number.abs() <= WHOLE_MAX => {
            Value::from(*number as i64)
        }
        OptionValue::Number(number) if number.is_finite() && number.fract() != 0.0 => {
            Value::from(*number)
        }
        OptionValue::Number(number) => {
            let message = format!("{number} is too large to be exact: expected at most 2^53");
            return Err(ConfigError::Value { name: name.to_owned(), message });
        }
    })
}
