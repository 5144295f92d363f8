//! Reads an expression and computes it on the way.
//!
//! Chains of operators are loops and only parentheses, signs and powers go deeper, so that neither
//! the length of an expression nor its shape can exhaust the stack.

use super::functions;
use super::machine::{Machine, Refusal};
use super::number::Number;
use super::print;
use super::tokens::{Sign, Tokens, Word};
use crate::diag::{Diagnostic, Span};

/// The longest expression, in characters.
const CHARACTERS_MAX: usize = 10_000;

/// How deep parentheses, signs and powers may nest.
const DEPTH_MAX: usize = 100;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number as Python prints it; see [`super`].
    pub text: String,
    /// Whether the text is the value itself, reached without rounding. An answer that was rounded
    /// on the way, as `sin(pi)`, may still be.
    pub is_exact: bool,
}

/// Computes an expression. `cancelled` is asked before every operation.
///
/// # Errors
/// The place and what is wrong there: a mistake of syntax, a name that does not exist, an operation
/// without a real value, more work than is allowed, a cancellation.
pub fn evaluate(expression: &str, cancelled: &dyn Fn() -> bool) -> Result<Answer, Diagnostic> {
    let length = expression.chars().take(CHARACTERS_MAX + 1).count();
    if length > CHARACTERS_MAX {
        let message = format!("the expression has more than {CHARACTERS_MAX} characters");
        return Err(Diagnostic::new("size", message).help("calculate it in parts"));
    }
    let mut evaluation = Evaluation {
        tokens: Tokens::new(expression),
        word: Word::End,
        span: Span::default(),
        behind: 0,
        depth: 0,
        calls: 0,
        machine: Machine::new(cancelled),
    };
    evaluation.advance()?;
    if evaluation.word == Word::End {
        return Err(Diagnostic::new("syntax", "the expression is empty")
            .help("an example: (12.5 + 3) * 4 / sqrt(2)"));
    }
    let number = evaluation.sum()?;
    if evaluation.word != Word::End {
        return Err(evaluation.misplaced());
    }
    let answer = print::answer(&number).map_err(|message| Diagnostic::new("size", message))?;
    Ok(Answer { is_exact: answer.is_exact && evaluation.machine.is_exact(), ..answer })
}

struct Evaluation<'a> {
    tokens: Tokens<'a>,
    /// The word that was read last and not used.
    word: Word,
    span: Span,
    /// Where the word before it ends.
    behind: usize,
    depth: usize,
    /// Open parentheses of functions.
    calls: usize,
    machine: Machine<'a>,
}

