//! Options by name, and what is refused.

use swirldb::lm::Training;
use swirldb::train::{
    ConfigError, LossAggregation, LossType, Objective, OptionValue, ScaleRewards, TrainConfig,
};

fn options(pairs: &[(&str, OptionValue)]) -> Result<TrainConfig, ConfigError> {
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    TrainConfig::from_options(&pairs)
}

#[test]
fn options_are_read_by_their_names() {
    use OptionValue::{Bool, Number, Text};
    let config = options(&[
        ("objective", Text("reinforce".into())),
        ("learning_rate", Number(1e-4)),
        ("max_grad_norm", Number(1.0)),
        ("tokens_per_step", Number(2048.0)),
        ("target_modules", Text("q_proj, v_proj".into())),
        ("loss_agg_mode", Text("seq-mean-token-mean".into())),
        ("baseline", Text("leave_one_out".into())),
        ("epsilon", Number(0.2)),
        ("full", Bool(false)),
    ])
    .unwrap();
    assert_eq!(config.objective, Objective::Reinforce);
    assert_eq!(config.peak_learning_rate(), 1e-4);
    assert_eq!(config.aggregation(), LossAggregation::SeqMeanTokenMean);
    let Training::Lora(lora) = config.training() else { panic!("adapters are the default") };
    assert_eq!((lora.r, lora.target_modules.len()), (16, 2));
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
    assert_eq!(options(&[]).unwrap(), TrainConfig::default());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    use OptionValue::{Bool, Number, Text};
    let error = |pairs: &[(&str, OptionValue)]| options(pairs).unwrap_err().to_string();
    let text = |t: &str| Text(t.to_owned());
    let learning = error(&[("learning_rat", Number(1.0))]);
    assert!(learning.contains("'learning_rat', did you mean 'learning_rate'?"), "{learning}");
    let gae = error(&[("objective", text("gae"))]);
    assert!(gae.contains("option 'objective'") && gae.contains("sft"), "{gae}");
    assert!(error(&[("r", Number(1.5))]).contains("option 'r'"));
    assert!(error(&[("r", Number(1.0)), ("r", Number(2.0))]).contains("twice"));
    assert!(error(&[("seed", Number(1e300))]).contains("2^53"));
    assert!(error(&[("seed", Number(-1.0))]).contains("option 'seed'"));
    assert!(error(&[("learning_rate", Number(0.0))]).contains("expected a number above 0"));
    let epsilon = error(&[("epsilon", Number(0.2))]);
    assert!(epsilon.contains("no effect on sft") && epsilon.contains("'reinforce' or 'ppo'"));
    assert!(error(&[("full", Bool(true)), ("r", Number(8.0))]).contains("full = true"));
    let reinforce = ("objective", text("reinforce"));
    let kl = |kind: &str| [reinforce.clone(), ("kl_loss_type", text(kind))];
    assert!(error(&kl("k1")).contains("zero expected gradient"));
    assert!(error(&kl("k3")).contains("without kl_loss_coef"));
    let both = [("warmup_ratio", Number(0.1)), ("warmup_steps", Number(2.0))];
    assert!(error(&both).contains("give one of them"));
    let mode = ("loss_agg_mode", text("seq-mean-token-mean"));
    let mean = error(&[("assistant_only_loss", Bool(false)), mode]);
    assert!(mean.contains("a mean over all tokens"), "{mean}");
    let json = serde_json::from_str::<TrainConfig>("{\"lerning_rate\": 1}");
    assert!(json.unwrap_err().to_string().contains("lerning_rate"));
}

#[test]
fn how_a_run_computes_is_an_option() {
    use OptionValue::{Bool, Number};
    let plain = TrainConfig::default().work();
    assert!(!plain.bf16 && !plain.gradient_checkpointing);
    let work = |name: &str| options(&[(name, Bool(true))]).unwrap().work();
    assert!(work("bf16").bf16 && !work("bf16").gradient_checkpointing);
    let thrifty = work("gradient_checkpointing");
    assert!(thrifty.gradient_checkpointing && !thrifty.bf16);
    let error = options(&[("bf16", Number(1.0))]).unwrap_err().to_string();
    assert!(error.contains("option 'bf16'"), "{error}");
}

