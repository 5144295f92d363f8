//! Invented names.

use std::collections::HashSet;

use super::draw::Draw;

const ONSETS: [&str; 24] = [
    "b", "br", "d", "dr", "f", "g", "gl", "h", "k", "kl", "l", "m", "n", "p", "pr", "r", "s", "sk",
    "st", "t", "tr", "v", "w", "z",
];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ae", "ei", "ou"];
const CODAS: [&str; 14] = ["", "", "l", "m", "n", "r", "s", "t", "nd", "rk", "lm", "sk", "th", "x"];

/// First and second words of compound names.
const WORDS: usize = 60;

/// Makes names, none twice.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// Returns a new name of two words out of 60 and 60, or of more where those are used up. No
    /// tokenizer by BPE merges over a space: a name never seen is spelled with tokens that were, as
    /// those seen often are, and who has learned to copy names copies it too.
    pub(super) fn compound(&mut self, draw: &mut Draw) -> String {
        const TRIES: usize = 20;
        let second = |at: usize| {
            let onset = ONSETS[(at * 7 + 3) % ONSETS.len()];
            let vowel = VOWELS[(at * 5 + at / ONSETS.len() + 1) % VOWELS.len()];
            format!("{onset}{vowel}{}", CODAS[2 + at % (CODAS.len() - 2)])
        };
        let mut tries = 0;
        loop {
            let at = draw.below(WORDS);
            let vowel = VOWELS[(at / ONSETS.len() * 3 + at) % VOWELS.len()];
            let mut name = capitalised(&format!("{}{vowel}", ONSETS[at % ONSETS.len()]));
            for _ in 0..=tries / TRIES {
                name = format!("{name} {}", capitalised(&second(draw.below(WORDS))));
            }
            if self.0.insert(name.clone()) {
                return name;
            }
            tries += 1;
        }
    }

    /// Returns a new word of `syllables` syllables, or more where those are used up, capitalised.
    pub(super) fn word(&mut self, draw: &mut Draw, syllables: usize) -> String {
        const TRIES: usize = 20;
        let mut tries = 0;
        loop {
            let mut word = String::new();
            for _ in 0..syllables + tries / TRIES {
                let (onset, vowel) = (*draw.pick(&ONSETS), *draw.pick(&VOWELS));
                word.extend([onset, vowel]);
            }
            word.extend([*draw.pick(&CODAS)]);
            let word = capitalised(&word);
            if self.0.insert(word.clone()) {
                return word;
            }
            tries += 1;
        }
    }
}

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}
