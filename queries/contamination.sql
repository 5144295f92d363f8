-- Which questions of one split are nearly those of another? Likeness by MinHash over runs of three
-- words; pairs are found by the bands that they share.
WITH banded AS (
  FROM trajectories
  |> WHERE question IS NOT NULL
  |> AGGREGATE first_value(question ORDER BY trajectory_id) AS question
     GROUP BY source, split, question_id
  |> EXTEND unnest(minhash_bands(question)) AS band
)
FROM banded AS a
|> JOIN banded AS b ON a.band = b.band AND coalesce(a.split, '') < coalesce(b.split, '')
|> AGGREGATE minhash_similarity(min(a.question), min(b.question)) AS likeness
   GROUP BY a.split AS split, a.question AS question, b.split AS other_split, b.question AS other
|> WHERE likeness >= .5
|> ORDER BY likeness DESC, question, other;
