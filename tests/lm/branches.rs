//! Branches in one packed batch against sequences of their own.

use candle_core::{DType, Device, Tensor};
use swirldb::lm::{Branch, Decoder, DecoderConfig, LmError, LoraConfig, Packed, Training, Work};

use super::device::operations;
use super::{difference, families, tiny};

/// Small whole numbers from a seed.
struct Random(u64);

impl Random {
    /// Returns a number from `low` to `high`.
    fn within(&mut self, low: usize, high: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        low + (self.0 >> 33) as usize % (high - low + 1)
    }

    fn tokens(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.within(0, 60) as u32).collect()
    }
}

/// A batch, and the tokens whose log-probabilities count, as (row before, token) in it and in the
/// batch of separate sequences.
struct Case {
    branched: Packed,
    separate: Packed,
    rows: [Vec<u32>; 2],
    targets: Vec<u32>,
}

/// Returns up to three trunks with up to four branches each: some at one state, some right behind
/// the trunk's end.
fn case(seed: u64) -> Case {
    let mut random = Random(seed);
    let mut case = Case {
        branched: Packed::default(),
        separate: Packed::default(),
        rows: [Vec::new(), Vec::new()],
        targets: Vec::new(),
    };
    for sequence in 0..random.within(1, 3) {
        let length = random.within(1, 12);
        let trunk = random.tokens(length);
        let (first, alone) = (case.branched.tokens.len(), case.separate.tokens.len());
        case.branched.tokens.extend(&trunk);
        case.branched.lengths.push(trunk.len());
        case.separate.tokens.extend(&trunk);
        case.separate.lengths.push(trunk.len());
        // A token of the trunk itself may carry loss too.
        if trunk.len() > 2 {
            case.rows[0].push(first as u32);
            case.rows[1].push(alone as u32);
            case.targets.push(trunk[1]);
        }
        let mut prefix = trunk.len();
        for _ in 0..random.within(0, 4) {
            if random.within(0, 1) == 1 {
                prefix = random.within(1, trunk.len());
            }
            let length = random.within(1, 9);
            let own = random.tokens(length);
            let begin = case.branched.tokens.len();
            case.branched.tokens.extend(&own);
            case.branched.branches.push(Branch { sequence, prefix, length: own.len() });
            let alone = case.separate.tokens.len() + prefix;
            case.separate.tokens.extend(trunk[..prefix].iter().chain(&own));
            case.separate.lengths.push(prefix + own.len());
            for (at, token) in own.iter().enumerate() {
                let before = if at == 0 { first + prefix } else { begin + at };
                case.rows[0].push(before as u32 - 1);
                case.rows[1].push((alone + at) as u32 - 1);
                case.targets.push(*token);
            }
        }
    }
    case
}

/// Checks log-probabilities and gradients of a case; `whole` computes the states of the branches.
fn agrees(decoder: &Decoder, case: &Case, whole: impl Fn(&Packed) -> Tensor) {
    let Case { branched, separate, rows, targets } = case;
    if targets.is_empty() {
        return;
    }
    let weights: Vec<f32> = (0..targets.len()).map(|at| 0.3 - (at % 5) as f32 * 0.2).collect();
    let weights = Tensor::from_vec(weights, targets.len(), &Device::Cpu).unwrap();
    let pass = |hidden: Tensor, rows: &[u32]| {
        let log_probs = decoder.log_probs(&hidden, rows, targets).unwrap();
        let loss = (&log_probs * &weights).unwrap().sum_all().unwrap();
        (log_probs, decoder.backward(&loss).unwrap())
    };
    let (ours, our_gradients) = pass(whole(branched), &rows[0]);
    let (theirs, gradients) = pass(decoder.hidden(separate).unwrap(), &rows[1]);
    let family = decoder.config().family;
    let off = difference(&ours, &theirs);
    assert!(off < 1e-5, "{family:?}: {off} with {branched:?}");
    for (name, variable) in decoder.parameters() {
        let (a, b) = (our_gradients.get(&variable).unwrap(), gradients.get(&variable).unwrap());
        let off = difference(a, b);
        assert!(off < 1e-5, "{family:?} {name}: {off} with {branched:?}");
    }
}

#[test]
fn branches_are_sequences_of_their_own_in_every_family() {
    for config in [vec![tiny()], families()].concat() {
        let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
        for seed in 0..12 {
            agrees(&decoder, &case(seed), |batch| decoder.hidden(batch).unwrap());
        }
    }
}

#[test]
fn single_operations_and_recomputed_layers_know_branches() {
    for config in families() {
        let decoder = Decoder::random(&config, 2, &Device::Cpu).unwrap();
        let work = Work { gradient_checkpointing: true, ..Work::default() };
        let sparing = decoder.working(work).unwrap();
        for seed in 20..23 {
            let case = case(seed);
            agrees(&decoder, &case, |batch| decoder.hidden_by_operations(batch).unwrap());
            agrees(&sparing, &case, |batch| sparing.hidden(batch).unwrap());
        }
    }
}

