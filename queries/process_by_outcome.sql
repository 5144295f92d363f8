-- Do good steps and right answers go together? Trajectories by whether every step is GOOD and
-- whether the answer is right. Where a step or the answer has no label it is undecided, and counted
-- as that.
FROM steps
|> AGGREGATE every(process > .5) AS all_good, max(outcome) AS outcome
   GROUP BY source, trajectory_id
|> AGGREGATE count(*) AS trajectories
   GROUP BY CASE WHEN all_good THEN 'good' WHEN NOT all_good THEN 'bad' ELSE 'undecided' END
              AS steps_are,
            CASE WHEN outcome > .5 THEN 'right' WHEN outcome <= .5 THEN 'wrong' ELSE 'undecided' END
              AS answer_is
|> ORDER BY steps_are, answer_is;
