-- Filter 1 of 4 (SWiRL, "none"): every trajectory, unfiltered.
-- Read it as a selection: |> SAVE AS name, or |> TRAIN WITH (...), may follow.
FROM subtrajectories;
