//! What is asked of a ranked index.

use std::collections::BTreeMap;

/// Tokens to rank by: each counts as often as it was added.
///
/// Their order makes no difference, not even to the last bit of a score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankedQuery {
    everywhere: BTreeMap<String, u32>,
    in_field: BTreeMap<(usize, String), u32>,
}

impl RankedQuery {
    /// Returns a query without tokens, which finds nothing.
    pub fn new() -> RankedQuery {
        RankedQuery::default()
    }

    /// Adds a token as the analysis of the index gives it, to be sought in all fields.
    pub fn add(&mut self, token: &str) {
        match self.everywhere.get_mut(token) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                self.everywhere.insert(token.to_owned(), 1);
            }
        }
    }

    /// Adds a token to be sought in one field; fields count from 0 as they were named to the
    /// builder.
    pub fn add_to_field(&mut self, field: usize, token: &str) {
        let count = self.in_field.entry((field, token.to_owned())).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.in_field.is_empty()
    }

    /// Returns the greatest field that is named, if one is.
    pub(super) fn greatest_field(&self) -> Option<usize> {
        self.in_field.keys().map(|(field, _)| *field).max()
    }

    /// Returns the tokens for one field with how often they count, sorted by spelling.
    pub(super) fn terms(&self, field: usize) -> BTreeMap<&str, u32> {
        let mut terms: BTreeMap<&str, u32> =
            self.everywhere.iter().map(|(token, count)| (token.as_str(), *count)).collect();
        let own = (field, String::new())..(field + 1, String::new());
        for ((_, token), count) in self.in_field.range(own) {
            let sum = terms.entry(token).or_default();
            *sum = sum.saturating_add(*count);
        }
        terms
    }
}

impl<T: AsRef<str>> FromIterator<T> for RankedQuery {
    fn from_iter<I: IntoIterator<Item = T>>(tokens: I) -> RankedQuery {
        let mut query = RankedQuery::new();
        tokens.into_iter().for_each(|token| query.add(token.as_ref()));
        query
    }
}
