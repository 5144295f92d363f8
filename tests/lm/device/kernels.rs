//! Each kernel against the CPU's loops: f32 and bf16, narrow and wide rows, one thread and several.

use candle_core::{DType, Device, Tensor};
use swirldb::lm::ops::device::{AdamStep, Operations};
use swirldb::lm::ops::{self, Activation, AttentionForm, Heads};

use super::engine::{operations, operations_with_warps};
use crate::lm::{difference, numbers};

/// Returns random numbers that bf16 has too.
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let values = numbers(seed, shape.iter().product());
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()
}

/// Runs `check` in each type of numbers with one thread to a block and with several; it gets a
/// bound for differences of numbers up to 1.
fn each(check: impl Fn(&Operations, f32)) {
    for threads in [1, 4] {
        check(&operations(DType::F32, threads), 1e-5);
        check(&operations(DType::BF16, threads), 1e-2);
    }
}

fn take(operations: &Operations, x: &Tensor) -> Tensor {
    x.to_dtype(operations.dtype()).unwrap()
}

fn near(ours: &Tensor, theirs: &Tensor, bound: f32) {
    let ours = ours.to_dtype(DType::F32).unwrap();
    let size = theirs.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap().max(1.0);
    let off = difference(&ours, theirs);
    assert!(off <= bound * size, "{off} of {size} in {:?}", theirs.dims());
}

/// Rows and widths: odd, of one number, and of eight and more.
const SHAPES: [[usize; 2]; 5] = [[1, 1], [3, 7], [5, 37], [4, 64], [2, 200]];

#[test]
fn casts_round_to_nearest_ties_to_even() {
    let mut values = numbers(1, 500);
    values.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40, 3.3895314e38]);
    // Halfway between two bf16, the lower even and odd.
    values.extend([0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f81_7fff].map(f32::from_bits));
    values.push(f32::NAN);
    while !values.len().is_multiple_of(8) {
        values.push(1.5);
    }
    for count in [values.len(), values.len() - 3] {
        let x = Tensor::new(&values[..count], &Device::Cpu).unwrap();
        let expected = x.to_dtype(DType::BF16).unwrap();
        let operations = operations(DType::F32, 1);
        let ours = operations.cast(&x, DType::BF16).unwrap();
        let bits = |x: &Tensor| -> Vec<u32> {
            let wide = operations.cast(x, DType::F32).unwrap().to_vec1::<f32>().unwrap();
            wide.iter().map(|x| if x.is_nan() { 1 } else { x.to_bits() }).collect()
        };
        assert_eq!(bits(&ours), bits(&expected));
        let wide = expected.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let wide: Vec<u32> =
            wide.iter().map(|x| if x.is_nan() { 1 } else { x.to_bits() }).collect();
        assert_eq!(bits(&expected), wide);
    }
}

#[test]
fn sums_and_biases() {
    each(|operations, bound| {
        for shape in SHAPES {
            let (a, b, c) = (random(1, &shape), random(2, &shape), random(3, &shape[1..]));
            let sum = operations.sum(&take(operations, &a), &take(operations, &b)).unwrap();
            near(&sum, &(&a + &b).unwrap(), bound);
            let x = take(operations, &a).copy().unwrap();
            let biased = operations.add_bias(x, &c).unwrap();
            near(&biased, &a.broadcast_add(&c).unwrap(), bound);
        }
    });
}

#[test]
fn norms() {
    each(|operations, bound| {
        for (shape, norm) in SHAPES.into_iter().flat_map(|s| [(s, (1e-5, 0.0)), (s, (1e-6, 1.0))]) {
            let (x, y, g) = (random(1, &shape), random(2, &shape), random(4, &shape));
            let weight = random(3, &shape[1..]);
            let [a, b, d] = [&x, &y, &g].map(|x| take(operations, x));
            let theirs = ops::rms_norm(&x, &weight, norm.0, norm.1).unwrap();
            near(&operations.norm(&a, &weight, norm).unwrap(), &theirs, bound);
            let (sum, normed) = operations.sum_and_norm(&a, &b, &weight, norm).unwrap();
            let expected = sum.to_dtype(DType::F32).unwrap();
            near(&sum, &(&x + &y).unwrap(), bound);
            near(&normed, &ops::rms_norm(&expected, &weight, norm.0, norm.1).unwrap(), bound);
            let variable = candle_core::Var::from_tensor(&x).unwrap();
            let out = ops::rms_norm(&variable, &weight, norm.0, norm.1).unwrap();
            let store = (out * &g).unwrap().sum_all().unwrap().backward().unwrap();
            let theirs = store.get(&variable).unwrap();
            let ours = operations.norm_backward(&a, &weight, norm, &d, None, None).unwrap();
            near(&ours, theirs, 2.0 * bound);
            let ours = operations.norm_backward(&a, &weight, norm, &d, Some(&b), None).unwrap();
            near(&ours, &(theirs + &y).unwrap(), 2.0 * bound);
        }
    });
}

