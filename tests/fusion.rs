//! Reciprocal rank fusion, by numbers computed by hand.

use swirldb::score::{FUSION_CONSTANT, FusionError, fuse};

#[test]
fn sums_are_those_of_the_formula() {
    let words: &[&str] = &["a", "b", "c"];
    let meanings: &[&str] = &["c", "a", "d"];
    let fused = fuse(&[words, meanings], FUSION_CONSTANT).unwrap();
    let expected = [
        ("a", 1.0 / 61.0 + 1.0 / 62.0),
        ("c", 1.0 / 61.0 + 1.0 / 63.0),
        ("b", 1.0 / 62.0),
        ("d", 1.0 / 63.0),
    ];
    assert_eq!(fused, expected);
    // 1/61 + 1/62 = 123/3782 and 1/61 + 1/63 = 124/3843.
    assert!((fused[0].1 - 0.032_522_474_881_015_34).abs() < 1e-17);
    assert!((fused[1].1 - 0.032_266_458_495_966_694).abs() < 1e-17);
    let flat = fuse(&[words, meanings], 0.0).unwrap();
    assert_eq!(flat, [("a", 1.5), ("c", 1.0 + 1.0 / 3.0), ("b", 0.5), ("d", 1.0 / 3.0)]);
}

#[test]
fn equal_sums_are_ordered_by_identifier() {
    let fused = fuse(&[&[7_u32, 2], &[2, 7], &[9], &[3]], 60.0).unwrap();
    let ids: Vec<u32> = fused.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [2, 7, 3, 9]);
}

#[test]
fn the_order_of_rankings_does_not_show() {
    let rankings: [&[u32]; 4] = [&[1, 2, 3, 4, 5], &[5, 3, 1], &[2, 5, 4, 1, 3], &[4, 3, 2]];
    let expected = fuse(&rankings, 60.0).unwrap();
    for turn in 0..4 {
        let mut turned = rankings;
        turned.rotate_left(turn);
        assert_eq!(fuse(&turned, 60.0).unwrap(), expected);
        turned.reverse();
        assert_eq!(fuse(&turned, 60.0).unwrap(), expected);
    }
}

#[test]
fn nothing_fused_is_nothing() {
    assert!(fuse::<u32>(&[], 60.0).unwrap().is_empty());
    assert_eq!(fuse(&[&[][..], &["a"][..]], 60.0).unwrap(), [("a", 1.0 / 61.0)]);
}

#[test]
fn what_cannot_be_fused_is_told() {
    let twice = fuse(&[&["a"][..], &["b", "c", "b"][..]], 60.0).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "ranking 2 (they count from 1) has 'b' at ranks 1 and 3; keep the better one"
    );
    for constant in [-1.0, f64::NAN, f64::INFINITY] {
        let error = fuse(&[&["a"]], constant).unwrap_err();
        assert!(matches!(error, FusionError::Constant { .. }), "{error}");
    }
}
