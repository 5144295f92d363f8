"""Writes fixtures/models/bert-tiny: a small random BERT as sentence-transformers lays it out.

    pip install transformers torch
    python tests/oracle/sentence_encoder.py

vectors.json holds texts of many kinds, and for each the vector that transformers computes from it
alone, in double precision: `mean` by the mean of the rows, `cls` by the first row, of length 1.
The script fails where float32 of transformers is further away than 1e-5.
"""

import json
import pathlib
import shutil

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

OUT = pathlib.Path(__file__).parents[2] / "fixtures" / "models" / "bert-tiny"
TOKENS_MAX = 24
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "##ing", "search", "who", "wrote", "paris", "vector", "text"]

TEXTS = [
    "",
    " \n\t ",
    "a",
    "The search",
    "who wrote the text?",
    "Searching vectors, searching texts.",
    "[SEP] a [MASK]",
    "中文 and 中",
    "\U0001f600",
    "cafe\u0301 caf\u00e9",
    "x" * 101,
    "null\u0000byte",
    "the text " * 40,
    "a b c d e f g h i j k l m n o p q r s t u v",
    "a b c d e f g h i j k l m n o p q r s t u v w",
    "Paris 1 2 3",
]


def tokenizer() -> dict:
    """Returns a WordPiece tokenizer over letters, digits and a few words, as a tokenizer.json."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = SPECIAL + letters + ["##" + letter for letter in letters]
    pieces += list("0123") + list(".,?'[]") + ["中", "文"] + WORDS
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        # Both are there to be overruled by the model's own limit.
        "truncation": {
            "direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0,
        },
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": [
            {"id": number, "content": token, "special": True, **special}
            for number, token in enumerate(SPECIAL)
        ],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {
                token: {"id": token, "ids": [SPECIAL.index(token)], "tokens": [token]}
                for token in ["[CLS]", "[SEP]"]
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: number for number, piece in enumerate(pieces)},
        },
    }


def vectors(model: BertModel, ids: list[list[int]]) -> tuple[list, list]:
    """Returns the vectors by mean and by first row, each text run alone."""
    mean, cls = [], []
    for text in ids:
        with torch.no_grad():
            rows = model(torch.tensor([text])).last_hidden_state[0]
        for out, vector in ((mean, rows.mean(0)), (cls, rows[0])):
            out.append((vector / vector.norm()).tolist())
    return mean, cls


def main() -> None:
    """Writes the fixture."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    json_text = tokenizer()
    (OUT / "tokenizer.json").write_text(json.dumps(json_text, ensure_ascii=False) + "\n")
    torch.manual_seed(11)
    model = BertModel(
        BertConfig(
            vocab_size=len(json_text["model"]["vocab"]), hidden_size=24, num_hidden_layers=2,
            num_attention_heads=3, intermediate_size=40, max_position_embeddings=32,
        ),
        add_pooling_layer=True,
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Larger than the usual 0.02, so that attention is far from uniform.
            if "LayerNorm.weight" in name:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.3)
    model.save_pretrained(OUT)
    (OUT / "1_Pooling").mkdir()
    pooling = {
        "word_embedding_dimension": 24, "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
    }
    (OUT / "1_Pooling" / "config.json").write_text(json.dumps(pooling) + "\n")
    limits = {"max_seq_length": TOKENS_MAX, "do_lower_case": False}
    (OUT / "sentence_bert_config.json").write_text(json.dumps(limits) + "\n")
    kinds = ["models.Transformer", "models.Pooling", "models.Normalize"]
    modules = [
        {"idx": number, "name": str(number), "type": f"sentence_transformers.{kind}"}
        for number, kind in enumerate(kinds)
    ]
    (OUT / "modules.json").write_text(json.dumps(modules) + "\n")

    reader = Tokenizer.from_str(json.dumps(json_text))
    reader.no_padding()
    reader.enable_truncation(TOKENS_MAX)
    ids = [reader.encode(text).ids for text in TEXTS]
    single = vectors(model.float(), ids)
    mean, cls = vectors(model.double(), ids)
    distance = (torch.tensor([mean, cls]) - torch.tensor(single)).abs().max().item()
    assert distance < 1e-5, distance
    entries = [
        {
            "text": text,
            "mean": [round(x, 8) for x in of_mean],
            "cls": [round(x, 8) for x in of_cls],
        }
        for text, of_mean, of_cls in zip(TEXTS, mean, cls)
    ]
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    (OUT / "vectors.json").write_text(f"[\n{lines}\n]\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {size:,} bytes, float32 is {distance:.1e} from double precision")


if __name__ == "__main__":
    main()
