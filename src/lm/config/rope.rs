//! How rotary frequencies are stretched for sequences longer than those of the first training.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::shape::refuse;
use crate::lm::LmError;
use crate::lm::fields::Fields;
use crate::lm::ops::Frequencies;

/// How the frequencies of rotary positions are stretched.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// All by one factor (Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Slow ones by a factor, fast ones not at all, those between by a mixture (Llama 3.1).
    Llama3 {
        /// The factor of slow ones.
        factor: f64,
        /// Slow ones turn less often than this within `original_length`.
        low_freq_factor: f64,
        /// Fast ones turn more often than this within `original_length`.
        high_freq_factor: f64,
        /// Longest sequence of the first training, in tokens.
        original_length: usize,
    },
    /// Slow ones by a factor with a ramp over the features, and larger features (Peng et al. 2023).
    Yarn(Yarn),
}

/// The settings of YaRN.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// The factor of slow ones.
    pub factor: f64,
    /// Longest sequence of the first training, in tokens.
    pub original_length: usize,
    /// Features that turn more often than this within `original_length` are not stretched.
    pub beta_fast: f64,
    /// Features that turn less often than this are stretched by the whole factor.
    pub beta_slow: f64,
    /// Factor of the rotated features.
    pub attention_factor: f64,
}

/// What is supported, for messages.
const SUPPORTED: &str = "rope types 'default', 'linear', 'llama3' and 'yarn' over whole heads are \
                         supported";

impl RopeScaling {
    /// Checks that the numbers make sense.
    pub(super) fn validate(&self) -> Result<(), LmError> {
        let positive = |name: &str, number: f64| match number.is_finite() && number > 0.0 {
            true => Ok(()),
            false => refuse(format!("{name} of the rope scaling is {number}"), "a positive number"),
        };
        match self {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_length } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("high_freq_factor - low_freq_factor", high_freq_factor - low_freq_factor)?;
                positive("original_max_position_embeddings", *original_length as f64)
            }
            RopeScaling::Yarn(yarn) => {
                positive("factor", yarn.factor)?;
                positive("beta_fast", yarn.beta_fast)?;
                positive("beta_slow", yarn.beta_slow)?;
                positive("attention_factor", yarn.attention_factor)?;
                positive("original_max_position_embeddings", yarn.original_length as f64)
            }
        }
    }

    /// Returns the frequencies of heads of a width, as transformers has them.
    pub(in crate::lm) fn frequencies(&self, head_dim: usize, theta: f64) -> Frequencies {
        let mut frequencies = Frequencies::plain(head_dim, theta);
        match self {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => {
                frequencies.values.iter_mut().for_each(|f| *f /= *factor as f32);
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_length } => {
                for frequency in &mut frequencies.values {
                    let plain = f64::from(*frequency);
                    let turns = *original_length as f64 * plain / TAU;
                    let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let kept = kept.clamp(0.0, 1.0);
                    *frequency = ((1.0 - kept) * plain / factor + kept * plain) as f32;
                }
            }
            RopeScaling::Yarn(yarn) => {
                let (low, high) = yarn.range(head_dim, theta);
                for (number, frequency) in frequencies.values.iter_mut().enumerate() {
                    let plain = f64::from(*frequency);
                    let stretched = ((number as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    *frequency =
                        (plain / yarn.factor * stretched + plain * (1.0 - stretched)) as f32;
                }
                frequencies.magnitude = yarn.attention_factor;
            }
        }
        frequencies
    }

    /// Reads the rope settings of one kind of layers: `rope_scaling` of older files,
    /// `rope_parameters` of newer ones. `context_length` stands in for a length of the first
    /// training that is not given, as in transformers.
    pub(super) fn read(
        name: &str,
        settings: Fields<'_>,
        context_length: usize,
    ) -> Result<RopeScaling, LmError> {
        let refuse = |what: String| Err(settings.unsupported(what, SUPPORTED));
        if settings.number("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
            return refuse(format!("{name} is {}", settings.json));
        }
        let kind = match settings.text("rope_type")? {
            Some(kind) => kind,
            None => settings.text("type")?.unwrap_or("default"),
        };
        let needed = |field: &str| -> Result<f64, LmError> {
            settings
                .number(field)?
                .ok_or_else(|| settings.wrong(&format!("{name}.{field}"), "a number", &Value::Null))
        };
        let original_length =
            settings.optional_size("original_max_position_embeddings")?.unwrap_or(context_length);
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: needed("factor")? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: needed("factor")?,
                low_freq_factor: needed("low_freq_factor")?,
                high_freq_factor: needed("high_freq_factor")?,
                original_length,
            }),
            "yarn" => {
                if settings.optional_flag("truncate")? == Some(false) {
                    return refuse(format!("{name}.truncate is false"));
                }
                Yarn::read(settings, original_length, context_length).map(RopeScaling::Yarn)
            }
            _ => refuse(format!("{name} is {}", settings.json)),
        }
    }

    /// Returns the settings as `rope_scaling` has them, if there are any.
    pub(super) fn write(&self) -> Option<Value> {
        Some(match self {
            RopeScaling::None => return None,
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_length } => {
                json!({
                    "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": original_length,
                })
            }
            RopeScaling::Yarn(yarn) => json!({
                "rope_type": "yarn", "factor": yarn.factor,
                "original_max_position_embeddings": yarn.original_length,
                "beta_fast": yarn.beta_fast, "beta_slow": yarn.beta_slow,
                "attention_factor": yarn.attention_factor,
            }),
        })
    }
}

impl Yarn {
    fn read(
        settings: Fields<'_>,
        original_length: usize,
        context_length: usize,
    ) -> Result<Yarn, LmError> {
        let factor = match settings.number("factor")? {
            Some(factor) => factor,
            None => context_length as f64 / original_length as f64,
        };
        let nonzero = |name: &str| -> Result<Option<f64>, LmError> {
            Ok(settings.number(name)?.filter(|number| *number != 0.0))
        };
        let magnitude = |scale: f64| match factor > 1.0 {
            true => 0.1 * scale * factor.ln() + 1.0,
            false => 1.0,
        };
        let attention_factor = match settings.number("attention_factor")? {
            Some(given) => given,
            None => match (nonzero("mscale")?, nonzero("mscale_all_dim")?) {
                (Some(above), Some(below)) => magnitude(above) / magnitude(below),
                _ => magnitude(1.0),
            },
        };
        Ok(Yarn {
            factor,
            original_length,
            beta_fast: nonzero("beta_fast")?.unwrap_or(32.0),
            beta_slow: nonzero("beta_slow")?.unwrap_or(1.0),
            attention_factor,
        })
    }

    /// Returns the pairs of features between which the ramp lies.
    fn range(&self, head_dim: usize, theta: f64) -> (f64, f64) {
        let width = head_dim as f64;
        let at = |turns: f64| {
            width * (self.original_length as f64 / (turns * TAU)).ln() / (2.0 * theta.ln())
        };
        let low = at(self.beta_fast).floor().max(0.0);
        let high = at(self.beta_slow).ceil().min(width - 1.0);
        // Equal ends would divide by zero; transformers adds the same.
        if low == high { (low, high + 0.001) } else { (low, high) }
    }
}
