"""Compares the token ids of 1,000 strings with the libraries that define them.

    python tokens.py write DIRECTORY                 strings.json, from fixed seeds
    SWIRL_TOKENS=DIRECTORY cargo test lm::tokenizer::ids_for_comparison -- --ignored
    python tokens.py compare DIRECTORY MODEL.gguf    against DIRECTORY/<model>.json
    python tokens.py fixture                         fixtures/models/tokenizers.json

`compare` builds the tokenizer of the GGUF file anew: a byte-level BPE by the tokenizers library, or
a SentencePiece model by the sentencepiece library. `fixture` trains small ones of three kinds by
those libraries, as a GGUF file would describe them, with the ids of about sixty strings.
"""

import io
import json
import pathlib
import random
import sys

SPACE = "\u2581"
LETTERS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "accents": "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿāăąćčďęěğıłńňőœřśšťůűźžẞ",
    "greek": "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВїєґ",
    "chinese": (
        "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能"
        "下过子说产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加"
        "量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与"
        "关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者"
        "最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少"
        "图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处理世"
    ),
    "japanese": "あいうえおかきくけこさしすせそたちつてとなにぬねのアイウエオカキクケコ日本語学校",
    "korean": "가나다라마바사아자차카타파하한국어문장입니다",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئ",
    "marks": "\u064b\u064e\u0650\u0651\u0652",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "hindi": "अआइईउऊएऐओऔकखगघचछजझटठडढतथदधनपफबभमयरलवशषसह"
    "\u093e\u093f\u0940\u0941\u094d",
    "thai": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศสหอ\u0e31\u0e34\u0e35\u0e48\u0e49",
    "combining": "e\u0301a\u0308o\u0302n\u0303u\u0308",
    "digits": "0123456789",
    "other digits": "٠١٢٣٤٥٦٧٨٩०१२३४½²³Ⅷ",
    "signs": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "symbols": "→←↑↓∑∫√∞≤≥≠±×÷€£¥©®™°§¶•…–—“”‘’«»",
}
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "🎉", "❤️", "🤖", "🏳️‍🌈", "🧑‍💻", "✅", "☕"]
BLANKS = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", " \n", "\n  "]
RARE_BLANKS = ["\u00a0", "\u3000", "\u2003", "\u200b", "\ufeff", "\x0b", "\x0c", "\u2028"]
WORDS = """the of and a to in is search answer query result founder university question which year
don't can't I'm we'll they've he'd it's DON'T calculate Paris Oslo tokenisation internationalisation
https://example.org/a/b?c=d&e=f user@example.org 3.14159 1,000,000 2024-02-29T23:59:59Z 0x7fff 50%
$19.99 10.0.0.1:8080 C:\\Users\\x /usr/local/bin snake_case camelCaseName
SCREAMING kebab-case""".split()
CODE = [
    "def {0}({1}):\n    return {1} + {2}\n",
    "for (int {0} = 0; {0} < {2}; ++{0}) {{ sum += {1}[{0}]; }}",
    'fn {0}() {{\n\tprintln!("{{}}", {2});\n}}',
    "SELECT {0}, COUNT(*) FROM {1} WHERE reward > .{2} GROUP BY 1;",
    '{{"name": "{0}", "arguments": {{"query": "{1}", "k": {2}}}}}',
    '<div class="{0}"><table><tr><td>{1}</td></tr></table></div>',
    "<h1>{0}</h1>\n<code>{1}</code>",
    "#!/bin/sh\nset -e\n\n\n{0}=$({1} | wc -l)  # {2}\n",
    "        {0} = {1}\n            if {0}:\n                    pass",
    "| {0} | {1} |\n|---|---|\n| {2} | `x` |\n",
    "\\begin{{equation}} {0}_{{{2}}} = \\frac{{{1}}}{{2}} \\end{{equation}}",
    "-- {0}\nlocal {1} = {{ {2}, [\"k\"] = nil }}",
]


def word(rng):
    kind = rng.choice(list(LETTERS))
    return "".join(rng.choice(LETTERS[kind]) for _ in range(rng.randint(1, 9)))


def name(rng):
    return "".join(rng.choice(LETTERS["latin"][:26]) for _ in range(rng.randint(1, 8)))


def string(rng):
    kind = rng.random()
    if kind < 0.25:
        template = rng.choice(CODE)
        return template.format(name(rng), name(rng), rng.randint(0, 99999))
    if kind < 0.5:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))
    if kind < 0.6:
        pieces = BLANKS + RARE_BLANKS + ["x", "."]
        return "".join(rng.choice(pieces) for _ in range(rng.randint(1, 8)))
    parts = []
    for _ in range(rng.randint(1, 10)):
        parts.append(rng.choice([word, word, word, lambda r: r.choice(EMOJI)])(rng))
        parts.append(rng.choice(BLANKS + ["", "", "", " ", " ", " "]))
    return "".join(parts)


def strings(count, seed):
    rng = random.Random(seed)
    return [string(rng) for _ in range(count)]


