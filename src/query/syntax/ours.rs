//! The stages that SQL does not have: SAMPLE, SAVE AS, LABEL AS, SCORE AS, TRAIN WITH.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, Ident, LimitClause, ObjectName, SetExpr,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::stages::{Chain, binary};
use super::statement::{Literal, Name, Rollout, RolloutVerb, Then, WithOption};
use super::{build, teach};
use crate::diag::{Diagnostic, Span};

/// The function that gives every trajectory or step its place in the draw of a seed:
/// `sample_key(seed, _trajectory)` and `sample_key(seed, _trajectory, _step)`.
pub const SAMPLE_KEY: &str = "sample_key";

/// A walk over the tokens of one stage.
pub(super) struct Cursor<'r> {
    reader: &'r Reader<'r>,
    at: usize,
    end: usize,
}

impl<'r> Cursor<'r> {
    /// Begins at the first token of `range`.
    pub fn new(reader: &'r Reader<'r>, range: Range<usize>) -> Cursor<'r> {
        Cursor { reader, at: range.start, end: range.end }
    }

    /// Returns the place of the next token.
    pub fn place(&self) -> Span {
        self.reader.span_at(self.at)
    }

    /// Returns where the next token stands among all.
    pub fn index(&self) -> usize {
        self.at
    }

    /// Passes over the next token.
    pub fn forward(&mut self) {
        self.at += 1;
    }

    /// Goes back to the token before, so that a mistake is shown there.
    pub fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// Returns the token `further` behind the next one, unless the stage ends before.
    pub fn peek_at(&self, further: usize) -> Option<&'r Token> {
        let at = self.at + further;
        (at < self.end).then(|| &self.reader.lexemes[at].token.token)
    }

    /// Whether the next token is the word.
    pub fn is_word(&self, word: &str) -> bool {
        self.at < self.end && self.reader.lexemes[self.at].is_word(word)
    }

    /// Takes what stands in the braces that begin here, and returns the tokens between them.
    pub fn take_braces(&mut self) -> Option<Range<usize>> {
        let close = self.reader.partner[self.at.min(self.reader.lexemes.len() - 1)]?;
        if self.peek() != Some(&Token::LBrace) {
            return None;
        }
        let inner = self.at + 1..close;
        self.at = close + 1;
        Some(inner)
    }

    /// Returns the next token, unless the stage ends here.
    pub fn peek(&self) -> Option<&'r Token> {
        (self.at < self.end).then(|| &self.reader.lexemes[self.at].token.token)
    }

    /// Takes the next token if it is the word.
    pub fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    /// Takes the next token if it is this one.
    pub fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    /// Says what was expected instead of the next token.
    pub fn expected(&self, what: &str) -> Diagnostic {
        let found = match self.peek() {
            Some(_) => format!("'{}'", self.reader.typed(self.at)),
            None if self.at < self.reader.lexemes.len() => {
                format!("'{}'", self.reader.typed(self.at))
            }
            None => "the end of the statement".into(),
        };
        Diagnostic::new("syntax", format!("expected {what}, found {found}")).at(self.place())
    }

    /// Takes a whole number.
    pub fn whole_number(&mut self, what: &str) -> Result<u64, Diagnostic> {
        match self.peek() {
            Some(Token::Number(digits, _)) => match digits.parse() {
                Ok(value) => {
                    self.at += 1;
                    Ok(value)
                }
                Err(_) => Err(self.expected(what)),
            },
            _ => Err(self.expected(what)),
        }
    }

    /// Takes a name: a word, in double quotes if it is to keep its case, or a text.
    pub fn name(&mut self, what: &str) -> Result<Name, Diagnostic> {
        let span = self.place();
        let text = match self.peek() {
            Some(Token::Word(word)) => match word.quote_style {
                Some(_) => word.value.clone(),
                None => word.value.to_ascii_lowercase(),
            },
            Some(Token::SingleQuotedString(text)) => text.clone(),
            _ => return Err(self.expected(what)),
        };
        if text.trim().is_empty() {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(Name { text, span })
    }

    /// Demands that the stage ends here.
    pub fn end(&self) -> Result<(), Diagnostic> {
        match self.peek() {
            None => Ok(()),
            Some(_) => {
                let error = self.expected("'|>' or the end of the statement");
                Err(teach::advise(self.reader, self.at, error))
            }
        }
    }
}

