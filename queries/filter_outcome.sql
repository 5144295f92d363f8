-- Filter 3 of 4 (SWiRL, "outcome"): trajectories whose final answer matches the gold answer, as the
-- outcome's judge sees it. A trajectory without that label is undecided: it is left out and
-- counted.
FROM subtrajectories
|> WHERE every(outcome > .5);
