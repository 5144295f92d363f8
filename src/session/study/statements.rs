//! The text of statements: names, texts, options.

use toml::{Table, Value};

use super::config::wrong;
use crate::diag::Diagnostic;
use crate::session::config_file::{literal, quoted, word};

/// What stands in options and rows for the label of steps, and of answers.
const LABELS: [&str; 2] = ["{process}", "{outcome}"];

/// Returns a name in double quotes.
pub(super) fn named(name: &str) -> String {
    quoted(name, '"')
}

/// Returns a text in single quotes.
pub(super) fn text(text: &str) -> String {
    quoted(text, '\'')
}

/// The judges of a cell, by the names that their labels carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judges {
    /// Of steps.
    pub(super) process: String,
    /// Of answers.
    pub(super) outcome: String,
}

impl Judges {
    /// Returns the column of the label of steps.
    pub(super) fn process_column(&self) -> String {
        named(&format!("process@{}", self.process))
    }

    /// Returns the column of the label of answers.
    pub(super) fn outcome_column(&self) -> String {
        named(&format!("outcome@{}", self.outcome))
    }

    /// Returns a text with the columns in place of what stands for them.
    pub(super) fn filled(&self, text: &str) -> String {
        let [process, outcome] = LABELS;
        text.replace(process, &self.process_column()).replace(outcome, &self.outcome_column())
    }
}

/// Whether options name the label of steps.
pub(super) fn names_process(options: &Table) -> bool {
    options.values().filter_map(Value::as_str).any(|text| text.contains(LABELS[0]))
}

/// The options of a statement, in the order they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct With {
    given: Vec<(String, String)>,
}

impl With {
    /// Adds an option that is a text.
    #[must_use]
    pub(super) fn text(self, name: &str, value: &str) -> With {
        self.raw(name, text(value))
    }

    /// Adds an option by how its value is written.
    #[must_use]
    pub(super) fn raw(mut self, name: &str, value: String) -> With {
        self.given.push((name.to_owned(), value));
        self
    }

    /// Adds an option unless a table of the file, which is added later, has it.
    #[must_use]
    pub(super) fn unless(self, table: &Table, name: &str, value: &str) -> With {
        if table.contains_key(name) { self } else { self.raw(name, value.to_owned()) }
    }

    /// Adds the options of a table of the file, but those of these names; `key` is what the table
    /// is called there. A table within it, such as `judge`, holds options that begin with its name.
    ///
    /// # Errors
    /// A value that no option takes, or a name that none can have.
    pub(super) fn table(
        mut self,
        key: &str,
        table: &Table,
        without: &[&str],
    ) -> Result<With, Diagnostic> {
        for (name, value) in table.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            let Value::Table(inner) = value else {
                let place = |error: Diagnostic| wrong(key, &error.message);
                let name = word(name).map_err(place)?;
                self = self.raw(name, literal(name, value).map_err(place)?);
                continue;
            };
            for (part, value) in inner {
                let place = |error: Diagnostic| wrong(&format!("{key}.{name}"), &error.message);
                let whole = match part == name {
                    true => name.clone(),
                    false => format!("{name}.{part}"),
                };
                let whole = word(&whole).map_err(place)?;
                self = self.raw(whole, literal(whole, value).map_err(place)?);
            }
        }
        Ok(self)
    }

    /// Returns the options with columns in place of what stands for labels.
    #[must_use]
    pub(super) fn filled(mut self, judges: &Judges) -> With {
        for (_, value) in &mut self.given {
            *value = judges.filled(value);
        }
        self
    }

    /// Returns the options with a text in place of what stands for it.
    #[must_use]
    pub(super) fn replaced(mut self, what: &str, by: &str) -> With {
        for (_, value) in self.given.iter_mut().filter(|(_, value)| value.contains(what)) {
            *value = value.replace(what, by);
        }
        self
    }
}

impl std::fmt::Display for With {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options: Vec<String> =
            self.given.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        write!(f, "WITH ({})", options.join(", "))
    }
}
