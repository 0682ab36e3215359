"""Writes a tiny random Llama into a folder: `python tiny_model.py FOLDER`. Run by the environment of vLLM.

2 layers, hidden size 128, a vocabulary of bytes and a few words, a chat template. The same everywhere: the weights
come from a fixed seed.
"""

from __future__ import annotations

import sys


def main(folder: str) -> None:
    import torch  # ty: ignore[import-not-found]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # ty: ignore[import-not-found]
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # ty: ignore[import-not-found]

    torch.manual_seed(7)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["hello world the quick brown fox "] * 50, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")  # noqa: S106 - marks
    # What comes before an answer is the same whether it is begun or gone on with.
    fast.chat_template = "{% for m in messages %}{{m['role']}}:{{m['content']}}\n{% endfor %}assistant:"
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