#[test]
fn gates() {
    each(|operations, bound| {
        for activation in [Activation::Silu, Activation::GeluTanh] {
            for shape in SHAPES {
                let gate = (random(1, &shape) * 8.0).unwrap();
                let (up, g) = (random(2, &shape), random(3, &shape));
                let [a, b, d] = [&gate, &up, &g].map(|x| take(operations, x));
                let vars = [&gate, &up].map(|x| candle_core::Var::from_tensor(x).unwrap());
                let theirs = ops::gated(&vars[0], &vars[1], activation).unwrap();
                near(&operations.gated(&a, &b, activation).unwrap(), &theirs, bound);
                let store = (theirs * &g).unwrap().sum_all().unwrap().backward().unwrap();
                let (d_gate, d_up) = operations.gated_backward(&a, &b, activation, &d).unwrap();
                near(&d_gate, store.get(&vars[0]).unwrap(), bound);
                near(&d_up, store.get(&vars[1]).unwrap(), bound);
            }
        }
    });
}

#[test]
fn gates_of_large_numbers_are_finite() {
    let values = [-1e30f32, -200.0, -88.0, -10.5, 0.0, 10.5, 88.0, 200.0, 1e30];
    let gate = Tensor::new(&[values], &Device::Cpu).unwrap();
    let one = gate.ones_like().unwrap();
    let operations = operations(DType::F32, 1);
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let out = operations.gated(&gate, &one, activation).unwrap();
        let (slope, _) = operations.gated_backward(&gate, &one, activation, &one).unwrap();
        near(&out, &ops::gated(&gate, &one, activation).unwrap(), 1e-6);
        assert!(slope.to_vec2::<f32>().unwrap()[0].iter().all(|x| x.is_finite()), "{slope}");
    }
}

#[test]
fn products() {
    each(|operations, bound| {
        let (x, w, g) = (random(1, &[5, 7]), random(2, &[3, 7]), random(3, &[5, 3]));
        let [a, b, d] = [&x, &w, &g].map(|x| take(operations, x));
        near(&operations.linear(&a, &b).unwrap(), &x.matmul(&w.t().unwrap()).unwrap(), bound);
        let theirs = g.matmul(&w).unwrap();
        let once = operations.input_gradient(&d, &b, None).unwrap();
        near(&once, &theirs, bound);
        let twice = operations.input_gradient(&d, &b, Some(once)).unwrap();
        near(&twice, &(theirs * 2.0).unwrap(), bound);
        assert!(operations.linear(&a, &d).is_err());
    });
}

/// Returns `[tokens, heads * width]` by heads: `[keys, tokens, heads / keys, width]`.
fn by_heads(x: &Tensor, heads: Heads) -> Tensor {
    let tokens = x.dim(0).unwrap();
    let group = x.dim(1).unwrap() / heads.width / heads.keys;
    let x = x.reshape((tokens, heads.keys, group, heads.width)).unwrap();
    x.transpose(0, 1).unwrap().contiguous().unwrap()
}

#[test]
fn attention_in_blocks() {
    let heads = Heads { queries: 4, keys: 2, width: 6 };
    let plain = AttentionForm::plain(heads);
    let (window, soft_cap) = (Some(3), Some(0.7));
    let forms = [
        plain,
        AttentionForm { window, ..plain },
        AttentionForm { soft_cap, scale: 0.9, ..plain },
        AttentionForm { soft_cap, window, scale: 1.3, ..plain },
    ];
    each(|operations, bound| {
        for (lengths, form) in
            [vec![5, 1, 9], vec![8, 8], vec![1]].iter().flat_map(|l| forms.map(|f| (l, f)))
        {
            let tokens: usize = lengths.iter().sum();
            let shapes = [24, 12, 12].map(|row| [tokens, row]);
            let [q, k, v] = [0, 1, 2].map(|i| random(i as u64, &shapes[i]));
            let g = random(5, &shapes[0]);
            let vars = [&q, &k, &v].map(|x| candle_core::Var::from_tensor(x).unwrap());
            let theirs = ops::attention(&vars[0], &vars[1], &vars[2], lengths, form).unwrap();
            let [a, b, c, d] = [&q, &k, &v, &g].map(|x| take(operations, &by_heads(x, heads)));
            let ours = operations.attention([&a, &b, &c], lengths, form).unwrap();
            near(&ours.out, &by_heads(&theirs.detach(), heads), 2.0 * bound);
            let store = (theirs * &g).unwrap().sum_all().unwrap().backward().unwrap();
            let inputs = [&a, &b, &c];
            let grads = operations.attention_backward(inputs, lengths, form, &ours, &d).unwrap();
            for (ours, variable) in grads.iter().zip(&vars) {
                near(ours, &by_heads(store.get(variable).unwrap(), heads), 4.0 * bound);
            }
        }
    });
}

