-- Where do trajectories of one question, in one state, act differently, and which action fares
-- better?
FROM branch_points('call') AS b
|> JOIN trajectories AS t ON b.trajectory_id = t.trajectory_id AND b.source = t.source
|> AGGREGATE count(*) AS takers, avg(t.outcome) AS outcome
   GROUP BY b.question_id, b.branch, b.step, b.choice
|> ORDER BY question_id, branch, choice;
