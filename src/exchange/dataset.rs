//! Datasets in the project's own JSONL: what a selection says of itself, and its rows.
//!
//! ```text
//! {"swirl":1,"dataset":{"name":"good","statement":"FROM ...","hash":"9f..",...}}
//! {"swirl":1,"dataset_rows":{"dataset":"good","first":0,
//!   "trajectories":[["hotpotqa","7","3a.."]],"rows":[[0,1,null],[0,2,0.5]]}}
//! ```
//! A row is the place of its trajectory in the list of its line, the step, the reward, and the pair
//! that it is a side of, where it is one.

use serde::{Deserialize, Serialize};

/// What a dataset says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// The name.
    pub name: String,
    /// The statement as typed, behind it a comment for each parameter's value.
    pub statement: String,
    /// The seeds it names.
    pub seeds: Vec<u64>,
    /// The judges whose labels it used, as `name@judge`.
    pub judges: Vec<String>,
    /// Whether a judge it used was shown gold answers; `None` if that is not known of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saw_gold: Option<bool>,
    /// The number of rows.
    pub rows: u64,
    /// The number of trajectories among them.
    pub trajectories: u64,
    /// Trajectories left out because a step had no label.
    pub undecided: u64,
    /// BLAKE3 over all rows.
    #[serde(with = "hexadecimal")]
    pub hash: [u8; 32],
    /// The identity of the database it was saved in.
    #[serde(with = "hexadecimal")]
    pub database: [u8; 16],
    /// The sequence of that database it was selected at.
    pub sequence: u64,
    /// When it was saved, in microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// The version of the program that saved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// Some rows of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetRows {
    /// The dataset.
    pub dataset: String,
    /// How many rows of it stand on lines before.
    pub first: u64,
    /// The trajectories that these rows name.
    pub trajectories: Vec<PinnedTrajectory>,
    /// The rows.
    pub rows: Vec<WrittenRow>,
}

/// A row as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WrittenRow {
    /// The place of its trajectory in the list of its line, the step from 1, and the reward.
    Single(u32, u32, Option<f64>),
    /// The same, and the pair that it is a side of.
    Paired(u32, u32, Option<f64>, u64),
}

impl WrittenRow {
    /// Returns the place of its trajectory, the step, the reward and the pair.
    pub fn parts(&self) -> (u32, u32, Option<f64>, Option<u64>) {
        match *self {
            WrittenRow::Single(at, step, reward) => (at, step, reward, None),
            WrittenRow::Paired(at, step, reward, pair) => (at, step, reward, Some(pair)),
        }
    }
}

/// A trajectory as a dataset pins it: source, id and content hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTrajectory(
    /// The source.
    pub String,
    /// The identifier within it.
    pub String,
    /// BLAKE3 of its canonical content.
    #[serde(with = "hexadecimal")]
    pub [u8; 32],
);

/// Bytes as hexadecimal digits.
mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<const N: usize, S: Serializer>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::diag::hexadecimal(bytes))
    }

    pub fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let digits = String::deserialize(deserializer)?;
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..N).map(byte).collect();
        let whole = bytes.filter(|_| digits.len() == 2 * N).and_then(|b| b.try_into().ok());
        whole.ok_or_else(|| D::Error::custom(format!("expected {} hexadecimal digits", 2 * N)))
    }
}
