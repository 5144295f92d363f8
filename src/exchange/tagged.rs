//! Transcripts kept as one text, cut at their tags.
//!
//! Search policies write their queries as tags, and the environment writes the documents behind
//! them, so that a whole episode is one text:
//!
//! ```text
//! Who built it?<|begin_of_query|> mill <|end_of_query|>
//! \____________________ action _______________________/\
//!                                                        observation
//! <|begin_of_documents|>(1)Orm ...<|end_of_documents|>  /
//!  Orm did.</think> <answer> Orm </answer>
//! \______________ action _________________/
//! ```
//!
//! An action ends behind its query. Line breaks around documents come from the environment with
//! them and belong to the observation. Nothing is left out: the contents of all messages, joined,
//! are the text. Tags within documents are text of theirs.

use super::json::ObjectText;
use crate::model::{Message, ToolCall, role};

/// The tool that a query calls.
const SEARCH: &str = "search";

/// What a pair of tags encloses. The numbers tell the spellings apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Query(u8),
    Documents(u8),
    Answer,
}

/// The tags of R1-Searcher, Search-R1, ReSearch and Search-o1.
const TAGS: [(&str, &str, Part); 8] = [
    ("<|begin_of_query|>", "<|end_of_query|>", Part::Query(0)),
    ("<|begin_of_documents|>", "<|end_of_documents|>", Part::Documents(0)),
    ("<search>", "</search>", Part::Query(1)),
    ("<information>", "</information>", Part::Documents(1)),
    ("<result>", "</result>", Part::Documents(2)),
    ("<|begin_search_query|>", "<|end_search_query|>", Part::Query(2)),
    ("<|begin_search_result|>", "<|end_search_result|>", Part::Documents(3)),
    ("<answer>", "</answer>", Part::Answer),
];

/// Something about a transcript that a well-formed one does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flaw {
    UnclosedQuery,
    UnclosedDocuments,
    DocumentsWithoutQuery,
    UnclosedAnswer,
    SeveralAnswers,
    NoAnswer,
}

impl Flaw {
    /// Returns the words for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Flaw::UnclosedQuery => "unclosed query",
            Flaw::UnclosedDocuments => "unclosed documents",
            Flaw::DocumentsWithoutQuery => "documents without query",
            Flaw::UnclosedAnswer => "unclosed answer",
            Flaw::SeveralAnswers => "several answers",
            Flaw::NoAnswer => "no answer",
        }
    }
}

/// A transcript, cut.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    /// Actions and observations in their order; documents before the first action come first.
    pub(super) messages: Vec<Message>,
    /// The answers that were closed, in order, without white space around them.
    pub(super) answers: Vec<String>,
    /// What stands behind the tag of an answer that the text ends in.
    pub(super) cut_answer: Option<String>,
    /// Whether the text ends within a query or an answer.
    pub(super) is_cut: bool,
    /// What is malformed, each once, in the order of [`Flaw`].
    pub(super) flaws: Vec<Flaw>,
}

impl Tagged {
    /// Whether there are answers that differ from each other.
    pub(super) fn contradicts_itself(&self) -> bool {
        self.answers.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// Whether `text` holds the opening tag of a query or an answer.
pub(super) fn has_tag(text: &[u8]) -> bool {
    TAGS.iter().any(|(open, _, part)| {
        !matches!(part, Part::Documents(_)) && memchr::memmem::find(text, open.as_bytes()).is_some()
    })
}

/// Cuts a transcript at its tags.
pub(super) fn cut(text: &str) -> Tagged {
    let tokens = tokens(text);
    let mut cutter = Cutter { text, tokens: &tokens, from: 0, tagged: Tagged::default() };
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at = match (token.is_open, token.part) {
            (true, Part::Query(_)) => cutter.query(at),
            (true, Part::Documents(_)) => cutter.documents(at),
            (true, Part::Answer) => cutter.answer(at),
            (false, _) => at + 1,
        };
    }
    cutter.finish()
}

/// A tag's place in the text.
#[derive(Clone, Copy)]
struct Token {
    from: usize,
    to: usize,
    part: Part,
    is_open: bool,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for from in memchr::memchr_iter(b'<', text.as_bytes()) {
        let rest = &text[from..];
        let found = TAGS.iter().find_map(|(open, close, part)| {
            let tag = if rest.starts_with(open) { open } else { close };
            rest.starts_with(tag).then(|| Token {
                from,
                to: from + tag.len(),
                part: *part,
                is_open: tag == open,
            })
        });
        tokens.extend(found);
    }
    tokens
}

/// Walks over the tags. What stands before `from` is in a message already.
struct Cutter<'a> {
    text: &'a str,
    tokens: &'a [Token],
    from: usize,
    tagged: Tagged,
}

