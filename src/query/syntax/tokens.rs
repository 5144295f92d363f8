//! Tokens with byte ranges, and where one statement ends and the next begins.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span as LineSpan, Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace, Word,
};

use crate::diag::{Diagnostic, Span};

/// A token that is neither white space nor a comment, and the bytes it stands on.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    /// The token, with lines and columns.
    pub token: TokenWithSpan,
    /// Its bytes in the text.
    pub span: Span,
}

impl Lexeme {
    /// Returns the word, if the token is one.
    pub fn word(&self) -> Option<&Word> {
        match &self.token.token {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Returns true if the token is the unquoted word `name`, in any case.
    pub fn is_word(&self, name: &str) -> bool {
        self.word().is_some_and(|w| w.quote_style.is_none() && w.value.eq_ignore_ascii_case(name))
    }

    /// Returns true if the token is the keyword.
    pub fn is_keyword(&self, keyword: Keyword) -> bool {
        self.word().is_some_and(|w| w.quote_style.is_none() && w.keyword == keyword)
    }

    /// Returns true if the token is this one.
    pub fn is(&self, token: &Token) -> bool {
        self.token.token == *token
    }
}

/// A comment and its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comment {
    /// The bytes, marks included.
    pub span: Span,
}

/// A text cut into tokens, as far as it could be.
#[derive(Debug)]
pub(super) struct Lexed {
    /// All tokens but white space and comments.
    pub tokens: Vec<Lexeme>,
    /// All comments.
    pub comments: Vec<Comment>,
    /// What the text ends in the middle of.
    pub open: Option<(Open, Diagnostic)>,
}

/// What a text may end in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A string in single quotes or dollars.
    Text,
    /// A name in double quotes.
    Name,
    /// A comment.
    Comment,
    /// A parenthesis, bracket or brace.
    Bracket,
    /// A statement that has no semicolon yet.
    Statement,
}

/// Cuts `text` into tokens.
pub(super) fn lex(text: &str) -> Lexed {
    let mut raw = Vec::new();
    let outcome =
        Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut raw);
    let mut places = Places::new(text);
    let mut lexed = Lexed { tokens: Vec::with_capacity(raw.len()), comments: vec![], open: None };
    for token in raw {
        let span = places.span(token.span);
        if text[span.start..].starts_with("/*!") {
            // The tokenizer reads what such a comment holds as if it were no comment.
            let end = text[span.start..].find("*/").map_or(text.len(), |at| span.start + at + 2);
            lexed.comments.push(Comment { span: Span::new(span.start, end) });
        }
        match token.token {
            Token::Whitespace(
                Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
            ) => lexed.comments.push(Comment { span }),
            Token::Whitespace(_) => {}
            _ => lexed.tokens.push(Lexeme { token, span }),
        }
    }
    lexed.open = outcome.err().map(|error| {
        let end = lexed.tokens.last().map_or(0, |t| t.span.end);
        let after = lexed.comments.last().map_or(0, |c| c.span.end);
        unfinished(text, end.max(after), &error)
    });
    lexed
}

/// Words what the tokenizer could not finish. The unfinished token begins at the first byte behind
/// `from` that is not white space.
fn unfinished(text: &str, from: usize, error: &TokenizerError) -> (Open, Diagnostic) {
    let rest = &text[from..];
    let start = from + rest.len() - rest.trim_start().len();
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let at = |end: usize| Span::new(start, end.min(text.len()));
    let found = text[start..].chars().next().unwrap_or(' ');
    let (open, code, message, help) = match found {
        '/' => (Open::Comment, "open-comment", "this comment never ends", "close it with */"),
        '"' | '`' => {
            (Open::Name, "open-name", "this quoted name never ends", "close it with the same quote")
        }
        '\'' | '$' => (
            Open::Text,
            "open-text",
            "this text never ends",
            "close it with a single quote; a quote inside a text is written twice: 'it''s'",
        ),
        _ if error.message.contains("nterminated") => {
            (Open::Text, "open-text", "this text never ends", "close it with a single quote")
        }
        _ => {
            let message = format!("this cannot be read: {}", error.message);
            return (Open::Statement, Diagnostic::new("syntax", message).at(at(line_end)));
        }
    };
    (open, Diagnostic::new(code, message).at(at(line_end)).help(help))
}

/// Turns lines and columns, as the SQL parser and DataFusion count them, into bytes.
///
/// Lines and columns start at 1, and a column is a character. Asking in the order of the text costs
/// one pass over it in all; asking backwards starts again at the line.
#[derive(Debug)]
pub struct Places<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    last: (Location, usize),
}

impl<'a> Places<'a> {
    /// Reads where the lines of `text` start.
    pub fn new(text: &'a str) -> Places<'a> {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Places { text, line_starts, last: (Location::new(1, 1), 0) }
    }

    /// Returns the byte at `line` and `column`, or the end of the text behind its last line.
    pub fn byte(&mut self, line: u64, column: u64) -> usize {
        let wanted = Location::new(line, column);
        let line_start = usize::try_from(line.max(1) - 1)
            .ok()
            .and_then(|line| self.line_starts.get(line).copied());
        let Some(line_start) = line_start else { return self.text.len() };
        let (from, skip) = match self.last {
            (known, byte) if known.line == line && known.column <= column => {
                (byte, column - known.column)
            }
            _ => (line_start, column.max(1) - 1),
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let rest = &self.text[from..];
        let byte = rest.char_indices().nth(skip).map_or(self.text.len(), |(at, _)| from + at);
        self.last = (wanted, byte);
        byte
    }

    /// Returns the bytes of a span of the SQL parser.
    pub(super) fn span(&mut self, span: LineSpan) -> Span {
        let start = self.byte(span.start.line, span.start.column);
        Span::new(start, self.byte(span.end.line, span.end.column))
    }
}

/// A text cut into statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The statements that a semicolon ends, without it; empty ones are left out.
    pub statements: Vec<Span>,
    /// What stands behind the last semicolon, if anything does, and why it is not finished.
    pub rest: Option<(Span, Open)>,
}

impl Split {
    /// Returns true if every statement has its semicolon: what a prompt may run.
    pub fn is_complete(&self) -> bool {
        self.rest.is_none()
    }
}

/// Cuts `text` into statements at semicolons outside of texts, quoted names and comments.
///
/// Nothing is parsed: the pieces may be wrong. A prompt asks for another line until
/// [`Split::is_complete`].
pub fn split(text: &str) -> Split {
    let lexed = lex(text);
    let mut statements = Vec::new();
    let mut piece: Option<Span> = None;
    let mut brackets = 0_usize;
    for lexeme in &lexed.tokens {
        match lexeme.token.token {
            Token::SemiColon => {
                statements.extend(piece.take());
                brackets = 0;
                continue;
            }
            Token::LParen | Token::LBracket | Token::LBrace => brackets += 1,
            Token::RParen | Token::RBracket | Token::RBrace => {
                brackets = brackets.saturating_sub(1);
            }
            _ => {}
        }
        piece = Some(piece.map_or(lexeme.span, |piece| piece.to(lexeme.span)));
    }
    let rest = match (&lexed.open, piece) {
        (Some((open, error)), piece) => {
            let tail = Span::new(error.span.map_or(text.len(), |span| span.start), text.len());
            Some((piece.map_or(tail, |piece| piece.to(tail)), *open))
        }
        (None, Some(piece)) if brackets > 0 => Some((piece, Open::Bracket)),
        (None, Some(piece)) => Some((piece, Open::Statement)),
        (None, None) => None,
    };
    Split { statements, rest }
}
