"""Writes fixtures/models/smollm2.json: what SmolLM2-135M-Instruct.Q4_1.gguf says, without candle.

    python smollm2.py models/SmolLM2-135M-Instruct.Q4_1.gguf

Q4_1 and Q8_0 blocks are dequantised with numpy, the rows of q and k are put in transformers' order,
and transformers' Llama gives the mean negative log-likelihood of a text in f32. Token ids come from
the tokenizers library, with a tokenizer built from the file's vocabulary and merges.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path(__file__).parents[2] / "fixtures" / "models" / "smollm2.json"

TEXT = """The Llama shape is a stack of layers. Each layer normalises its input, lets \
every position look at \
earlier positions through rotary attention, and adds the result to the stream; then a \
gated feed-forward \
network does the same for each position alone.

def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a

Question: In which year was the university founded at which the inventor of the barometer taught?
Thought: The barometer was invented by Evangelista Torricelli, who taught at the \
University of Pisa \
and in Florence. I should search for the founding year: 1343.
"""

STRINGS = [
    "",
    " ",
    "  ",
    "   \t ",
    "\n",
    "\n\n\n",
    "\r\n",
    " \n ",
    "\t\tx",
    "a",
    "A",
    "Hello",
    "Hello, world!",
    " Hello",
    "Hello ",
    "hello world  and   more",
    "don't can't we'll I'm they've he'd",
    "DON'T",
    "0",
    "7",
    "42",
    "2024",
    "3.14159",
    "1,000,000",
    "-17",
    "x1y22z333",
    "1st 2nd 3rd",
    "0x7fff",
    "10.0.0.1:8080",
    "2024-02-29T23:59:59Z",
    "50%",
    "$19.99",
    "a1",
    "1a",
    "12 34  56",
    "def f(x):\n    return x + 1\n",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "SELECT * FROM steps WHERE reward > .5;",
    'fn main() {\n\tprintln!("{}", 1);\n}',
    '<div class="a">text</div>',
    '{"name": "search", "arguments": {"query": "x"}}',
    "https://example.org/a/b?c=d&e=f#g",
    "user@example.org",
    "C:\\Users\\x",
    "/usr/local/bin",
    "a_b_c",
    "camelCaseName",
    "SCREAMING_CASE",
    "kebab-case-name",
    "a.b.c",
    "...",
    "!!!",
    "?!",
    "---",
    "===",
    "***",
    "(((",
    ")))",
    "[]{}<>",
    '"quoted"',
    "'single'",
    "`code`",
    "“curly”",
    "‘x’",
    "—",
    "…",
    "naïve café",
    "Größe",
    "Ærøskøbing",
    "Łódź",
    "şğıİ",
    "Ελληνικά",
    "Привет, мир!",
    "Україна",
    "你好，世界！",
    "我爱北京天安门。",
    "中文 English 混合 text 123",
    "日本語のテキスト",
    "カタカナ",
    "한국어 문장입니다.",
    "مرحبا بالعالم",
    "السلام عليكم ١٢٣",
    "שלום עולם",
    "हिन्दी पाठ",
    "ไทย",
    "தமிழ்",
    "ქართული",
    "😀",
    "👍🏽",
    "👨‍👩‍👧‍👦",
    "🇩🇪",
    "a😀b",
    "🎉🎉🎉",
    "e\u0301",
    "\u00a0",
    "\u200b",
    "\ufeff",
    "x\u2028y",
    "²³¹",
    "½",
    "Ⅷ",
    "١٢٣",
    "∑∫√∞",
    "α+β=γ",
    "x² + y² = r²",
    "→←↑↓",
    "€£¥",
    "<|im_start|>user\nHi<|im_end|>",
    "<|endoftext|>",
    "<repo_name>",
    "a<|im_end|>b",
    "<search>who founded it</search>",
    "the the the",
    "antidisestablishmentarianism",
    "aaaaaaaaaaaaaaaaaaaa",
    "word " * 5,
    " leading and trailing ",
    "tab\there",
    "line one\nline two\n\nline four",
    "mixed 你好 123 😀 test",
]


def dequantise(tensor):
    shape = [int(n) for n in reversed(tensor.shape)]
    data = np.asarray(tensor.data).reshape(-1)
    kind = tensor.tensor_type.name
    if kind == "F32":
        return data.view(np.float32).reshape(shape)
    if kind == "Q8_0":
        blocks = data.view(np.uint8).reshape(-1, 34)
        scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        return (blocks[:, 2:].view(np.int8).astype(np.float32) * scale).reshape(shape)
    if kind == "Q4_1":
        blocks = data.view(np.uint8).reshape(-1, 20)
        head = blocks[:, :4].copy().view(np.float16).astype(np.float32)
        quants = blocks[:, 4:]
        values = np.concatenate([quants & 15, quants >> 4], axis=1).astype(np.float32)
        return (values * head[:, :1] + head[:, 1:]).reshape(shape)
    raise SystemExit(f"{tensor.name} is {kind}")


def unpermute(weight, heads):
    rows, inner = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, inner).swapaxes(1, 2).reshape(rows, inner)


def main(path):
    reader = GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    config = LlamaConfig(
        vocab_size=field("llama.vocab_size"),
        hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        tie_word_embeddings=True,
    )
    names = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    state = {}
    for tensor in reader.tensors:
        values = dequantise(tensor)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, layer, part, _ = tensor.name.split(".")
            if part == "attn_q":
                values = unpermute(values, config.num_attention_heads)
            if part == "attn_k":
                values = unpermute(values, config.num_key_value_heads)
            name = f"model.layers.{layer}.{names[part]}.weight"
        state[name] = torch.from_numpy(np.ascontiguousarray(values))
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = LlamaForCausalLM(config).float().eval()
    model.load_state_dict(state)

    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    plain = [tokenizer.encode(text).ids for text in STRINGS]
    ids = tokenizer.encode(TEXT).ids
    control = [t for t, kind in zip(tokens, field("tokenizer.ggml.token_type")) if kind == 3]
    tokenizer.add_special_tokens(control)
    special = [tokenizer.encode(text).ids for text in STRINGS]

    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
        likelihood = torch.log_softmax(logits[:-1].double(), -1)
        nll = -likelihood.gather(1, torch.tensor(ids[1:])[:, None]).mean()
    checksum = lambda name: float(state[name].double().abs().sum())
    OUT.write_text(
        json.dumps(
            {
                "file_sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
                "text": TEXT,
                "ids": ids,
                "mean_nll": float(nll),
                "absolute_sums": {
                    name: checksum(name)
                    for name in [
                        "model.embed_tokens.weight",
                        "model.layers.0.self_attn.q_proj.weight",
                        "model.layers.29.mlp.down_proj.weight",
                        "model.norm.weight",
                    ]
                },
                "strings": [
                    {"text": text, "plain": p, "special": s}
                    for text, p, s in zip(STRINGS, plain, special)
                ],
            },
            ensure_ascii=False,
            indent=None,
            separators=(",", ":"),
        )
        + "\n"
    )
    print(len(ids), "tokens, mean nll", float(nll), "strings", len(STRINGS))


main(sys.argv[1])
