//! Options by name, and what is refused.

use swirldb::lm::Training;
use swirldb::train::{ConfigError, LossAggregation, Objective, OptionValue, TrainConfig};

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
    let ppo = error(&[("objective", text("ppo"))]);
    assert!(ppo.contains("option 'objective'") && ppo.contains("sft"), "{ppo}");
    assert!(error(&[("r", Number(1.5))]).contains("option 'r'"));
    assert!(error(&[("r", Number(1.0)), ("r", Number(2.0))]).contains("twice"));
    assert!(error(&[("seed", Number(1e300))]).contains("2^53"));
    assert!(error(&[("seed", Number(-1.0))]).contains("option 'seed'"));
    assert!(error(&[("learning_rate", Number(0.0))]).contains("expected a number above 0"));
    assert!(error(&[("epsilon", Number(0.2))]).contains("no effect on sft"));
    assert!(error(&[("full", Bool(true)), ("r", Number(8.0))]).contains("full = true"));
    let reinforce = ("objective", text("reinforce"));
    let kl = |kind: &str| [reinforce.clone(), ("kl_loss_type", text(kind))];
    assert!(error(&kl("k1")).contains("zero expected gradient"));
    assert!(error(&kl("k3")).contains("without kl_loss_coef"));
    let both = [("warmup_ratio", Number(0.1)), ("warmup_steps", Number(2.0))];
    assert!(error(&both).contains("give one of them"));
    let json = serde_json::from_str::<TrainConfig>("{\"lerning_rate\": 1}");
    assert!(json.unwrap_err().to_string().contains("lerning_rate"));
}
