//! Several tools by name.

use std::sync::Arc;

use serde_json::Value;

use super::arguments;
use super::tool::{Tool, ToolOutput, ToolSpec};
use crate::diag::{did_you_mean, list_some};

/// Several tools, called by name.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: Vec<Arc<dyn Tool>>,
}

/// Two tools with one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are two tools called '{name}'; give one of them another name")]
pub struct NameTaken {
    /// The name.
    pub name: String,
}

impl Toolbox {
    /// Returns a toolbox without tools.
    pub fn new() -> Toolbox {
        Toolbox::default()
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// A tool of this name is there already.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), NameTaken> {
        let name = &tool.spec().name;
        if self.get(name).is_some() {
            return Err(NameTaken { name: name.clone() });
        }
        self.tools.push(tool);
        Ok(())
    }

    /// Returns the tool of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.spec().name == name)
    }

    /// Returns what each tool says about itself, in the order they were added.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.tools.iter().map(|tool| tool.spec())
    }

    /// Returns the list `tools` of a chat request, as OpenAI's API takes it.
    pub fn to_functions(&self) -> Value {
        self.specs().map(ToolSpec::to_function).collect()
    }

    /// Calls a tool. A name that no tool has and arguments that do not fit its schema are errors
    /// the agent can act on.
    pub fn call(&self, name: &str, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        match self.find(name, arguments) {
            Ok(tool) => tool.call(arguments, cancelled),
            Err(output) => output,
        }
    }

    /// Returns the tool that a call is for.
    ///
    /// # Errors
    /// What the agent is told where there is no such tool, or the arguments do not fit its schema.
    pub fn find(&self, name: &str, arguments: &Value) -> Result<&Arc<dyn Tool>, ToolOutput> {
        let tool = self.get(name).ok_or_else(|| ToolOutput::error(self.unknown(name)))?;
        let faults = arguments::check(&tool.spec().parameters, arguments);
        match faults.is_empty() {
            true => Ok(tool),
            false => Err(ToolOutput::error(arguments::explain(tool.spec(), &faults))),
        }
    }

    /// Calls a tool with arguments as models write them: the text of a JSON object, or nothing.
    pub fn call_text(
        &self,
        name: &str,
        arguments: &str,
        cancelled: &dyn Fn() -> bool,
    ) -> ToolOutput {
        match self.find_text(name, arguments) {
            Ok((tool, value)) => tool.call(&value, cancelled),
            Err(output) => output,
        }
    }

    /// Returns the tool that a call is for, and its arguments out of the text that a model wrote.
    ///
    /// # Errors
    /// What the agent is told where the text is not one JSON object, or as [`Toolbox::find`].
    pub fn find_text(
        &self,
        name: &str,
        arguments: &str,
    ) -> Result<(&Arc<dyn Tool>, Value), ToolOutput> {
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        // The canonical text refuses what parsing into a value would pass over: a name twice.
        let parsed = super::canonical::canonical_json(arguments)
            .map_err(|fault| fault.to_string())
            .and_then(|_| serde_json::from_str(arguments).map_err(|error| error.to_string()));
        let value = parsed.map_err(|fault| {
            let message = format!("the arguments of '{name}' are not one JSON object: {fault}");
            ToolOutput::error(message)
        })?;
        Ok((self.find(name, &value)?, value))
    }

    fn unknown(&self, name: &str) -> String {
        let names = || self.specs().map(|spec| spec.name.as_str());
        let hint = did_you_mean(name, names())
            .map_or_else(String::new, |near| format!(" (did you mean '{near}'?)"));
        format!("there is no tool '{name}'{hint}; the tools are: {}", list_some(names()))
    }
}