#[test]
fn names_of_other_trainers_are_understood() {
    use OptionValue::{Number, Text};
    let ppo = ("objective", Text("ppo".into()));
    let config = options(&[
        ppo.clone(),
        ("clip_ratio_low", Number(0.1)),
        ("clip_ratio_high", Number(0.3)),
        ("clip_ratio_c", Number(2.0)),
    ])
    .unwrap();
    assert_eq!((config.epsilon, config.epsilon_high), (Some(0.1), Some(0.3)));
    assert_eq!(config.scaling(), ScaleRewards::Group);
    assert_eq!(config.aggregation(), LossAggregation::TokenMean);
    let twice = options(&[ppo, ("clip_ratio", Number(0.1)), ("epsilon", Number(0.1))]);
    assert!(twice.unwrap_err().to_string().contains("option 'epsilon' is given twice"));
    let json = r#"{"objective": "ppo", "clip_ratio": 0.1}"#;
    assert_eq!(serde_json::from_str::<TrainConfig>(json).unwrap().epsilon, Some(0.1));
    let kto = TrainConfig { objective: Objective::Kto, ..TrainConfig::default() };
    assert_eq!((kto.loss(), kto.log_ratio_scale()), (LossType::ApoZeroUnpaired, 0.1));
}

/// Every option of an objective is refused on all others, and where another one makes it idle.
#[test]
fn options_without_effect_are_refused() {
    use OptionValue::{Bool, Number, Text};
    let text = |t: &str| Text(t.to_owned());
    let of = |objective: &str, more: &[(&str, OptionValue)]| {
        let all: Vec<_> = [("objective", text(objective))].iter().chain(more).cloned().collect();
        options(&all).map_err(|error| error.to_string())
    };
    let all = ["sft", "reinforce", "ppo", "dpo", "kto"];
    for (option, value, takes) in [
        ("assistant_only_loss", Bool(false), "sft"),
        ("loss_agg_mode", text("token-mean"), "sft reinforce ppo"),
        ("baseline", text("mean"), "reinforce"),
        ("adv_estimator", text("rloo"), "ppo"),
        ("scale_rewards", text("none"), "ppo"),
        ("kl_loss_coef", Number(0.1), "reinforce ppo"),
        ("epsilon", Number(0.1), "reinforce ppo"),
        ("clip_ratio_c", Number(4.0), "ppo"),
        ("beta", Number(0.3), "dpo kto"),
        ("label_smoothing", Number(0.1), "dpo"),
        ("precompute_ref_log_probs", Bool(true), "dpo kto"),
        ("desirable_weight", Number(2.0), "kto"),
        ("undesirable_weight", Number(2.0), "kto"),
    ] {
        for objective in all {
            let found = of(objective, &[(option, value.clone())]);
            match takes.split(' ').any(|taker| taker == objective) {
                true => assert!(found.is_ok(), "{option} on {objective}: {found:?}"),
                false => {
                    let expected = format!("{option} has no effect on {objective}");
                    assert!(found.unwrap_err().starts_with(&expected), "{option}");
                }
            }
        }
    }
    for (objective, more, expected) in [
        ("dpo", ("loss_type", text("kto")), "is a loss of 'kto'"),
        ("kto", ("loss_type", text("hinge")), "is a loss of 'dpo'"),
        ("sft", ("loss_type", text("ipo")), "no effect on sft"),
        ("dpo", ("loss_type", text("robust")), "unless label_smoothing"),
        ("dpo", ("label_smoothing", Number(0.5)), "to below 0.5"),
        ("dpo", ("precompute_ref_log_probs", Bool(false)), "always computed once"),
        ("kto", ("desirable_weight", Number(0.0)), "a number above 0"),
        ("ppo", ("clip_ratio_c", Number(1.0)), "a number above 1"),
        ("ppo", ("adv_estimator", text("gae")), "option 'adv_estimator'"),
        ("reinforce", ("epsilon_high", Number(0.3)), "without epsilon"),
        ("reinforce", ("kl_loss_type", text("full")), "without kl_loss_coef"),
        ("sft", ("early_stopping_patience", Number(2.0)), "set eval_steps"),
        ("sft", ("early_stopping_threshold", Number(0.1)), "without early_stopping_patience"),
        ("sft", ("metric_for_best_model", text("loss")), "have no effect without"),
        ("sft", ("greater_is_better", Bool(true)), "have no effect without"),
        ("sft", ("load_best_model_at_end", Bool(true)), "set eval_steps"),
    ] {
        let error = of(objective, &[more]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let smoothed = [("loss_type", text("ipo")), ("label_smoothing", Number(0.1))];
    assert!(of("dpo", &smoothed).unwrap_err().contains("'sigmoid' and 'robust' only"));
    let whitened =
        [("adv_estimator", text("reinforce_plus_plus_baseline")), ("scale_rewards", text("batch"))];
    assert!(of("ppo", &whitened).unwrap_err().contains("whitens over all tokens"));
}