/// `|> SAMPLE n TRAJECTORIES SEED s`, `|> SAMPLE n STEPS SEED s`, `|> SAMPLE n PER key, ... SEED s`
///
/// The rows with the smallest keys are taken, so the same seed takes the same rows for ever.
pub(super) fn sample(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let reader = chain.reader;
    let word = reader.lexemes[range.start].token.span;
    let mut cursor = Cursor::new(reader, range.start + 1..range.end);
    let form = "|> SAMPLE 500 STEPS SEED 7, 200 TRAJECTORIES, or 5 PER question_id";
    let advise = |error: Diagnostic| error.help(form);
    let count = cursor.whole_number("a whole number of rows").map_err(advise)?;
    let of_steps = if cursor.take_word("STEPS") || cursor.take_word("STEP") {
        true
    } else if cursor.take_word("TRAJECTORIES") || cursor.take_word("TRAJECTORY") {
        false
    } else if cursor.is_word("PER") {
        true
    } else {
        return Err(advise(cursor.expected("TRAJECTORIES, STEPS or PER and columns")));
    };
    let mut per = Vec::new();
    if cursor.take_word("PER") {
        let start = cursor.at;
        let end = (start..range.end).find(|at| reader.lexemes[*at].is_word("SEED"));
        cursor.at = end.unwrap_or(range.end);
        per = chain.list(start..cursor.at, Parser::parse_expr)?;
    }
    if !cursor.take_word("SEED") {
        let error = cursor.expected("SEED and a number");
        return Err(Diagnostic { code: "sample-needs-seed", ..error }
            .help("the same seed takes the same rows, today and in a year: SEED 7"));
    }
    let seed = cursor.whole_number("a whole number as the seed")?;
    cursor.end()?;
    chain.seeds.push(seed);
    let mut arguments = vec![build::number(seed), build::column(build::TRAJECTORY)];
    if of_steps {
        arguments.push(build::column(build::STEP));
    }
    let mut key = build::call(SAMPLE_KEY, arguments, None);
    if let Expr::Function(Function { name, .. }) = &mut key {
        *name = ObjectName::from(Ident::with_span(word, SAMPLE_KEY));
    }
    let from = build::relations(chain.take());
    let mut select = build::select(vec![build::wildcard()], from);
    if !per.is_empty() {
        let rank = if of_steps { "row_number" } else { "dense_rank" };
        let order = build::window(per, vec![build::ascending(key)]);
        let rank = build::call(rank, vec![], Some(order));
        select.qualify = Some(binary(rank, BinaryOperator::LtEq, build::number(count)));
        chain.query = build::body(SetExpr::Select(Box::new(select)));
    } else if of_steps {
        let mut drawn = build::query(select);
        drawn.order_by = Some(build::order_by(vec![build::ascending(key)]));
        drawn.limit_clause = Some(LimitClause::LimitOffset {
            limit: Some(build::number(count)),
            offset: None,
            limit_by: vec![],
        });
        let outer = build::select(vec![build::wildcard()], build::derived(drawn, None));
        chain.query = build::query(outer);
        chain.query.order_by = Some(build::order_by(build::identity_order()));
    } else {
        let order = build::window(vec![], vec![build::ascending(key)]);
        let rank = build::call("dense_rank", vec![], Some(order));
        select.qualify = Some(binary(rank, BinaryOperator::LtEq, build::number(count)));
        chain.query = build::body(SetExpr::Select(Box::new(select)));
    }
    Ok(())
}

