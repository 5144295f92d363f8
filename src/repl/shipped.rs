//! The queries that come with the program: `.read name`.

/// Their names and texts; each begins with a comment that says what it answers.
pub const SHIPPED: [(&str, &str); 28] = [
    ("advantage_within_question", include_str!("../../queries/advantage_within_question.sql")),
    ("bad_then_recovered", include_str!("../../queries/bad_then_recovered.sql")),
    ("contamination", include_str!("../../queries/contamination.sql")),
    ("dataset_card", include_str!("../../queries/dataset_card.sql")),
    ("exact_match_and_f1", include_str!("../../queries/exact_match_and_f1.sql")),
    ("failed_then_retried", include_str!("../../queries/failed_then_retried.sql")),
    ("filter_counts", include_str!("../../queries/filter_counts.sql")),
    ("filter_none", include_str!("../../queries/filter_none.sql")),
    ("filter_outcome", include_str!("../../queries/filter_outcome.sql")),
    ("filter_process", include_str!("../../queries/filter_process.sql")),
    ("filter_process_and_outcome", include_str!("../../queries/filter_process_and_outcome.sql")),
    ("gold_was_shown", include_str!("../../queries/gold_was_shown.sql")),
    ("judge_disagreement", include_str!("../../queries/judge_disagreement.sql")),
    ("learning_curves", include_str!("../../queries/learning_curves.sql")),
    ("longest_contexts", include_str!("../../queries/longest_contexts.sql")),
    ("not_learned", include_str!("../../queries/not_learned.sql")),
    ("pass_at_k", include_str!("../../queries/pass_at_k.sql")),
    ("preference_pairs", include_str!("../../queries/preference_pairs.sql")),
    ("process_by_outcome", include_str!("../../queries/process_by_outcome.sql")),
    ("questions_in_several_splits", include_str!("../../queries/questions_in_several_splits.sql")),
    ("repeated_calls", include_str!("../../queries/repeated_calls.sql")),
    ("reward_by_length", include_str!("../../queries/reward_by_length.sql")),
    ("runs_and_losses", include_str!("../../queries/runs_and_losses.sql")),
    ("steps_to_answer", include_str!("../../queries/steps_to_answer.sql")),
    ("tool_errors_by_model", include_str!("../../queries/tool_errors_by_model.sql")),
    ("tool_transitions", include_str!("../../queries/tool_transitions.sql")),
    ("unlabelled_steps", include_str!("../../queries/unlabelled_steps.sql")),
    ("where_policies_part", include_str!("../../queries/where_policies_part.sql")),
];

/// Returns the text of a query that comes with the program.
pub(super) fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Returns the first sentence of a query's comment.
pub(super) fn about(text: &str) -> String {
    let comment = text.lines().map_while(|line| line.strip_prefix("-- "));
    let comment = comment.collect::<Vec<_>>().join(" ");
    let end = comment.find(['.', '?']).map_or(comment.len(), |at| at + 1);
    comment[..end].to_owned()
}
