"""Makes a tiny random Llama with a tokenizer of bytes, and says what transformers itself answers, greedily.

Run by an interpreter that has torch and transformers; `python tiny_llama.py FOLDER TOKENS QUESTION…` prints a JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(folder: Path, tokens: int, questions: list[str]) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1} | {letter: number for number, letter in enumerate(alphabet, 2)}
    bare = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    config = LlamaConfig(vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=1, **sizes, **heads)
    # Weights larger than usual, or every answer would be one letter again and again.
    config.initializer_range = 0.5
    model = LlamaForCausalLM(config).float().eval()
    model.save_pretrained(folder)
    answers = []
    for question in questions:
        inputs = tokenizer(question, return_tensors="pt")["input_ids"]
        mask = torch.ones_like(inputs)
        ids = model.generate(inputs, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=1)
        answers.append(tokenizer.decode(ids[0][inputs.shape[-1] :], skip_special_tokens=True))
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