/// `|> SAVE AS name [WITH DUPLICATES]`
pub(super) fn save(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let mut cursor = Cursor::new(chain.reader, range.start + 1..range.end);
    if !cursor.take_word("AS") {
        return Err(cursor.expected("AS").help("|> SAVE AS good_steps"));
    }
    let name = cursor.name("a name for the dataset")?;
    let with_duplicates = cursor.take_word("WITH");
    if with_duplicates && !cursor.take_word("DUPLICATES") {
        return Err(cursor.expected("DUPLICATES"));
    }
    if cursor.peek() == Some(&Token::Minus) {
        let error = cursor.expected("'|>' or the end of the statement");
        return Err(error.help("a name with a dash is quoted: SAVE AS \"good-steps\""));
    }
    cursor.end()?;
    chain.then = Some(Then::Save { name, with_duplicates });
    Ok(())
}

/// `|> EXPORT TO 'file' [AS format]`
pub(super) fn export(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let mut cursor = Cursor::new(chain.reader, range.start + 1..range.end);
    let form = "|> EXPORT TO 'good.jsonl.zst' AS chat";
    if !cursor.take_word("TO") || !matches!(cursor.peek(), Some(Token::SingleQuotedString(_))) {
        return Err(cursor.expected("TO and a file in single quotes").help(form));
    }
    let path = cursor.name("a file")?;
    let format = match cursor.take_word("AS") {
        true => Some(cursor.name("a format")?),
        false => None,
    };
    cursor.end()?;
    chain.then = Some(Then::Export { path, format });
    Ok(())
}

/// `|> LABEL AS name BY 'judge' = expression`
pub(super) fn label(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let reader = chain.reader;
    let mut cursor = Cursor::new(reader, range.start + 1..range.end);
    let form = "|> LABEL AS process BY 'no error' = CASE WHEN observation_error THEN 0 ELSE 1 END";
    if !cursor.take_word("AS") {
        return Err(cursor.expected("AS and the name of a label").help(form));
    }
    let name = cursor.name("the name of a label")?;
    if !cursor.take_word("BY") {
        return Err(cursor.expected("BY and the name of a judge").help(form));
    }
    let judge = cursor.name("the name of a judge")?;
    if !cursor.take(&Token::Eq) {
        return Err(cursor.expected("'=' and the value of each row's label").help(form));
    }
    let expression = cursor.at..range.end;
    if expression.is_empty() {
        return Err(cursor.expected("the value of each row's label").help(form));
    }
    let span = reader.span(expression.clone());
    reader.read(expression, &mut chain.holes, Parser::parse_expr)?;
    let value = Name { text: reader.text[span.start..span.end].to_owned(), span };
    chain.then = Some(Then::Label { name, judge, value });
    Ok(())
}

/// `|> SCORE AS name WITH (option = value, ...)`
pub(super) fn score(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let mut cursor = Cursor::new(chain.reader, range.start + 1..range.end);
    let form = "|> SCORE AS lp WITH (model = 'path/to/model')";
    if !cursor.take_word("AS") {
        return Err(cursor.expected("AS and the name of a label").help(form));
    }
    let name = cursor.name("the name of a label")?;
    let options = with_options(&mut cursor, form)?;
    cursor.end()?;
    chain.then = Some(Then::Score { name, options });
    Ok(())
}

/// `|> JUDGE AS name WITH (option = value, ...)`
pub(super) fn judge(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let mut cursor = Cursor::new(chain.reader, range.start + 1..range.end);
    let form = "|> JUDGE AS process WITH (judge = 'process', model = 'path/to/model')";
    if !cursor.take_word("AS") {
        return Err(cursor.expected("AS and the name of a label").help(form));
    }
    let name = cursor.name("the name of a label")?;
    let options = with_options(&mut cursor, form)?;
    cursor.end()?;
    chain.then = Some(Then::Judge { name, options });
    Ok(())
}

