//! What a tool is: what it says about itself, a call of it, what comes back.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Something an agent may call.
pub trait Tool: Send + Sync {
    /// Returns what the tool says about itself. It does not change while the tool lives.
    fn spec(&self) -> &ToolSpec;

    /// Calls the tool with `arguments`, which fit the schema of its parameters. `cancelled` is
    /// asked now and then: once it says so, the call ends soon with an error.
    ///
    /// Nothing that an agent can write ends in anything but an output: what is wrong with the
    /// arguments is text for the agent.
    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput;
}

/// What a tool says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name it is called by.
    pub name: String,
    /// What it does and when to call it, for the agent.
    pub description: String,
    /// The JSON schema of its arguments: an object.
    pub parameters: Value,
    /// Changes whenever the same arguments may be answered otherwise.
    pub version: String,
    /// The fingerprint of the sealed corpus it answers from, in hexadecimal digits, if it does.
    pub corpus: Option<String>,
    /// Whether an answer may depend on the calls before it.
    pub has_state: bool,
    /// Whether it changes nothing, here or elsewhere.
    pub read_only: bool,
}

impl ToolSpec {
    /// Returns what a tool without corpus and state that changes nothing says about itself.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: Value,
        version: impl Into<String>,
    ) -> ToolSpec {
        ToolSpec {
            name: name.into(),
            description: description.into(),
            parameters,
            version: version.into(),
            corpus: None,
            has_state: false,
            read_only: true,
        }
    }

    /// Returns an element of the list `tools` of a chat request, as OpenAI's API takes it.
    pub fn to_function(&self) -> Value {
        json!({
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        })
    }
}

/// What a call came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolOutput {
    /// What the agent reads.
    pub text: String,
    /// Whether the text says why there is no result.
    pub is_error: bool,
    /// The result for programs.
    pub structured: Option<Value>,
}

impl ToolOutput {
    /// Returns a result that is text only.
    pub fn text(text: impl Into<String>) -> ToolOutput {
        ToolOutput { text: text.into(), is_error: false, structured: None }
    }

    /// Returns why there is no result.
    pub fn error(text: impl Into<String>) -> ToolOutput {
        ToolOutput { text: text.into(), is_error: true, structured: None }
    }

    /// Returns the output with its result for programs.
    #[must_use]
    pub fn with_structured(mut self, structured: Value) -> ToolOutput {
        self.structured = Some(structured);
        self
    }
}
