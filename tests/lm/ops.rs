//! Every operation against candle's own differentiable composition, and against differences.

use candle_core::{Device, Result, Tensor, Var};
use swirldb::lm::ops::{
    self, Activation, AttentionForm, Frequencies, GradientSink, Heads, Rotation, Span, composed,
};

use super::{difference, numbers};

/// Returns a variable of random numbers.
fn variable(seed: u64, shape: &[usize]) -> Var {
    let count = shape.iter().product();
    Var::from_vec(numbers(seed, count), shape, &Device::Cpu).unwrap()
}

/// Checks that two functions of the same variables agree, and their gradients under a random
/// weighting of the result.
fn agree(
    variables: &[Var],
    ours: impl Fn() -> Result<Tensor>,
    theirs: impl Fn() -> Result<Tensor>,
) {
    let (a, b) = (ours().unwrap(), theirs().unwrap());
    assert!(difference(&a, &b) < 2e-5, "values differ by {}", difference(&a, &b));
    let weighting =
        Tensor::from_vec(numbers(99, a.elem_count()), a.shape().clone(), &Device::Cpu).unwrap();
    let backward = |x: &Tensor| (x * &weighting).unwrap().sum_all().unwrap().backward().unwrap();
    let (a, b) = (backward(&a), backward(&b));
    for (number, variable) in variables.iter().enumerate() {
        let (a, b) = (a.get(variable).unwrap(), b.get(variable).unwrap());
        let off = difference(a, b);
        assert!(off < 1e-4, "gradients of input {number} differ by {off}");
    }
}

/// Checks the gradient of one variable against central differences at every fifth element.
fn agrees_with_differences(variable: &Var, loss: impl Fn() -> Result<Tensor>) {
    const STEP: f32 = 1e-2;
    let gradients = loss().unwrap().backward().unwrap();
    let gradient =
        gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let values = variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let at = |values: Vec<f32>| {
        variable
            .set(&Tensor::from_vec(values, variable.shape().clone(), &Device::Cpu).unwrap())
            .unwrap();
        loss().unwrap().to_scalar::<f32>().unwrap()
    };
    for place in (0..values.len()).step_by(5) {
        let (mut up, mut down) = (values.clone(), values.clone());
        up[place] += STEP;
        down[place] -= STEP;
        let slope = (at(up) - at(down)) / (2.0 * STEP);
        let off = (slope - gradient[place]).abs();
        assert!(
            off < 5e-3 * (1.0 + slope.abs()),
            "element {place}: {slope} and {}",
            gradient[place]
        );
    }
    at(values);
}

#[test]
fn rms_norm_and_its_gradient() {
    for offset in [0.0, 1.0] {
        let (x, w) = (variable(1, &[70, 37]), variable(2, &[37]));
        agree(
            &[x.clone(), w.clone()],
            || ops::rms_norm(&x, &w, 1e-5, offset),
            || composed::rms_norm(&x, &w, 1e-5, offset),
        );
        let (x, w) = (variable(3, &[2, 11]), variable(4, &[11]));
        agrees_with_differences(&x, || ops::rms_norm(&x, &w, 1e-5, offset)?.sqr()?.mean_all());
        agrees_with_differences(&w, || ops::rms_norm(&x, &w, 1e-5, offset)?.sqr()?.mean_all());
    }
}

const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

#[test]
fn gated_activations_and_their_gradients() {
    let scale = |v: Var| Var::from_tensor(&(v.as_tensor() * 6.0).unwrap().detach()).unwrap();
    for activation in ACTIVATIONS {
        let (a, b) = (scale(variable(1, &[41, 500])), variable(2, &[41, 500]));
        agree(
            &[a.clone(), b.clone()],
            || ops::gated(&a, &b, activation),
            || composed::gated(&a, &b, activation),
        );
        let (a, b) = (variable(3, &[3, 7]), variable(4, &[3, 7]));
        for x in [&a, &b] {
            agrees_with_differences(x, || ops::gated(&a, &b, activation)?.sum_all());
        }
    }
}

#[test]
fn gated_activations_do_not_overflow() {
    let values = [[-1e30f32, -200.0, -88.0, -10.5, 0.0, 10.5, 88.0, 200.0, 1e30]];
    let gate = Var::new(&values, &Device::Cpu).unwrap();
    let up = gate.ones_like().unwrap();
    for activation in ACTIVATIONS {
        let out = ops::gated(&gate, &up, activation).unwrap();
        let gradients = out.sum_all().unwrap().backward().unwrap();
        let slope = gradients.get(&gate).unwrap().to_vec2::<f32>().unwrap().remove(0);
        let out = out.to_vec2::<f32>().unwrap().remove(0);
        assert!(out.iter().chain(&slope).all(|x| x.is_finite()), "{out:?} {slope:?}");
        assert!(out[1].abs() < 1e-30 && out[7] == 200.0, "{out:?}");
        assert!(slope[0].abs() < 1e-6 && slope[8] == 1.0, "{slope:?}");
    }
}

