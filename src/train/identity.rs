//! What a run is of: runs with equal identities and options make the same weights.

use candle_core::{DType, Var};

use super::checkpoint::Identity;
use super::error::TrainError;
use super::plan::Prepared;
use super::run::Run;

/// Returns the identity of a run whose trainable variables still have their first values.
pub(super) fn identity_of(
    run: &Run<'_>,
    parameters: &[(String, Var)],
    (judge, episodes): (String, String),
) -> Result<Identity, TrainError> {
    Ok(Identity {
        model: run.model_identity.to_owned(),
        start: hash_variables(parameters)?,
        data: hash_data(run.prepared),
        tokenizer: blake3::Hash::from(run.tokenizer.fingerprint()).to_hex().to_string(),
        renderer: run.prepared.renderer.name().to_owned(),
        judge,
        episodes,
    })
}

/// Returns the BLAKE3 of names, shapes and values of variables.
fn hash_variables(variables: &[(String, Var)]) -> Result<String, TrainError> {
    let mut hasher = blake3::Hasher::new();
    for (name, variable) in variables {
        hasher.update(format!("{name} {:?}\n", variable.dims()).as_bytes());
        let values = variable.as_tensor().to_dtype(DType::F32)?.flatten_all()?;
        let mut bytes = Vec::with_capacity(values.elem_count() * 4);
        for value in values.to_vec1::<f32>()? {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Returns the BLAKE3 of tokens, actions and weights of all sequences. The database that they come
/// from does not show in it.
fn hash_data(prepared: &Prepared) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut number = |n: u64| {
        hasher.update(&n.to_le_bytes());
    };
    for (sequence, weights) in prepared.sequences.iter().zip(&prepared.weights) {
        number(sequence.tokens.len() as u64);
        sequence.tokens.iter().for_each(|token| number(u64::from(*token)));
        number(sequence.actions.len() as u64);
        for (action, weight) in sequence.actions.iter().zip(weights) {
            for text in [&action.row.source, &action.row.id] {
                number(text.len() as u64);
                text.bytes().for_each(|byte| number(u64::from(byte)));
            }
            for n in [u64::from(action.row.step), action.start as u64, action.end as u64] {
                number(n);
            }
            number(weight.to_bits());
            let stored = prepared.stored.get(&(action.row.key, action.row.step));
            number(u64::from(stored.is_some()));
            if let Some((policy, log_probs)) = stored {
                number(policy.temperature.to_bits());
                policy.fingerprint.bytes().for_each(|byte| number(u64::from(byte)));
                log_probs.iter().for_each(|l| number(u64::from(l.to_bits())));
            }
        }
        number(sequence.pair.map_or(0, |pair| pair + 1));
    }
    hasher.finalize().to_hex().to_string()
}
