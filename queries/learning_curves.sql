-- How did each run learn? The negative log-probability per action token by step: drawn by
-- .plot line it is a curve for each run.
FROM metrics
|> WHERE name = 'nll'
|> SELECT step, run, value AS nll
|> ORDER BY run, step;
