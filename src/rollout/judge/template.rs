//! Prompts with places for what is judged: `{question}`. A brace itself is written twice.

use super::error::JudgeError;

/// A prompt, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name of a place.
    Place(String),
}

impl Template {
    /// Reads a prompt that may name `known` places and must name `needed` ones.
    pub fn parse(prompt: &str, known: &[&str], needed: &[&str]) -> Result<Template, JudgeError> {
        let wrong = |problem: String| {
            let list = known.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>();
            let expected = format!("places out of {}, and a brace itself twice", list.join(", "));
            JudgeError::setting("the prompt", problem, expected)
        };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = prompt;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                text.push_str(&rest[..1]);
                rest = &rest[2..];
                continue;
            }
            let end = rest.find('}').filter(|_| rest.starts_with('{'));
            let end = end.ok_or_else(|| wrong("has a brace that stands alone".to_owned()))?;
            let name = &rest[1..end];
            if !known.contains(&name) {
                return Err(wrong(format!("names {{{name}}}, which this judge does not see")));
            }
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Place(name.to_owned()));
            rest = &rest[end + 1..];
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        let template = Template(parts);
        match needed.iter().find(|name| !template.has(name)) {
            None => Ok(template),
            Some(name) => Err(wrong(format!("does not name {{{name}}}"))),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Place(place) if place == name))
    }

    /// Returns the prompt with `fill` in its places. What is filled in is not read again.
    pub fn fill(&self, fill: &dyn Fn(&str) -> String) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Place(name) => fill(name).trim_end_matches('\n').to_owned(),
        };
        self.0.iter().map(text).collect()
    }
}
