-- Filter 4 of 4 (SWiRL, "process and outcome"): trajectories whose every step is GOOD and whose
-- answer is right. A trajectory that lacks one of these labels is undecided: it is left out and
-- counted.
FROM subtrajectories
|> WHERE every(process > .5 AND outcome > .5);
