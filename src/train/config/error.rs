//! What can be wrong with options.

/// What is wrong with a run's options.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No option has this name.
    #[error("unknown option '{name}'{}: expected one of {known}", hint(.nearest))]
    UnknownOption {
        /// The name.
        name: String,
        /// The option that may be meant.
        nearest: Option<String>,
        /// The options there are.
        known: String,
    },
    /// An option is given twice.
    #[error("option '{name}' is given twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A value does not fit its option.
    #[error("option '{name}': {message}")]
    Value {
        /// The option.
        name: String,
        /// What was found and expected.
        message: String,
    },
    /// Options that cannot stand together, or one that would have no effect.
    #[error("{0}")]
    Combination(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |name| format!(", did you mean '{name}'?"))
}