#[test]
fn attention_by_one_kernel() {
    let operations = operations_with_warps();
    let heads = Heads { queries: 3, keys: 1, width: 64 };
    let plain = AttentionForm::plain(heads);
    let (window, soft_cap) = (Some(20), Some(0.7));
    for (lengths, form) in [
        (vec![30, 1, 70], plain),
        (vec![90], AttentionForm { window, ..plain }),
        (vec![25], AttentionForm { soft_cap, window: Some(3), scale: 0.9, ..plain }),
        (
            vec![66],
            AttentionForm {
                window,
                soft_cap,
                ..AttentionForm::plain(Heads { queries: 2, keys: 2, width: 64 })
            },
        ),
    ] {
        let tokens: usize = lengths.iter().sum();
        let heads = form.heads;
        let shapes = [heads.queries, heads.keys, heads.keys].map(|n| [tokens, n * heads.width]);
        let [q, k, v] = [0, 1, 2].map(|i| random(i as u64, &shapes[i]));
        let g = random(5, &shapes[0]);
        let vars = [&q, &k, &v].map(|x| candle_core::Var::from_tensor(x).unwrap());
        let theirs = ops::attention(&vars[0], &vars[1], &vars[2], &lengths, form).unwrap();
        let [a, b, c, d] = [&q, &k, &v, &g].map(|x| take(&operations, &by_heads(x, heads)));
        let ours = operations.attention([&a, &b, &c], &lengths, form).unwrap();
        assert!(ours.normalizers.is_some(), "it was not one kernel");
        near(&ours.out, &by_heads(&theirs.detach(), heads), 2e-2);
        let store = (theirs * &g).unwrap().sum_all().unwrap().backward().unwrap();
        let inputs = [&a, &b, &c];
        let grads = operations.attention_backward(inputs, &lengths, form, &ours, &d).unwrap();
        for (ours, variable) in grads.iter().zip(&vars) {
            near(ours, &by_heads(store.get(variable).unwrap(), heads), 2e-2);
        }
    }
}

#[test]
fn the_optimiser_and_norms() {
    for (threads, count) in [(1, 1), (1, 1000), (4, 37), (4, 64)] {
        let operations = operations(DType::F32, threads);
        let [variable, gradient, mean] = [1, 2, 3].map(|seed| random(seed, &[count]));
        let square = random(4, &[count]).sqr().unwrap();
        let step = AdamStep {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-6,
            scale: 0.5,
            rate: 0.01,
            root: 1.3,
            keep: 0.999,
        };
        let x = (&gradient * 0.5).unwrap();
        let m = ((&mean * 0.9).unwrap() + (&x * 0.1).unwrap()).unwrap();
        let s = ((&square * 0.99).unwrap() + (x.sqr().unwrap() * 0.01).unwrap()).unwrap();
        let root = ((s.sqrt().unwrap() * 1.3).unwrap() + 1e-6).unwrap();
        let moved = ((&m / root).unwrap() * 0.01).unwrap();
        let v = ((&variable * 0.999).unwrap() - moved).unwrap();
        operations.adamw(&variable, &gradient, [&mean, &square], step).unwrap();
        for (ours, theirs) in [(&variable, &v), (&mean, &m), (&square, &s)] {
            near(ours, theirs, 1e-6);
        }
        let tensors = [variable, gradient];
        let squares = operations.sums_of_squares(&tensors).unwrap();
        for (tensor, square) in tensors.iter().zip(squares) {
            let values = tensor.to_vec1::<f32>().unwrap();
            let expected: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((square - expected).abs() <= 1e-12 * expected, "{square} and {expected}");
        }
    }
    assert!(operations(DType::F32, 1).sums_of_squares(&[]).unwrap().is_empty());
}

#[test]
fn log_probs_of_large_logits_stay_exact() {
    let decoder = swirldb::lm::Decoder::random(&crate::lm::tiny(), 1, &Device::Cpu).unwrap();
    let by_kernels = decoder.with_operations(operations(DType::F32, 4));
    let hidden = (random(1, &[6, 24]) * 3000.0).unwrap();
    let (rows, targets) = ([0u32, 5, 5, 2], [3u32, 60, 0, 7]);
    let ours = by_kernels.log_probs(&hidden, &rows, &targets).unwrap();
    let theirs = decoder.log_probs(&hidden, &rows, &targets).unwrap();
    near(&ours, &theirs, 1e-5);
}
