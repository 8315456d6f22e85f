"""Trains small tokenizers with the Hugging Face library and records its ids; how to run it is in README.md."""

import json
import random
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ByteLevel = pre_tokenizers.ByteLevel
lines = open(sys.argv[1], encoding="utf-8").read().split("\n")[:120] + [
    "it's we're they've I'm you'll he'd IT'S WE'RE",
    "Gr\u00fc\u00dfe aus K\u00f6ln, na\u00efve caf\u00e9",
    "\u6570\u5b57\u3068\u6f22\u5b57 2024\u5e74",
    "x = y + 42; // 1234567",
    "\t\tindent\n\n\n",
    "  spaces   and    more",
    "emoji \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f389",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
    "a\u0301 e\u0308 \u1e9b\u0323",
] * 4


def special(text):
    return AddedToken(text, special=True, normalized=False)


def words(digits):
    return pre_tokenizers.Split(
        Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
            + digits
            + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        "isolated",
        False,
    )


def byte_level(steps, specials, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True)
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = with_merges(tokenizer, [("\u00c5", "\u00bf"), ("\u00c5\u00bf", "y"), ("s", "y"), ("'", "s"), ("1", "2")])
    tokenizer.add_special_tokens([special(text) for text in specials])
    return tokenizer


def with_merges(tokenizer, merges):
    """Merges which training does not find, because the pre-tokenizer cuts between their halves; the first is a long s."""
    whole = json.loads(tokenizer.to_str())
    model = whole["model"]
    for left, right in merges:
        if left + right not in model["vocab"]:
            model["vocab"][left + right] = len(model["vocab"])
            model["merges"].append([left, right])
    return Tokenizer.from_str(json.dumps(whole))


def piece_like(metaspace):
    """Merges learnt over words with their space; bytes as entries of their own in front."""
    learnt = Tokenizer(models.BPE())
    learnt.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    learnt.pre_tokenizer = pre_tokenizers.Split(Regex("\u2581[^\u2581]*"), "isolated", False)
    ascii_lines = [line for line in lines if line.isascii()]
    learnt.train_from_iterator(ascii_lines, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    model = json.loads(learnt.to_str())["model"]
    head = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
    pieces = [piece for piece, _ in sorted(model["vocab"].items(), key=lambda entry: entry[1])]
    vocab = {piece: index for index, piece in enumerate(head + pieces)}
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "first", False)
    else:
        tokenizer.normalizer = learnt.normalizer
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([special(text) for text in head[:3]])
    return tokenizer


bytes_only = ByteLevel(add_prefix_space=False, use_regex=False)
kinds = {
    "llama3": byte_level([words(r"\p{N}{1,3}"), bytes_only], ["<|begin_of_text|>", "<|eot_id|>"], ignore_merges=True),
    "qwen2": byte_level([words(r"\p{N}"), bytes_only], ["<|endoftext|>", "<|im_end|>"], normalizers.NFC()),
    "smollm": byte_level([pre_tokenizers.Digits(True), ByteLevel(add_prefix_space=False)], ["<|endoftext|>"]),
    "llama2": piece_like(False),
    "llama2-metaspace": piece_like(True),
}
start = ("<|begin_of_text|>", kinds["llama3"].token_to_id("<|begin_of_text|>"))
kinds["llama3"].post_processor = processors.TemplateProcessing(single=start[0] + " $A", special_tokens=[start])
kinds["qwen2"].add_tokens([AddedToken("<think>", special=False, normalized=False)])

texts = [
    "",
    " ",
    "  ",
    "\n",
    "\r\n\r\n x",
    "it's IT'S don'T we'RE '\u017f x'\u017fy 'sy x'\u017f\u017f",
    "1234567 \u0663\u0664\u0665 \u00bd\u00b2 \u216b",
    "a\u0301\u0308 \ufb01 \u212b \uac00\u1100\u1161",
    "\ufeffbom\u0085nel\u00a0nbsp\u2028ls\u180e",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f389\U0001f3f3\ufe0f\u200d\U0001f308",
    "!\u0006!\u0001\u007f",
    "__proto__ constructor toString",
    "\u017ftra\u00dfe \u0130 \u1e9e",
    "x\t\ty   z \n\n  w",
    "(?i:'s) [^\\r\\n] $& \\u0041",
    "\u2581\u2581 x \u2581y",
    "\u0120t \u010a",
    "\ufdfa \U0001d4b3\U0001d4ce \U00010348",
    "\u0e33\u0e4d\u0e32",
]
draw = random.Random(7)
known = [word for line in lines for word in line.split(" ") if word]
marks = [" ", "\n", "\t", "'", "s", "1", "\u00e9", "\u5b57", "!", "A", "_", "\r", "\u00a0", "\u0301", "\u017f", "\u0085"]
for _ in range(100):
    kind = draw.randrange(4)
    if kind == 0:
        texts.append(" ".join(draw.choice(known) for _ in range(draw.randint(1, 9))))
    elif kind == 1:
        texts.append("".join(draw.choice(marks + ["\ufeff", "\U0001f389"]) for _ in range(draw.randint(1, 24))))
    elif kind == 2:
        blocks = [(32, 127), (0xA0, 0x600), (0x900, 0xD7FF), (0x1F300, 0x1F600)]
        texts.append("".join(chr(draw.randrange(*draw.choice(blocks))) for _ in range(draw.randint(1, 16))))
    else:
        texts.append("".join(draw.choice(known + [" ", "  ", "\n", "I'LL", "12345"]) for _ in range(draw.randint(1, 9))))

result = {"library": "tokenizers " + tokenizers.__version__, "texts": texts, "kinds": {}}
for name, tokenizer in kinds.items():
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    decoded = {
        str(index): text
        for index, text in enumerate(map(tokenizer.decode, ids))
        if text != texts[index]
    }
    result["kinds"][name] = {"tokenizer": json.loads(tokenizer.to_str()), "ids": ids, "decoded": decoded}
json.dump(result, open(sys.argv[2], "w", encoding="utf-8"), ensure_ascii=True)