/// `GENERATE WITH (option = value, ...) [AS name]`, and its like
pub(super) fn rollout(
    reader: &Reader<'_>,
    range: Range<usize>,
    verb: RolloutVerb,
) -> Result<Rollout, Diagnostic> {
    let span = reader.span_at(range.start);
    let mut cursor = Cursor::new(reader, range.start + 1..range.end);
    let form = match verb {
        RolloutVerb::Generate => "GENERATE WITH (model = 'path/to/model', n = 5) AS run_name",
        RolloutVerb::Evaluate => "EVALUATE WITH (model = 'path/to/model') AS run_name",
        RolloutVerb::Resample => "|> RESAMPLE WITH (model = 'path/to/model', n = 4) AS run_name",
    };
    let options = with_options(&mut cursor, form)?;
    let name = match cursor.take_word("AS") {
        true => Some(cursor.name("a name for the run")?),
        false => None,
    };
    cursor.end()?;
    Ok(Rollout { verb, span, options, name })
}

/// `|> TRAIN WITH (option = value, ...) [AS name]`
pub(super) fn train(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let mut cursor = Cursor::new(chain.reader, range.start + 1..range.end);
    let form = "|> TRAIN WITH (objective = 'sft', model = 'path/to/model') AS run_name";
    let options = with_options(&mut cursor, form)?;
    let name = match cursor.take_word("AS") {
        true => Some(cursor.name("a name for the run")?),
        false => None,
    };
    cursor.end()?;
    chain.then = Some(Then::Train { options, name });
    Ok(())
}

/// Reads `WITH (name = value, ...)`.
pub(super) fn with_options(
    cursor: &mut Cursor<'_>,
    form: &str,
) -> Result<Vec<WithOption>, Diagnostic> {
    if !cursor.take_word("WITH") || !cursor.take(&Token::LParen) {
        return Err(cursor.expected("WITH and options in parentheses").help(form));
    }
    let mut options: Vec<WithOption> = Vec::new();
    while !cursor.take(&Token::RParen) {
        let option = with_option(cursor).map_err(|error| error.help(form))?;
        if options.iter().any(|other| other.name.text == option.name.text) {
            let message = format!("the option '{}' is given twice", option.name.text);
            return Err(Diagnostic::new("duplicate-option", message).at(option.name.span));
        }
        options.push(option);
        if !cursor.take(&Token::Comma) && cursor.peek() != Some(&Token::RParen) {
            return Err(cursor.expected("',' or ')'").help(form));
        }
    }
    Ok(options)
}

/// Reads `name = value`.
fn with_option(cursor: &mut Cursor<'_>) -> Result<WithOption, Diagnostic> {
    let mut name = match cursor.peek() {
        Some(Token::Word(_)) => cursor.name("the name of an option")?,
        _ => return Err(cursor.expected("the name of an option")),
    };
    while cursor.take(&Token::Period) {
        let part = cursor.name("the rest of the option's name")?;
        name.text = format!("{}.{}", name.text, part.text);
        name.span = name.span.to(part.span);
    }
    if !cursor.take(&Token::Eq) {
        return Err(cursor.expected("'='"));
    }
    let start = cursor.place();
    let sign = if cursor.take(&Token::Minus) { "-" } else { "" };
    let span = start.to(cursor.place());
    let value = match cursor.peek() {
        Some(Token::Number(digits, _)) => match format!("{sign}{digits}").parse::<f64>() {
            Ok(value) if value.is_finite() => Literal::Number(value),
            _ => return Err(cursor.expected("a number")),
        },
        Some(Token::SingleQuotedString(text)) if sign.is_empty() => Literal::Text(text.clone()),
        Some(Token::Word(word)) if word.quote_style.is_none() && sign.is_empty() => {
            match word.value.to_ascii_lowercase().as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                other => {
                    let error = cursor.expected("a number, true, false or a text");
                    return Err(error.help(format!("a text stands in single quotes: '{other}'")));
                }
            }
        }
        _ => return Err(cursor.expected("a number, true, false or a text in single quotes")),
    };
    cursor.at += 1;
    Ok(WithOption { name, value, span })
}