#[test]
fn kernels_of_a_device_know_branches() {
    for config in families() {
        let decoder = Decoder::random(&config, 3, &Device::Cpu).unwrap();
        let other = decoder.with_operations(operations(DType::F32, 1));
        let case = case(31);
        assert!(!case.branched.branches.is_empty());
        let log_probs = |decoder: &Decoder| {
            let hidden = decoder.hidden(&case.branched).unwrap();
            decoder.log_probs(&hidden, &case.rows[0], &case.targets).unwrap()
        };
        let (ours, theirs) = (log_probs(&other), log_probs(&decoder));
        assert!(difference(&ours, &theirs) < 2e-5, "{:?}", config.family);
        let gradients = |decoder: &Decoder, values: &Tensor| {
            decoder.backward(&values.sum_all().unwrap()).unwrap()
        };
        let (ours, theirs) = (gradients(&other, &ours), gradients(&decoder, &theirs));
        for (name, variable) in decoder.parameters() {
            let off = difference(ours.get(&variable).unwrap(), theirs.get(&variable).unwrap());
            assert!(off < 1e-4, "{:?} {name}: {off}", config.family);
        }
    }
}

#[test]
fn adapters_learn_from_branches() {
    let folder = tempfile::tempdir().unwrap();
    Decoder::random(&tiny(), 1, &Device::Cpu).unwrap().save(folder.path(), None).unwrap();
    let target_modules = vec!["all-linear".to_owned()];
    let lora = Training::Lora(LoraConfig { r: 4, lora_alpha: 8.0, target_modules });
    let decoder = swirldb::lm::load(folder.path(), &lora, 7, &Device::Cpu).unwrap().decoder;
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() + 0.02).unwrap().detach()).unwrap();
    }
    for seed in 40..46 {
        agrees(&decoder, &case(seed), |batch| decoder.hidden(batch).unwrap());
    }
}

#[test]
fn prefixes_longer_than_a_block_of_rows_are_seen() {
    let windows = DecoderConfig { sliding_window: Some(150), ..families().remove(1) };
    for config in [tiny(), windows] {
        let config = DecoderConfig { context_length: 512, ..config };
        let decoder = Decoder::random(&config, 4, &Device::Cpu).unwrap();
        let (mut random, mut case) = (Random(5), case(0));
        let trunk = random.tokens(300);
        case.targets.clear();
        case.rows = [Vec::new(), Vec::new()];
        case.branched = Packed { lengths: vec![300], ..Packed::default() };
        case.branched.tokens.extend(&trunk);
        case.separate = Packed::default();
        for (prefix, length) in [(140, 130), (140, 20), (300, 140)] {
            let own = random.tokens(length);
            let begin = case.branched.tokens.len();
            let alone = case.separate.tokens.len() + prefix;
            case.branched.tokens.extend(&own);
            case.branched.branches.push(Branch { sequence: 0, prefix, length });
            case.separate.tokens.extend(trunk[..prefix].iter().chain(&own));
            case.separate.lengths.push(prefix + length);
            for at in [1, length / 2, length - 1] {
                case.rows[0].push((begin + at) as u32 - 1);
                case.rows[1].push((alone + at) as u32 - 1);
                case.targets.push(own[at]);
            }
        }
        agrees(&decoder, &case, |batch| decoder.hidden(batch).unwrap());
    }
}

#[test]
fn branches_that_do_not_fit_are_refused() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let branch = |sequence, prefix, length| Branch { sequence, prefix, length };
    for (tokens, branches, part) in [
        (4, vec![branch(0, 1, 2)], "4 tokens in 1 sequences and 1 branches"),
        (5, vec![branch(1, 1, 2)], "branch 0 is of sequence 1; expected one of 1"),
        (5, vec![branch(0, 0, 2)], "goes on from token 0"),
        (5, vec![branch(0, 4, 2)], "goes on from token 4 of sequence 0; expected 1 to 3"),
        (3, vec![branch(0, 1, 0)], "branch 0 has 0 tokens"),
        (66, vec![branch(0, 2, 63)], "branch 0 has 63 tokens behind 2; expected 1 to 62"),
    ] {
        let batch = Packed { tokens: vec![1; tokens], lengths: vec![3], branches };
        let error = decoder.hidden(&batch).unwrap_err();
        assert!(matches!(error, LmError::Batch { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let branches = vec![branch(1, 1, 1), branch(0, 1, 1)];
    let batch = Packed { tokens: vec![1; 4], lengths: vec![1, 1], branches };
    let error = decoder.hidden(&batch).unwrap_err().to_string();
    assert!(error.contains("in the order of their sequences"), "{error}");
}
