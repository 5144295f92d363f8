-- Which actions did a run not learn? Those that it wants and finds least likely, per token, when
-- it last looked: at the end of the last epoch with log_examples = true, else on the way.
FROM examples
|> WHERE weight > 0
|> EXTEND coalesce(log_prob_end, log_prob_start) / tokens AS log_prob_per_token
|> EXTEND row_number() OVER (
     PARTITION BY run, source, trajectory_id, step, pair ORDER BY epoch DESC
   ) AS newest
|> WHERE newest = 1
|> SELECT run, source, trajectory_id, step, epoch, tokens, log_prob_per_token
|> ORDER BY log_prob_per_token, run, trajectory_id, step
|> LIMIT 20;
