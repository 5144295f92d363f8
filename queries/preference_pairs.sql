-- Which of two actions in one state was valued higher? Rows as preference trainers take them.
FROM preference_pairs('process', 'call')
|> WHERE margin >= .5
|> SELECT question_id, step, prompt, chosen, rejected, margin
|> ORDER BY question_id, step;
