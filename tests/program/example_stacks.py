"""The example stack files, written from Pulumi.dev.yaml: a key that is added there is theirs too."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples" / "stacks"
MODEL = "qwen3-0.6b"

HEADS = {
    "managed": "# No GPU: outside providers answer alone. Replace account, ranges, models and prices by yours.\n",
    "grow": "# As Pulumi.managed.yaml, with an engine of its own: it is asked first, the providers when it fails.\n",
}
TIMES = """\
      baseUrl: null
      region: {region}
      insecureHttp: false
      mostRequests: 64
      connectSeconds: 5
      firstByteSeconds: 30
      betweenBytesSeconds: 60
      answerSeconds: 300
      mostRetryAfterSeconds: 60
      apiKey: {key}
"""
PROVIDERS = f"""\
  penstock:providers:
    - name: aws
      kind: bedrock
{TIMES.format(region="eu-central-1", key="false")}\
    - name: anthropic
      kind: anthropic
{TIMES.format(region="null", key="true")}"""
OUTSIDE_MODELS = """\
  penstock:outsideModels:
    - name: haiku
      aliases: []
      provider: aws
      upstream: eu.anthropic.claude-haiku-4-5-20251001-v1:0
      embeddingDimensions: null
      contextTokens: 200000
      maxOutputTokens: 8192
      inputUsdPerMillionTokens: 1.1
      outputUsdPerMillionTokens: 5.5
      limits: null
    - name: sonnet
      aliases: []
      provider: anthropic
      upstream: claude-sonnet-4-5
      embeddingDimensions: null
      contextTokens: 200000
      maxOutputTokens: 8192
      inputUsdPerMillionTokens: 3
      outputUsdPerMillionTokens: 15
      limits: null
    - name: embed
      aliases: []
      provider: aws
      upstream: amazon.titan-embed-text-v2:0
      embeddingDimensions: 1024
      contextTokens: 8192
      maxOutputTokens: 1
      inputUsdPerMillionTokens: 0.02
      outputUsdPerMillionTokens: 0
      limits: null
"""
ROUTING = """\
  penstock:routing:
    routes:
      - name: default
        to: {to}
        rules: []
        tasks: []
        when: []
        experiment: null
        levels: []
        fallback: [{fallback}]
        cached: false
        knowledge: false
        canned: busy
        checkOutput: true
        firstByteSeconds: 10
        answerSeconds: null
    templates:
      busy: We are busy. Please try again in a minute.
    knowledge: []
"""


def example(name: str) -> str:
    """The text of `Pulumi.<name>.yaml`. Raises ValueError where Pulumi.dev.yaml has not what is replaced."""
    text = (CHECKOUT / "Pulumi.dev.yaml").read_text().partition("\n")[2]
    text = _key(text, "providers", PROVIDERS)
    text = _key(text, "outsideModels", OUTSIDE_MODELS)
    breaker = _found(text, r"    breaker:\n(?:      .*\n)+")
    managed = name == "managed"
    to, fallback = ("haiku", "sonnet") if managed else (MODEL, "haiku, sonnet")
    text = _key(text, "routing", ROUTING.format(to=to, fallback=fallback) + breaker)
    # The route has this name, and Karpenter is not needed for one engine.
    text = _put(text, r"aliases: \[default\]", "aliases: []")
    text = _put(text, r"(karpenter:\n      enabled:) true", r"\1 false")
    if managed:
        text = _key(text, "models", "  penstock:models: []\n")
        text = _put(text, f"model: {MODEL}", "model: haiku", 2)
        text = _put(text, r"engineImage: .*", "engineImage: none", 2)
        text = _put(text, r"engineReplicas:\n(        .*\n)+", "engineReplicas: {}\n", 2)
        groups = _found(text, r"    gpu:\n(?:      .*\n)+    gpuSpot:\n(?:      .*\n)+")
        text = text.replace(groups, re.sub(r"(desired|max)(Nodes\w*): \d+", r"\1\2: 0", groups))
    text = _put(text, r"\$schema=", "$schema=../../")
    return HEADS[name] + text


def write() -> None:
    for name in HEADS:
        (EXAMPLES / f"Pulumi.{name}.yaml").write_text(example(name))


def _found(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"Pulumi.dev.yaml has no {pattern!r}")
    return found[0]


def _key(text: str, key: str, block: str) -> str:
    """Another block for a top-level key."""
    return text.replace(_found(text, rf"  penstock:{key}:.*\n(?:    .*\n)*"), block)


def _put(text: str, pattern: str, words: str, times: int = 1) -> str:
    text, count = re.subn(pattern, words, text)
    if count != times:
        raise ValueError(f"Pulumi.dev.yaml has {pattern!r} {count} times, not {times}")
    return text
