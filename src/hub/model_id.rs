//! What a model of the hub is called.

use std::fmt;

use super::error::HubError;

/// The branch that is meant where no revision is named.
pub(super) const DEFAULT_REVISION: &str = "main";

/// The most characters of an organisation and of a name.
const NAME_CHARACTERS_MAX: usize = 96;

/// What a name of a branch or a tag may not contain (`git check-ref-format`).
const FORBIDDEN_IN_REVISION: &[char] = &[' ', '~', '^', ':', '?', '*', '[', '\\'];

/// The name of a model on the hub, and of one of its revisions. Both are checked: they are safe as
/// names of files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    owner: String,
    name: String,
    revision: Option<String>,
}

impl ModelId {
    /// Reads `organisation/name`, with `hf:` before it or not, and `@revision` behind it or not.
    ///
    /// # Errors
    /// A text that names no model, with what is wrong with it.
    pub fn parse(text: &str) -> Result<ModelId, HubError> {
        let wrong = |problem: String| HubError::Name { text: text.to_owned(), problem };
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        let rest = rest.strip_prefix("//").filter(|_| rest != text).unwrap_or(rest);
        if rest.contains("://") {
            return Err(wrong("it is an address".to_owned()));
        }
        let (path, revision) = match rest.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (rest, None),
        };
        let Some((owner, name)) = path.split_once('/') else {
            return Err(wrong("it has no '/' between organisation and name".to_owned()));
        };
        check_name("the organisation", owner).map_err(wrong)?;
        check_name("the name", name).map_err(wrong)?;
        if name.ends_with(".git") {
            return Err(wrong("the name ends in '.git'".to_owned()));
        }
        if let Some(revision) = revision {
            check_revision(revision).map_err(wrong)?;
        }
        Ok(ModelId {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// Returns the user or organisation whose model it is.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the name behind the organisation's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the branch, tag or commit that is named.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Returns the model without a revision, as the hub writes it.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Returns the revision that is meant.
    pub(super) fn meant_revision(&self) -> &str {
        self.revision().unwrap_or(DEFAULT_REVISION)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// Returns whether a text is the whole name of a commit: 40 hexadecimal digits in lower case.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hexadecimal(text)
}

/// Returns whether a text is 0-9 and a-f throughout.
pub(super) fn is_lower_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks a name by the rules of `huggingface_hub` (`validate_repo_id`).
fn check_name(what: &str, name: &str) -> Result<(), String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_allowed = |c: char| is_word(c) || c == '-' || c == '.';
    if name.is_empty() {
        return Err(format!("{what} is missing"));
    }
    if name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(format!("{what} has more than {NAME_CHARACTERS_MAX} characters"));
    }
    if let Some(c) = name.chars().find(|&c| !is_allowed(c)) {
        return Err(format!("{what} has '{}'", c.escape_debug()));
    }
    if !name.starts_with(is_word) || !name.ends_with(is_word) {
        return Err(format!("{what} begins or ends with neither letter, digit nor '_'"));
    }
    match ["--", ".."].iter().find(|twice| name.contains(**twice)) {
        Some(twice) => Err(format!("{what} has '{twice}'")),
        None => Ok(()),
    }
}

/// Checks a revision: it is a path below the folder of references.
fn check_revision(revision: &str) -> Result<(), String> {
    let forbidden = |c: char| c.is_control() || FORBIDDEN_IN_REVISION.contains(&c);
    if revision.is_empty() {
        return Err("nothing stands behind '@'".to_owned());
    }
    if let Some(c) = revision.chars().find(|&c| forbidden(c)) {
        return Err(format!("the revision has '{}'", c.escape_debug()));
    }
    let is_bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    match revision.contains("..") || revision.split('/').any(is_bad) {
        true => Err(format!("'{revision}' is no name of a branch, a tag or a commit")),
        false => Ok(()),
    }
}
