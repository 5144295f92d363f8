-- Filter 2 of 4 (SWiRL, "process"): trajectories whose every step is judged GOOD given what came
-- before it. No gold answer is used. A trajectory with a step that has no label is undecided: it
-- is left out and counted.
FROM subtrajectories
|> WHERE every(process > .5);
