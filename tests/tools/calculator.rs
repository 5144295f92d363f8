//! The calculator against tables, a second implementation, doubles, and hostile expressions.

use proptest::prelude::*;
use serde_json::json;
use swirldb::tools::{Answer, Calculator, Tool, evaluate};

fn value(expression: &str) -> String {
    match evaluate(expression, &|| false) {
        Ok(answer) => answer.text,
        Err(error) => panic!("{}", error.render(expression)),
    }
}

fn refusal(expression: &str) -> String {
    match evaluate(expression, &|| false) {
        Ok(answer) => panic!("{expression} is {}", answer.text),
        Err(error) => error.message,
    }
}

#[test]
fn results_are_printed_as_floats_and_exactly_where_they_are_exact() {
    let cases = [
        ("0.1 + 0.2", "0.3"),
        ("10/4", "2.5"),
        ("1/3", "0.3333333333333333"),
        ("48 / 2", "24.0"),
        ("2 + 2", "4.0"),
        ("-0", "0.0"),
        ("2^53", "9007199254740992.0"),
        ("2^53 + 1", "9007199254740993"),
        ("2^100", "1267650600228229401496703205376"),
        ("1e22", "10000000000000000000000"),
        ("1e23 / 3", "3.333333333333333e+22"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1e-300", "1e-300"),
        ("1/2^60", "8.673617379884035e-19"),
        ("1.05^10", "1.62889462677744140625"),
        ("-1234.5", "-1234.5"),
        ("2/3 * 10^20", "6.666666666666666e+19"),
        ("exp(1000)", "1.970071114017047e+434"),
        ("-exp(-1000)", "-5.0759588975494568e-435"),
        ("10^400 / 3", "3.3333333333333333e+399"),
        ("100000 * (1 + 0.05/12)^(12*30)", "446774.4314006132"),
    ];
    for (expression, expected) in cases {
        assert_eq!(value(expression), expected, "{expression}");
    }
    let exact = |expression| evaluate(expression, &|| false).unwrap();
    assert_eq!(exact("1/4"), Answer { text: "0.25".to_owned(), is_exact: true });
    assert!(exact("sqrt(16) + round(2.675, 2)").is_exact);
    for rounded in ["1/3", "pi", "sin(pi)", "log10(1000)"] {
        assert!(!exact(rounded).is_exact, "{rounded}");
    }
}

#[test]
fn operators_bind_as_in_python() {
    let cases = [
        ("2 + 3 * 4", "14.0"),
        ("-2^2", "-4.0"),
        ("2^-1", "0.5"),
        ("2^3^2", "512.0"),
        ("2**3**2", "512.0"),
        ("--2", "2.0"),
        ("2 - -3", "5.0"),
        ("7 // 2", "3.0"),
        ("-7 // 2", "-4.0"),
        ("7 % 3", "1.0"),
        ("-7 % 3", "2.0"),
        ("7.5 % 2", "1.5"),
        ("mod(7, -3)", "-2.0"),
        ("15%", "0.15"),
        ("15% * 200", "30.0"),
        ("20% + 5%", "0.25"),
        ("50% - 20%", "0.3"),
        ("5!", "120.0"),
        ("3!!", "720.0"),
        ("-3!", "-6.0"),
        ("2 * (3 + 4)", "14.0"),
        ("6 \u{d7} 7 \u{f7} 2 \u{2212} 1", "20.0"),
        ("1,234,567.5 + 1", "1234568.5"),
        ("1_000_000", "1000000.0"),
        (".5 + 5.", "5.5"),
        ("1.5e3", "1500.0"),
        ("1E-2", "0.01"),
        ("0^0", "1.0"),
        ("(-1)^1000000001", "-1.0"),
    ];
    for (expression, expected) in cases {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn functions_are_exact_where_they_can_be() {
    let cases = [
        ("sqrt(16)", "4.0"),
        ("sqrt(2.25)", "1.5"),
        ("sqrt(2)^2", "2.0"),
        ("27^(1/3)", "3.0"),
        ("cbrt(-8)", "-2.0"),
        ("root(32, 5)", "2.0"),
        ("4^-0.5", "0.5"),
        ("log10(1000)", "3.0"),
        ("log2(8)", "3.0"),
        ("log(8, 2)", "3.0"),
        ("ln(e^2)", "2.0"),
        ("sin(pi)", "0.0"),
        ("cos(pi)", "-1.0"),
        ("sin(pi/6)", "0.5"),
        ("tan(pi/4)", "1.0"),
        ("sin(radians(30))", "0.5"),
        ("degrees(pi)", "180.0"),
        ("asin(1) * 2 - pi", "0.0"),
        ("atan2(1, 1) * 4 - pi", "0.0"),
        ("sin(sqrt(2) * 1e-100)", "1.414213562373095e-100"),
        ("tan(1e-15000)", "1e-15000"),
        ("sin(3 + 1/7 - 1/7 + 0.14159)", "2.6535897932353486e-06"),
        ("ln(1 + 1e-80)", "1e-80"),
        ("log10(1 - 1e-90)", "-4.3429448190325184e-91"),
        ("ln(sqrt(2)^2 / 2)", "0.0"),
        ("acosh(sqrt(2)^2 / 2)", "0.0"),
        ("(sqrt(2)^4)^0.5", "2.0"),
        ("(1 + 1e-15)^(10^15 + 0.5)", "2.718281828459045"),
        ("root(2^60000 + 1, 65000)", "1.8961550286783428"),
        ("sin(10^22)", "-0.8522008497671888"),
        ("abs(-3.5)", "3.5"),
        ("min(3, 1, 2)", "1.0"),
        ("max(1, 2.5, sqrt(2))", "2.5"),
        ("sum(1, 2, 3)", "6.0"),
        ("mean(1, 2, 3, 4)", "2.5"),
        ("round(2.5)", "2.0"),
        ("round(3.5)", "4.0"),
        ("round(-2.5)", "-2.0"),
        ("round(2.675, 2)", "2.68"),
        ("round(1234.567, -2)", "1200.0"),
        ("round(pi, 4)", "3.1416"),
        ("floor(-2.5)", "-3.0"),
        ("ceil(2.1)", "3.0"),
        ("trunc(-2.7)", "-2.0"),
        ("floor(sqrt(2)^2)", "2.0"),
        ("gcd(12, 18)", "6.0"),
        ("lcm(4, 6)", "12.0"),
        ("comb(50, 5)", "2118760.0"),
        ("perm(10, 3)", "720.0"),
        ("factorial(20)", "2432902008176640000"),
        ("hypot(3, 4)", "5.0"),
        ("math.sqrt(9)", "3.0"),
        ("tanh(100000)", "1.0"),
        ("pi", "3.141592653589793"),
        ("e", "2.718281828459045"),
        ("tau / 2 - pi", "0.0"),
    ];
    for (expression, expected) in cases {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("", "the expression is empty"),
        ("2 +", "the expression ends here; expected a number"),
        ("(2", "this parenthesis is not closed"),
        ("2)", "found ')'"),
        ("2(3)", "found an operand right behind another one"),
        ("2 pi", "found an operand right behind another one"),
        ("1.5.2", "found an operand right behind another one"),
        ("* 2", "found an operator; expected a number"),
        ("1,5", "found ','; decimals are written with a point"),
        ("max(1,234)", "'1,234' could be one number or 2 of them"),
        ("max()", "max() takes at least 1; found 0"),
        ("sqrt(1, 2)", "sqrt() takes one argument; found 2"),
        ("sqrt", "'sqrt' is a function"),
        ("pi(2)", "'pi' is a number and no function"),
        ("sqr(2)", "there is no 'sqr'"),
        ("__import__('os')", "there is no '__import__'"),
        ("x + 1", "there is no 'x'"),
        ("$5", "found '$'"),
        ("1 = 2", "found '='"),
        ("15% of 200", "found 'of'"),
        ("1/0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("0^-1", "division by zero"),
        ("1/(sqrt(2)^2 - 2)", "division by zero"),
        ("sqrt(-1)", "an even root of a negative number has no real value"),
        ("(-8)^(1/3)", "a negative number to a broken power has no real value"),
        ("ln(0)", "only positive numbers have a logarithm"),
        ("asin(2)", "this has no real value"),
        ("tan(pi/2)", "the tangent of a right angle is infinite"),
        ("factorial(2.5)", "factorial() takes whole numbers"),
        ("(-3)!", "factorial() takes whole numbers from 0"),
        ("sin(sqrt(2) * 10^100)", "the angle is too large"),
        ("sin(10^80)", "the angle is too large"),
    ];
    for (expression, expected) in cases {
        let found = refusal(expression);
        assert!(found.starts_with(expected), "{expression}: {found}");
    }
}

#[test]
fn an_error_shows_its_place_to_the_agent() {
    let tool = Calculator::new();
    let output = tool.call(&json!({ "expression": "2 + sqr(9)" }), &|| false);
    assert!(output.is_error);
    let expected = "error: there is no 'sqr'\n  1 | 2 + sqr(9)\n    |     ^^^\n  \
                    help: did you mean 'sqrt'?";
    assert_eq!(output.text, expected);
    let long = format!("{}1 + $", "1 + ".repeat(100));
    let output = tool.call(&json!({ "expression": long }), &|| false);
    assert!(output.text.starts_with("error at character 405: found '$'"), "{}", output.text);
    let output = tool.call(&json!({ "expression": "1/4" }), &|| false);
    assert_eq!(output.structured, Some(json!({ "value": "0.25", "exact": true })));
    assert_eq!((output.text.as_str(), output.is_error), ("0.25", false));
}

#[test]
fn whatever_is_asked_has_an_answer_soon() {
    let deep = "the expression nests more than 100 deep";
    let long = "the expression has more than 10000 characters";
    let cases = [
        ("9^9^9^9".to_owned(), "the result has"),
        ("9^9^9".to_owned(), "the result has"),
        ("(1+1e-9)^(10^30)".to_owned(), "the exponent is too large"),
        ("factorial(10^9)".to_owned(), "factorial(): the result has more than"),
        ("99999!".to_owned(), "factorial(): the result has more than"),
        ("comb(10^18, 10^17)".to_owned(), "comb(): the result has more than"),
        ("1e999999999999".to_owned(), "this number has too many digits"),
        ("1e-999999999999999999999".to_owned(), "this number has too many digits"),
        ("2^20000".to_owned(), "the result has 6021 digits; at most 4300 are printed"),
        ("exp(10^7)".to_owned(), "the argument is too large"),
        ("exp(exp(13.5))".to_owned(), "the result is too large"),
        ("exp(700000)^9".to_owned(), "the result is too large"),
        ("exp(-700000)^9".to_owned(), "the result is too small"),
        ("round(1, 10^9)".to_owned(), "round() takes at most"),
        ("root(2, 10^9)".to_owned(), "root(x, n) takes"),
        ("(".repeat(1 << 20), long),
        ("(".repeat(9_999), deep),
        ("sqrt(".repeat(1_900), deep),
        ("2^".repeat(4_000) + "1", deep),
        ("-".repeat(9_000), "the expression ends here"),
        ("1+".repeat(4_000), "the expression ends here"),
        ("3!".to_owned() + &"!".repeat(9_000), "factorial() takes whole numbers"),
        ("\0".to_owned(), "found '\\0'"),
        ("9".repeat(9_990) + "^2", "the result has 19979 digits"),
        ("(2^65000)*".repeat(900) + "1", "the result has"),
        (format!("1/3{}", "*(2^60000+1)/(2^60000+3)".repeat(400)), "this takes too long"),
        ("sin(1)+".repeat(1_400) + "$", "found '$'"),
        ("sin(2^65000)".to_owned(), "the angle is too large"),
        ("sin(2^4000)+".repeat(700) + "1", "the angle is too large"),
        ("ln(2^65000+1)+".repeat(600) + "1", "this takes too long"),
    ];
    for (expression, expected) in cases {
        let found = refusal(&expression);
        let shown: String = expression.chars().take(40).collect();
        assert!(found.starts_with(expected), "{shown}: {found}");
    }
    assert_eq!(value(&("-".repeat(9_998) + "1")), "1.0");
    assert_eq!(value(&("1+".repeat(4_000) + "1")), "4001.0");
}

#[test]
fn a_calculation_can_be_cancelled() {
    let asked = std::cell::Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let error = evaluate("1 + 2 + 3 + 4 + 5 + 6", &cancelled).unwrap_err();
    assert_eq!(error.message, "the calculation was cancelled");
}

/// A fraction of small whole numbers: the second implementation.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    above: i128,
    below: i128,
}

impl Fraction {
    fn new(above: i128, below: i128) -> Option<Fraction> {
        let (mut a, mut b) = (above.unsigned_abs(), below.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = i128::try_from(a).ok()?.max(1) * if below < 0 { -1 } else { 1 };
        let fraction = Fraction { above: above / divisor, below: below / divisor };
        // What a double holds: then dividing two of them rounds correctly.
        let is_small = fraction.above.abs() < 1 << 53 && fraction.below < 1 << 53;
        (below != 0 && is_small).then_some(fraction)
    }

    fn combine(self, sign: char, other: Fraction) -> Option<Fraction> {
        let Fraction { above: a, below: b } = self;
        let Fraction { above: c, below: d } = other;
        match sign {
            '+' => Fraction::new(a.checked_mul(d)? + c.checked_mul(b)?, b.checked_mul(d)?),
            '-' => Fraction::new(a.checked_mul(d)? - c.checked_mul(b)?, b.checked_mul(d)?),
            '*' => Fraction::new(a.checked_mul(c)?, b.checked_mul(d)?),
            _ => Fraction::new(a.checked_mul(d)?, b.checked_mul(c)?),
        }
    }
}

/// An expression and its value, where the second implementation can hold it.
#[derive(Clone, Debug)]
struct Case {
    text: String,
    value: Option<Fraction>,
}

fn cases() -> impl Strategy<Value = Case> {
    let whole =
        (0_i128..1000).prop_map(|n| Case { text: n.to_string(), value: Fraction::new(n, 1) });
    let decimal = (0_i128..10_000).prop_map(|n| Case {
        text: format!("{}.{:02}", n / 100, n % 100),
        value: Fraction::new(n, 100),
    });
    prop_oneof![whole, decimal].prop_recursive(5, 24, 2, |inner| {
        let both = (inner.clone(), "[-+*/]", inner.clone()).prop_map(|(a, sign, b)| {
            let sign = sign.chars().next().unwrap();
            let value = a.value.zip(b.value).and_then(|(x, y)| x.combine(sign, y));
            Case { text: format!("({} {sign} {})", a.text, b.text), value }
        });
        let negative = inner.prop_map(|a| {
            let value = a.value.and_then(|x| Fraction::new(-x.above, x.below));
            Case { text: format!("-{}", a.text), value }
        });
        prop_oneof![4 => both, 1 => negative]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fractions_agree_with_a_second_implementation(case in cases()) {
        if let Some(Fraction { above, below }) = case.value {
            // The nearest double to the true value, by one correctly rounded division.
            let expected = above as f64 / below as f64;
            let found: f64 = value(&case.text).parse().unwrap();
            prop_assert_eq!(found.to_bits(), (expected + 0.0).to_bits(), "{}", case.text);
        } else {
            // Too large for the second implementation, or a division by zero: no panic is asked.
            let _ = evaluate(&case.text, &|| false);
        }
    }

    #[test]
    fn doubles_survive(number in proptest::num::f64::NORMAL) {
        let found: f64 = value(&format!("{number:e}")).parse().unwrap();
        prop_assert_eq!(found.to_bits(), number.to_bits());
        // The shortest digits that read back, as Rust's own printing finds them.
        let answer = evaluate(&format!("({number:e})/3"), &|| false).unwrap();
        prop_assume!(!answer.is_exact);
        let third = answer.text;
        let nearest: f64 = third.parse().unwrap();
        // Below that doubles lose digits, and more of them are printed.
        prop_assume!(nearest.abs() > 1e-300);
        let digits = |text: &str| -> String {
            text.split('e').next().unwrap().chars().filter(char::is_ascii_digit).collect()
        };
        let shortest = digits(&format!("{nearest:e}"));
        prop_assert!(digits(&third).trim_start_matches('0').starts_with(&shortest), "{third}");
    }

    #[test]
    fn functions_agree_with_the_system_to_the_last_digits(n in -40_000_i32..40_000) {
        // A double that is a short decimal: both compute from the same number.
        let x = f64::from(n) / 1024.0;
        let check = |name: &str, expected: f64| -> Result<(), TestCaseError> {
            let found: f64 = value(&format!("{name}({x:e})")).parse().unwrap();
            let tolerance = 4.0 * f64::EPSILON * expected.abs();
            let distance = (found - expected).abs();
            prop_assert!(distance <= tolerance, "{name}({x:e}): {found}, {expected}");
            Ok(())
        };
        check("sin", x.sin())?;
        check("cos", x.cos())?;
        check("exp", x.exp())?;
        check("atan", x.atan())?;
        check("tanh", x.tanh())?;
        check("cbrt", x.cbrt())?;
        if x > 0.0 {
            check("sqrt", x.sqrt())?;
            check("ln", x.ln())?;
            check("log10", x.log10())?;
        }
    }

    #[test]
    fn no_text_is_a_crash(text in "[-+*/%^!(),.0-9a-z ]{0,40}|\\PC{0,30}") {
        let _ = evaluate(&text, &|| false);
    }
}
