//! The tools of a rollout.

use std::sync::Arc;

use serde_json::{Value, json};

use super::request::{ToolOptions, words};
use super::world::World;
use crate::diag::list_some;
use crate::model::Json;
use crate::rollout::{CallForm, Question, RolloutError, TagForm};
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::session::tools::corpus_tools;
use crate::tools::{RecordedTool, Recorder, ToolOutput, ToolSpec, Toolbox};

/// What a policy may call.
pub(super) struct Toolset {
    tools: Toolbox,
    /// The small world, which answers every call where there is one.
    pub(super) world: Option<World>,
    pub(super) recorder: Option<Arc<Recorder>>,
    /// The tools as a policy is offered them; `None` without any, and where the instructions say
    /// how they are called.
    pub(super) offered: Option<Json>,
    /// The tools that are called by tags, where tools are.
    pub(super) tags: TagForm,
    form: CallForm,
}

impl Toolset {
    /// Opens the tools that the options name.
    ///
    /// # Errors
    /// There is no such corpus or tool; two have one name; one cannot be called as actions are
    /// written.
    pub(super) fn open(
        session: &Session,
        options: &ToolOptions<'_>,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Toolset, SessionError> {
        let mistake = |message: String| SessionError::mistake("tools", message);
        let form = options.form;
        if let Some(mut world) = World::of(options.world)? {
            if !(options.corpora.is_empty() && matches!(options.tools, "" | "none")) {
                let message = "the world has its own tools: drop 'corpora', 'tools', or expected \
                               tools = 'none'";
                return Err(mistake(message.to_owned()));
            }
            if options.tools == "none" {
                world = world.without_tools();
            }
            let (tools, tags) = (Toolbox::new(), TagForm::named(world.tools().into_iter()));
            return Ok(Toolset { tools, world: Some(world), recorder, offered: None, tags, form });
        }
        let mut corpora = Vec::new();
        for name in words(options.corpora) {
            corpora.push(session.open_corpus(&name)?);
        }
        if options.k == 0 {
            return Err(mistake("k = 0: a search returns one document at least".to_owned()));
        }
        let all = corpus_tools(&corpora, options.k).map_err(|e| mistake(e.to_string()))?;
        let wanted = words(options.tools);
        let mut tools = Toolbox::new();
        for name in wanted.iter().filter(|name| *name != "none") {
            if all.get(name).is_none() {
                let known = list_some(all.specs().map(|spec| spec.name.as_str()));
                return Err(mistake(format!("there is no tool '{name}'; there are: {known}")));
            }
        }
        for spec in all.specs() {
            let is_wanted = wanted.is_empty() || wanted.contains(&spec.name);
            if let Some(tool) = all.get(&spec.name).filter(|_| is_wanted) {
                tools.add(tool.clone()).map_err(|e| mistake(e.to_string()))?;
            }
        }
        let (mut offered, mut tags) = (None, TagForm::default());
        match form {
            CallForm::Tags => {
                tags = TagForm::of(tools.specs()).map_err(|e| mistake(e.to_string()))?
            }
            CallForm::Calls => {
                offered = tools.specs().next().map(|_| Json::of(&tools.to_functions()));
            }
        }
        Ok(Toolset { tools, world: None, recorder, offered, tags, form })
    }

    /// Makes a call as a policy wrote it.
    ///
    /// # Errors
    /// Recordings cannot be read or written, or a call is missing in them.
    pub(super) fn call(
        &self,
        question: &Question,
        name: &str,
        arguments: &str,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<ToolOutput, RolloutError> {
        if let Some(world) = &self.world {
            return Ok(world.call(question, name, arguments, self.form));
        }
        let (tool, value) = match self.tools.find_text(name, arguments) {
            Ok(found) => found,
            Err(output) => return Ok(output),
        };
        Ok(match &self.recorder {
            None => tool.call(&value, cancelled),
            Some(recorder) => {
                RecordedTool::new(tool.clone(), recorder.clone()).play(&value, cancelled)?.output
            }
        })
    }

    /// Returns the names of the tools, but of those of a world.
    pub(super) fn names(&self) -> Vec<&str> {
        self.tools.specs().map(|spec| spec.name.as_str()).collect()
    }

    /// Returns what the tools say about themselves, for the record of a run.
    pub(super) fn described(&self) -> Value {
        let of = |tool: &ToolSpec| {
            let ToolSpec { name, version, corpus, .. } = tool;
            json!({"name": name, "version": version, "corpus": corpus})
        };
        match &self.world {
            Some(world) => world.described(),
            None => self.tools.specs().map(of).collect(),
        }
    }
}
