//! Sums that fit in a line.

/// Numbers with one operator between each two.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expression {
    pub(super) numbers: Vec<f64>,
    pub(super) operators: Vec<char>,
}

impl Expression {
    /// Returns what a text like `120 + 35.0` holds, or `None` for any other text.
    pub(super) fn parse(text: &str) -> Option<Expression> {
        let (mut numbers, mut operators) = (Vec::new(), Vec::new());
        let mut digits = String::new();
        for c in text.chars().filter(|c| !c.is_whitespace()) {
            match c {
                '0'..='9' | '.' => digits.push(c),
                '+' | '-' | '*' | '/' => {
                    numbers.push(digits.parse().ok()?);
                    digits.clear();
                    operators.push(c);
                }
                _ => return None,
            }
        }
        numbers.push(digits.parse().ok()?);
        Some(Expression { numbers, operators })
    }

    /// Returns the operator where all are the same one.
    pub(super) fn operator(&self) -> Option<char> {
        let first = *self.operators.first()?;
        self.operators.iter().all(|operator| *operator == first).then_some(first)
    }

    /// Returns its value: products and quotients first, from left to right. `None` where it is not
    /// finite.
    pub(super) fn value(&self) -> Option<f64> {
        let mut terms = vec![*self.numbers.first()?];
        for (operator, number) in self.operators.iter().zip(&self.numbers[1..]) {
            let last = terms.last_mut()?;
            match operator {
                '*' => *last *= number,
                '/' => *last /= number,
                '-' => terms.push(-number),
                _ => terms.push(*number),
            }
        }
        let sum: f64 = terms.iter().sum();
        sum.is_finite().then_some(sum)
    }
}

/// Returns a number as answers and expressions have it: without a point where it is whole.
pub(super) fn print(number: f64) -> String {
    format!("{number}")
}

/// Returns the number that a text is, thousands parted by commas or a full stop behind allowed.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('.').replace(',', "");
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}