#[test]
fn a_bias_and_its_gradient() {
    let sink = GradientSink::default();
    let (x, b) = (variable(1, &[150, 37]), variable(2, &[37]));
    agree(&[x.clone(), b.clone()], || ops::add_bias(&x, &b, &sink), || x.broadcast_add(&b));
    assert!(ops::add_bias(&x, &variable(3, &[36]), &sink).is_err());
}

#[test]
fn rope_and_its_gradient() {
    let plain = Frequencies::plain(8, 10_000.0);
    for frequencies in [plain.clone(), Frequencies { magnitude: 1.25, ..plain }] {
        let rotation = Rotation::new(&[5, 1, 9], &frequencies);
        let x = variable(1, &[15, 24]);
        agree(
            std::slice::from_ref(&x),
            || ops::rope(&x, &rotation),
            || composed::rope(&x, &rotation),
        );
    }
}

#[test]
fn rope_restarts_in_each_sequence() {
    let frequencies = Frequencies::plain(8, 10_000.0);
    let x = variable(1, &[7, 8]);
    let packed = ops::rope(&x, &Rotation::new(&[3, 4], &frequencies)).unwrap();
    let second = x.narrow(0, 3, 4).unwrap();
    let alone = ops::rope(&second, &Rotation::new(&[4], &frequencies)).unwrap();
    assert_eq!(difference(&packed.narrow(0, 3, 4).unwrap(), &alone), 0.0);
    let first = packed.get(0).unwrap();
    assert_eq!(difference(&first, &x.get(0).unwrap()), 0.0, "position 0 is not rotated");
}

/// Returns the plain form of attention, one with a window and one with a cap, and both together.
fn forms(heads: Heads, window: usize) -> [AttentionForm; 4] {
    let plain = AttentionForm::plain(heads);
    let window = Some(window);
    let soft_cap = Some(0.7);
    [
        plain,
        AttentionForm { window, ..plain },
        AttentionForm { soft_cap, scale: 0.9, ..plain },
        AttentionForm { soft_cap, window, scale: 1.3, ..plain },
    ]
}

#[test]
fn attention_and_its_gradient() {
    for (lengths, heads, window) in [
        (vec![5, 1, 9], Heads { queries: 4, keys: 2, width: 6 }, 3),
        (vec![1], Heads { queries: 1, keys: 1, width: 2 }, 1),
        // Longer than one block of query rows, with a window shorter and longer than one.
        (vec![300, 40], Heads { queries: 3, keys: 1, width: 8 }, 20),
        (vec![300], Heads { queries: 1, keys: 1, width: 4 }, 150),
    ] {
        let tokens = lengths.iter().sum();
        let q = variable(1, &[tokens, heads.queries * heads.width]);
        let k = variable(2, &[tokens, heads.keys * heads.width]);
        let v = variable(3, &[tokens, heads.keys * heads.width]);
        for form in forms(heads, window) {
            agree(
                &[q.clone(), k.clone(), v.clone()],
                || ops::attention(&q, &k, &v, &lengths, form),
                || composed::attention(&q, &k, &v, &Span::plain(&lengths), form),
            );
        }
    }
}

#[test]
fn attention_by_differences() {
    let heads = Heads { queries: 2, keys: 1, width: 4 };
    let (q, k, v) = (variable(1, &[5, 8]), variable(2, &[5, 4]), variable(3, &[5, 4]));
    for form in forms(heads, 2) {
        for x in [&q, &k, &v] {
            agrees_with_differences(x, || {
                ops::attention(&q, &k, &v, &[3, 2], form)?.sqr()?.sum_all()
            });
        }
    }
}

#[test]
fn a_window_hides_what_lies_before_it() {
    let form = AttentionForm {
        window: Some(2),
        ..AttentionForm::plain(Heads { queries: 1, keys: 1, width: 2 })
    };
    let zeros = Tensor::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let value =
        Tensor::new(&[[1f32, 8.0], [3.0, 8.0], [5.0, 8.0], [9.0, 8.0]], &Device::Cpu).unwrap();
    let out = ops::attention(&zeros, &zeros, &value, &[4], form).unwrap();
    let out = out.to_vec2::<f32>().unwrap();
    // Equal scores: each row is the mean of itself and the row before it.
    assert_eq!(out, [[1.0, 8.0], [2.0, 8.0], [4.0, 8.0], [7.0, 8.0]]);
    let none = AttentionForm { window: Some(0), ..form };
    assert!(ops::attention(&zeros, &zeros, &value, &[4], none).is_err());
}

