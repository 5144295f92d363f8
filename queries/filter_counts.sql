-- How many trajectories does each of the four filters keep? Those that lack the label of a step, or
-- of the answer, are undecided: no filter that asks for it keeps them. They are counted apart.
FROM steps
|> AGGREGATE every(process > .5) AS all_good, max(outcome) AS outcome
   GROUP BY source, trajectory_id
|> EXTEND outcome > .5 AS is_right
|> AGGREGATE count(*) AS no_filter,
             sum(CASE WHEN all_good THEN 1 ELSE 0 END) AS process_filter,
             sum(CASE WHEN is_right THEN 1 ELSE 0 END) AS outcome_filter,
             sum(CASE WHEN all_good AND is_right THEN 1 ELSE 0 END) AS both_filters,
             sum(CASE WHEN all_good IS NULL THEN 1 ELSE 0 END) AS process_undecided,
             sum(CASE WHEN is_right IS NULL THEN 1 ELSE 0 END) AS outcome_undecided;
