//! How far two judges agree.

use std::collections::BTreeMap;

use crate::model::GOOD_ABOVE;

/// Counts of pairs of values that two judges gave to the same things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// By the bits of both values.
    pairs: BTreeMap<(u64, u64), u64>,
}

impl Agreement {
    /// Counts a pair.
    pub fn add(&mut self, one: f64, other: f64, count: u64) {
        // -0 and 0 are the same value.
        let bits = |value: f64| (value + 0.0).to_bits();
        *self.pairs.entry((bits(one), bits(other))).or_default() += count;
    }

    /// Returns the pairs that were counted, with their counts.
    pub fn pairs(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let values = |(one, other): &(u64, u64)| (f64::from_bits(*one), f64::from_bits(*other));
        self.pairs.iter().map(move |(pair, count)| (values(pair).0, values(pair).1, *count))
    }

    /// Returns the share of pairs whose values are equal, `None` without pairs.
    pub fn share(&self) -> Option<f64> {
        let same: u64 = self.pairs.iter().filter(|((a, b), _)| a == b).map(|(_, n)| n).sum();
        let all = self.pairs.values().sum::<u64>();
        (all > 0).then(|| same as f64 / all as f64)
    }

    /// Returns Cohen's kappa, (p_o - p_e) / (1 - p_e): the agreement beyond what two judges with
    /// these habits reach by chance (Cohen 1960). `None` without pairs, or where both always gave
    /// one and the same value.
    pub fn kappa(&self) -> Option<f64> {
        let all = self.pairs.values().sum::<u64>() as f64;
        let (mut of_one, mut of_other) = (BTreeMap::new(), BTreeMap::new());
        for ((one, other), count) in &self.pairs {
            *of_one.entry(*one).or_insert(0.0) += *count as f64;
            *of_other.entry(*other).or_insert(0.0) += *count as f64;
        }
        let chance = |(value, count): (&u64, &f64)| {
            count / all * of_other.get(value).copied().unwrap_or(0.0) / all
        };
        let expected: f64 = of_one.iter().map(chance).sum();
        let observed = self.share()?;
        (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
    }
    /// Returns the same pairs as verdicts: 1 for a value above one half, which is GOOD, else 0.
    pub fn verdicts(&self) -> Agreement {
        let verdict = |value: f64| if value > GOOD_ABOVE { 1.0 } else { 0.0 };
        let mut verdicts = Agreement::default();
        for (one, other, count) in self.pairs() {
            verdicts.add(verdict(one), verdict(other), count);
        }
        verdicts
    }

    /// Returns how many pairs were counted.
    pub fn count(&self) -> u64 {
        self.pairs.values().sum()
    }

    /// Returns, of the pairs that the other judge calls BAD, the share that the first one calls
    /// GOOD; `None` where there are none.
    pub fn false_good(&self) -> Option<f64> {
        self.share_against(false)
    }

    /// Returns, of the pairs that the other judge calls GOOD, the share that the first one calls
    /// BAD; `None` where there are none.
    pub fn false_bad(&self) -> Option<f64> {
        self.share_against(true)
    }

    /// Returns the share of the first judge's contrary verdicts where the other one says `good`.
    fn share_against(&self, good: bool) -> Option<f64> {
        let is_good = |value: f64| value > GOOD_ABOVE;
        let mut counts = (0u64, 0u64);
        for (one, other, count) in self.pairs() {
            if is_good(other) == good {
                counts.0 += if is_good(one) == good { 0 } else { count };
                counts.1 += count;
            }
        }
        (counts.1 > 0).then(|| counts.0 as f64 / counts.1 as f64)
    }
}