#[test]
fn linear_and_its_gradient() {
    let sink = GradientSink::default();
    let (x, w) = (variable(1, &[19, 23]), variable(2, &[31, 23]));
    agree(&[x.clone(), w.clone()], || ops::linear(&x, &w, &sink), || x.matmul(&w.t()?));
}

#[test]
fn products_do_not_read_the_memory_that_they_are_written_to() {
    let sizes = [1, 2, 3, 4, 17, 65];
    let value = |at: usize| (at * 37 % 64) as f32 - 31.5;
    let matrix = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns).map(value).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    };
    let shapes = sizes.iter().flat_map(|rows| sizes.iter().map(move |out| (*rows, *out)));
    // Longer sums than 512 are made in parts.
    for ((rows, out), inner) in shapes.flat_map(|ends| [1, 2, 3, 30, 600].map(|n| (ends, n))) {
        let (x, weight) = (matrix(rows, inner), matrix(out, inner));
        // Most likely the memory of the product.
        drop(std::hint::black_box(vec![f32::NAN; rows * out]));
        let product = ops::linear(&x, &weight, &GradientSink::default()).unwrap();
        let product: Vec<f32> = product.flatten_all().unwrap().to_vec1().unwrap();
        for (at, found) in product.iter().enumerate() {
            let (row, column) = (at / out, at % out);
            let term = |i: usize| value(row * inner + i) * value(column * inner + i);
            // Quarters of whole numbers: every order of the sum gives the same.
            assert_eq!(*found, (0..inner).map(term).sum::<f32>(), "{rows} {inner} {out}");
        }
    }
}

#[test]
fn frozen_weights_get_no_gradient() {
    let sink = GradientSink::default();
    let (x, w) = (variable(1, &[4, 5]), variable(2, &[3, 5]));
    let frozen = w.as_detached_tensor();
    let loss = ops::linear(&x, &frozen, &sink).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.get_ids().count(), 1, "only x has a gradient");
    assert!(gradients.get(&x).is_some());
    let nothing = ops::linear(&x.as_detached_tensor(), &frozen, &sink).unwrap();
    assert!(!nothing.track_op());
}

#[test]
fn rows_and_their_gradient() {
    let sink = GradientSink::default();
    let table = variable(1, &[10, 6]);
    let ids = [3u32, 3, 0, 9, 3];
    let index = Tensor::new(&ids, &Device::Cpu).unwrap();
    agree(
        std::slice::from_ref(&table),
        || ops::gather_rows(&table, &ids, &sink),
        || table.index_select(&index, 0),
    );
    assert!(ops::gather_rows(&table, &[10], &sink).is_err());
}

#[test]
fn log_probs_and_their_gradient() {
    let sink = GradientSink::default();
    for cap in [None, Some(1.5)] {
        // The vocabulary is larger than a chunk.
        for (rows, vocabulary) in [(3, 20_000), (7, 300), (1, 2)] {
            let h = variable(1, &[rows, 12]);
            let w = variable(2, &[vocabulary, 12]);
            let targets: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocabulary) as u32).collect();
            agree(
                &[h.clone(), w.clone()],
                || ops::log_probs(&h, &w, &targets, cap, &sink),
                || composed::log_probs(&h, &w, &targets, cap),
            );
        }
        let (h, w) = (variable(3, &[2, 5]), variable(4, &[6, 5]));
        for x in [&h, &w] {
            agrees_with_differences(x, || ops::log_probs(&h, &w, &[1, 5], cap, &sink)?.sum_all());
        }
        assert!(ops::log_probs(&h, &w, &[1, 6], cap, &sink).is_err());
        assert!(ops::log_probs(&h, &w, &[1], cap, &sink).is_err());
    }
}

#[test]
fn log_probs_of_large_logits_stay_exact() {
    let sink = GradientSink::default();
    let h = Tensor::new(&[[1000f32, 0.0]], &Device::Cpu).unwrap();
    let w = Tensor::new(&[[1f32, 0.0], [0.999, 0.0], [-1.0, 0.0]], &Device::Cpu).unwrap();
    let value = |target| {
        ops::log_probs(&h, &w, &[target], None, &sink).unwrap().to_vec1::<f32>().unwrap()[0]
    };
    // Logits 1000, 999, -1000.
    let normalizer = (1.0 + (-1f32).exp()).ln();
    assert!((value(0) + normalizer).abs() < 1e-4, "{}", value(0));
    assert!((value(1) + 1.0 + normalizer).abs() < 1e-3, "{}", value(1));
    assert!((value(2) + 2000.0 + normalizer).abs() < 1e-2, "{}", value(2));
}