impl Evaluation<'_> {
    fn advance(&mut self) -> Result<(), Diagnostic> {
        self.behind = self.span.end;
        (self.word, self.span) = self.tokens.next(self.calls == 0)?;
        Ok(())
    }

    /// Takes the sign that comes next, if it is this one, and returns its place.
    fn take(&mut self, sign: Sign) -> Result<Option<Span>, Diagnostic> {
        if self.word != Word::Sign(sign) {
            return Ok(None);
        }
        let span = self.span;
        self.advance()?;
        Ok(Some(span))
    }

    fn refuse(span: Span) -> impl Fn(Refusal) -> Diagnostic {
        move |message| Diagnostic::new("value", message).at(span)
    }

    /// Returns the place from `start` to the end of the last word used.
    fn since(&self, start: usize) -> Span {
        Span::new(start, self.behind)
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        if self.depth == DEPTH_MAX {
            let message = format!("the expression nests more than {DEPTH_MAX} deep");
            return Err(Diagnostic::new("size", message)
                .at(self.span)
                .help("calculate it in parts"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Number, Diagnostic> {
        let start = self.span.start;
        let mut left = self.product()?;
        loop {
            let is_sum = match self.word {
                Word::Sign(Sign::Plus) => true,
                Word::Sign(Sign::Minus) => false,
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.product()?;
            let result = match is_sum {
                true => self.machine.add(&left, &right),
                false => self.machine.subtract(&left, &right),
            };
            left = result.map_err(Self::refuse(self.since(start)))?;
        }
    }

    fn product(&mut self) -> Result<Number, Diagnostic> {
        let start = self.span.start;
        let mut left = self.signed()?;
        loop {
            let Word::Sign(sign) = self.word else { return self.no_juxtaposition(left) };
            match sign {
                Sign::Times | Sign::Over | Sign::FloorOver => self.advance()?,
                // A percent sign was taken by its operand: this is the remainder.
                Sign::Percent => self.advance()?,
                _ => return self.no_juxtaposition(left),
            }
            let right = self.signed()?;
            let machine = &mut self.machine;
            let result = match sign {
                Sign::Times => machine.multiply(&left, &right),
                Sign::Over => machine.divide(&left, &right),
                Sign::FloorOver => machine.floor_divide(&left, &right),
                _ => machine.remainder(&left, &right),
            };
            left = result.map_err(Self::refuse(self.since(start)))?;
        }
    }

    /// Refuses an operand right behind another one.
    fn no_juxtaposition(&self, left: Number) -> Result<Number, Diagnostic> {
        match &self.word {
            Word::Name(name) if name == "of" => Err(Diagnostic::new("syntax", "found 'of'")
                .at(self.span)
                .help("write 15% * 200 for 15% of 200")),
            Word::Number(_) | Word::Name(_) | Word::Sign(Sign::Open) => {
                Err(Diagnostic::new("syntax", "found an operand right behind another one")
                    .at(self.span)
                    .help("write * between them, as in 2 * (3 + 4)"))
            }
            _ => Ok(left),
        }
    }

    fn signed(&mut self) -> Result<Number, Diagnostic> {
        let mut is_negative = false;
        loop {
            match self.word {
                Word::Sign(Sign::Minus) => is_negative = !is_negative,
                Word::Sign(Sign::Plus) => {}
                _ => break,
            }
            self.advance()?;
        }
        let number = self.power()?;
        Ok(if is_negative { self.machine.negate(number) } else { number })
    }

    fn power(&mut self) -> Result<Number, Diagnostic> {
        let start = self.span.start;
        let base = self.postfix()?;
        if self.take(Sign::Power)?.is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        let result = self.machine.power(&base, &exponent);
        result.map_err(Self::refuse(self.since(start)))
    }

    /// Reads an operand and the factorials and percent signs behind it.
    fn postfix(&mut self) -> Result<Number, Diagnostic> {
        let start = self.span.start;
        let mut number = self.operand()?;
        loop {
            let result = match self.word {
                Word::Sign(Sign::Factorial) => {
                    self.advance()?;
                    functions::factorial(&mut self.machine, &number)
                }
                Word::Sign(Sign::Percent) if !self.operand_follows_percent()? => {
                    self.advance()?;
                    self.machine.divide(&number, &Number::whole(100))
                }
                _ => return Ok(number),
            };
            number = result.map_err(Self::refuse(self.since(start)))?;
        }
    }

    /// Whether an operand stands behind the percent sign that comes next: then it is no percent
    /// sign. Behind one, `+` and `-` are operators and no signs: `20% - 5%` is 0.15.
    fn operand_follows_percent(&self) -> Result<bool, Diagnostic> {
        let (word, span) = self.tokens.peek(self.calls == 0)?;
        if word == Word::Name("of".to_owned()) {
            return Err(Diagnostic::new("syntax", "found 'of'")
                .at(span)
                .help("write 15% * 200 for 15% of 200"));
        }
        Ok(matches!(word, Word::Number(_) | Word::Name(_) | Word::Sign(Sign::Open)))
    }

    fn operand(&mut self) -> Result<Number, Diagnostic> {
        let span = self.span;
        match std::mem::replace(&mut self.word, Word::End) {
            Word::Number(number) => {
                self.advance()?;
                self.machine.exact(number).map_err(Self::refuse(span))
            }
            Word::Name(name) => {
                self.advance()?;
                self.named(&name, span)
            }
            Word::Sign(Sign::Open) => {
                let calls = std::mem::take(&mut self.calls);
                self.advance()?;
                let number = self.deeper(Self::sum)?;
                self.calls = calls;
                self.close(span)?;
                Ok(number)
            }
            word => {
                self.word = word;
                Err(self.misplaced())
            }
        }
    }

    /// Takes the parenthesis that closes the one at `open`.
    fn close(&mut self, open: Span) -> Result<(), Diagnostic> {
        if self.word == Word::End {
            return Err(Diagnostic::new("syntax", "this parenthesis is not closed").at(open));
        }
        match self.take(Sign::Close)? {
            Some(_) => Ok(()),
            None => Err(self.misplaced()),
        }
    }

    fn named(&mut self, name: &str, span: Span) -> Result<Number, Diagnostic> {
        // Python's spelling of its own names.
        let short = name.strip_prefix("math.").unwrap_or(name);
        if self.word != Word::Sign(Sign::Open) {
            return match functions::constant(short) {
                Some(constant) => constant(&mut self.machine).map_err(Self::refuse(span)),
                None if functions::find(short).is_some() => {
                    let message =
                        format!("'{name}' is a function; expected its arguments in parentheses");
                    Err(Diagnostic::new("syntax", message).at(span))
                }
                None => Err(functions::unknown(name, span)),
            };
        }
        let open = self.span;
        let Some(function) = functions::find(short) else {
            return Err(match functions::constant(short) {
                Some(_) => {
                    Diagnostic::new("syntax", format!("'{name}' is a number and no function"))
                        .at(span)
                        .help("write * between a number and a parenthesis")
                }
                None => functions::unknown(name, span),
            });
        };
        let calls = std::mem::replace(&mut self.calls, 1);
        self.advance()?;
        let mut arguments = Vec::new();
        if self.word != Word::Sign(Sign::Close) {
            loop {
                arguments.push(self.deeper(Self::sum)?);
                if self.word != Word::Sign(Sign::Comma) {
                    break;
                }
                self.advance()?;
            }
        }
        self.calls = calls;
        self.close(open)?;
        function.call(&mut self.machine, &arguments).map_err(Self::refuse(self.since(span.start)))
    }

    /// Returns the error of a word where another one was expected.
    fn misplaced(&self) -> Diagnostic {
        let message = match &self.word {
            Word::End => "the expression ends here; expected a number",
            Word::Sign(Sign::Close) => "found ')'; expected a number, or there is no '(' for it",
            Word::Sign(Sign::Comma) => {
                "found ','; decimals are written with a point, and only \
                                        functions take several arguments"
            }
            _ => "found an operator; expected a number",
        };
        Diagnostic::new("syntax", message).at(self.span)
    }
}