impl Cutter<'_> {
    /// Returns the first tag behind tag `at` that fits, with its index.
    fn next(&self, at: usize, fits: impl Fn(&Token) -> bool) -> Option<(usize, Token)> {
        let mut behind = self.tokens.iter().copied().enumerate().skip(at + 1);
        behind.find(|(_, token)| fits(token))
    }

    /// Takes the query that tag `at` opens; returns the tag to go on with.
    fn query(&mut self, at: usize) -> usize {
        let open = self.tokens[at];
        match self.next(at, |token| token.is_open || token.part == open.part) {
            Some((next, close)) if !close.is_open => {
                self.act(close.to, Some(&self.text[open.to..close.from]));
                next + 1
            }
            Some((next, token)) => {
                self.flaw(Flaw::UnclosedQuery);
                if let Part::Documents(_) = token.part {
                    let query = self.text[open.to..token.from].trim_end();
                    self.act(open.to + query.len(), Some(query));
                }
                next
            }
            None => {
                self.flaw(Flaw::UnclosedQuery);
                self.tagged.is_cut = true;
                self.tokens.len()
            }
        }
    }

    /// Takes the documents that tag `at` opens; returns the tag to go on with.
    fn documents(&mut self, at: usize) -> usize {
        let open = self.tokens[at];
        let pending = self.text[self.from..open.from].trim_end();
        if !pending.is_empty() {
            self.act(self.from + pending.len(), None);
        }
        let last = self.tagged.messages.last();
        if last.is_none_or(|m| m.role == role::ASSISTANT && m.tool_calls.is_empty()) {
            self.flaw(Flaw::DocumentsWithoutQuery);
        }
        // Two of a kind in a row: the first was never closed.
        let same = self.next(at, |token| token.part == open.part);
        let (to, next) = match same.filter(|(_, token)| !token.is_open) {
            Some((index, close)) => {
                let rest = &self.text[close.to..];
                let breaks = rest.len() - rest.trim_start_matches(['\n', '\r']).len();
                (close.to + breaks, index + 1)
            }
            None => {
                self.flaw(Flaw::UnclosedDocuments);
                let next = self.next(at, |token| token.is_open);
                next.map_or((self.text.len(), self.tokens.len()), |(i, token)| (token.from, i))
            }
        };
        let content = &self.text[self.from..to];
        self.tagged.messages.push(Message::new(role::TOOL, content));
        self.from = to;
        next
    }

    /// Takes note of the answer that tag `at` opens; returns the tag to go on with.
    fn answer(&mut self, at: usize) -> usize {
        let open = self.tokens[at];
        match self.next(at, |token| token.is_open || token.part == Part::Answer) {
            Some((next, close)) if !close.is_open => {
                let answer = self.text[open.to..close.from].trim();
                self.tagged.answers.push(answer.to_owned());
                next + 1
            }
            Some((next, _)) => {
                self.flaw(Flaw::UnclosedAnswer);
                next
            }
            None => {
                self.flaw(Flaw::UnclosedAnswer);
                self.tagged.is_cut = true;
                self.tagged.cut_answer = Some(self.text[open.to..].trim().to_owned());
                self.tokens.len()
            }
        }
    }

    /// Appends the action that ends at `to`.
    fn act(&mut self, to: usize, query: Option<&str>) {
        let mut message = Message::new(role::ASSISTANT, &self.text[self.from..to]);
        if let Some(query) = query {
            let mut arguments = ObjectText::new();
            arguments.text("query", Some(query.trim()));
            let arguments = arguments.finish();
            let call = ToolCall { id: None, name: SEARCH.to_owned(), arguments };
            message.tool_calls.push(call);
            message.calls_in_content = true;
        }
        self.tagged.messages.push(message);
        self.from = to;
    }

    fn flaw(&mut self, flaw: Flaw) {
        self.tagged.flaws.push(flaw);
    }

    fn finish(mut self) -> Tagged {
        let rest = &self.text[self.from..];
        match self.tagged.messages.last_mut() {
            Some(last) if rest.trim().is_empty() => {
                last.content.get_or_insert_default().push_str(rest);
            }
            _ if rest.is_empty() => {}
            _ => self.act(self.text.len(), None),
        }
        match self.tagged.answers.len() {
            0 if self.tagged.cut_answer.is_none() => self.flaw(Flaw::NoAnswer),
            0 | 1 => {}
            _ => self.flaw(Flaw::SeveralAnswers),
        }
        self.tagged.flaws.sort_unstable();
        self.tagged.flaws.dedup();
        self.tagged
    }
}