def byte_level(pre, vocabulary, merges):
    """Returns the tokenizer that transformers makes for a name of `tokenizer.ggml.pre`."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe"))
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    by_pattern = lambda pattern: pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False), bytes_only]
    )
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = by_pattern(PRETOKENIZE_REGEX)
    elif pre == "llama-bpe":
        tokenizer.pre_tokenizer = by_pattern(TikTokenConverter().pattern)
    elif pre == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    else:
        raise SystemExit(f"no tokenizer for {pre}")
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentence_piece(tokens, scores, types):
    """Returns the SentencePiece model of the tokens of a GGUF file."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_piece = "<unk>"
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    for token, score, kind in zip(tokens, scores, types):
        piece = model.pieces.add()
        piece.piece = token.replace(" ", SPACE) if kind == 4 else token
        piece.score = 0.0 if kind == 4 else score
        piece.type = 2 if token == "<unk>" else kind
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def compare(directory, path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    field = lambda key: fields["tokenizer.ggml." + key].contents()
    texts = json.loads((directory / "strings.json").read_text())
    ours = json.loads((directory / (pathlib.Path(path).stem + ".json")).read_text())
    tokens = field("tokens")
    if field("model") == "llama":
        model = sentence_piece(tokens, field("scores"), field("token_type"))
        encode = model.encode
    else:
        merges = [tuple(merge.split(" ")) for merge in field("merges")]
        vocabulary = {token: i for i, token in enumerate(tokens)}
        tokenizer = byte_level(field("pre"), vocabulary, merges)
        encode = lambda text: tokenizer.encode(text).ids
    different = [(t, o["ids"], encode(t)) for t, o in zip(texts, ours) if o["ids"] != encode(t)]
    lossy = [t for t, o in zip(texts, ours) if o["covers"] and not o["back"]]
    for text, mine, theirs in different[:10]:
        print(repr(text), mine, theirs)
    covered = sum(o["covers"] for o in ours)
    print(
        f"{path}: {len(texts)} strings, {sum(len(o['ids']) for o in ours)} tokens, "
        f"{len(different)} differ; {covered} covered, of which {len(lossy)} do not come back"
    )


def fixture():
    import sentencepiece
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    corpus = strings(4000, 1)
    golden = [text for text in strings(300, 2) if len(text) <= 60][:54] + [
        "",
        " ",
        "a     b",
        " " * 40 + "x",
        "\n\n\n\tx",
        "<table><b>1</b></table>",
        "2024 12345 1 22 333",
        "I'LL we'Re",
    ]
    kinds = []
    for pre in ["llama-bpe", "qwen2"]:
        trained = byte_level(pre, {}, [])
        trainer = trainers.BpeTrainer(
            vocab_size=420,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=["<|im_end|>"],
            show_progress=False,
        )
        trained.train_from_iterator(corpus, trainer)
        model = json.loads(trained.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        merges = [" ".join(pair) for pair in model["merges"]]
        types = [3 if token == "<|im_end|>" else 1 for token in tokens]
        again = byte_level(pre, model["vocab"], [tuple(m.split(" ")) for m in merges])
        ids = [again.encode(text).ids for text in golden]
        made = dict(tokens=tokens, types=types, merges=merges, ids=ids)
        kinds.append(dict(model="gpt2", pre=pre, **made))
    model = io.BytesIO()
    ascii_only = [t for t in corpus if t.isascii() and "\r" not in t]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ascii_only),
        model_writer=model,
        vocab_size=620,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.999,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        unk_id=3,
        bos_id=2,
        eos_id=1,
        pad_id=0,
        user_defined_symbols=["\n", "\n\n", "\n\n\n", "\t", "<table>", "</table>", "<b>", "</b>"]
        + [SPACE * n for n in range(2, 32)],
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    count = trained.get_piece_size()
    kind = lambda i: (
        3 if trained.is_control(i) or trained.is_unknown(i) else 6 if trained.is_byte(i) else None
    )
    pieces = [trained.id_to_piece(i) for i in range(count)]
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    types = [kind(i) or (4 if proto.pieces[i].type == 4 else 1) for i in range(count)]
    # As llama.cpp's converter writes them.
    tokens = [p.replace(SPACE, " ") if t == 4 else p for p, t in zip(pieces, types)]
    scores = [-1000.0 if t in (3, 4) else trained.get_score(i) for i, t in enumerate(types)]
    ids = [trained.encode(text) for text in golden]
    kinds.append(dict(model="llama", tokens=tokens, types=types, scores=scores, ids=ids))
    out = pathlib.Path(__file__).parents[2] / "fixtures" / "models" / "tokenizers.json"
    json_of = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = json_of({"strings": golden, "tokenizers": kinds})
    out.write_text(text + "\n")
    print(out, len(text.encode()), [len(k["tokens"]) for k in kinds], len(golden))


if sys.argv[1] == "write":
    directory = pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    texts = strings(1000, 7)
    (directory / "strings.json").write_text(json.dumps(texts, ensure_ascii=False))
elif sys.argv[1] == "compare":
    compare(pathlib.Path(sys.argv[2]), sys.argv[3])
else:
    fixture()
