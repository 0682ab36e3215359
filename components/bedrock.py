"""What a role needs to ask models on Amazon Bedrock. Pure functions."""

from collections.abc import Iterator, Sequence
from typing import Any

ACTIONS = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
"""Of Converse and of ConverseStream (Bedrock's API reference)."""
EMBEDDING_ACTIONS = ["bedrock:InvokeModel"]
"""Embeddings are not streamed."""
PROFILES = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
"""First parts of ids of inference profiles, which send a request to one of several regions. A model's own id begins
with its maker (Bedrock user guide, "Supported Regions and models for inference profiles")."""


def invoke_models(
    partition: str, account: str, models: Sequence[tuple[str, str]], embedding: Sequence[tuple[str, str]] = ()
) -> list[dict[str, Any]]:
    """Statements for models and inference profiles, given as (region, id), and no others. `embedding`: never streamed.

    A profile takes two: itself, and its model in whichever region it chooses, by that profile alone (user guide,
    "Prerequisites for inference profiles").
    """
    return [
        *_invoke(partition, account, models, ACTIONS, ""),
        *_invoke(partition, account, embedding, EMBEDDING_ACTIONS, "ToEmbed"),
    ]


def _invoke(
    partition: str, account: str, models: Sequence[tuple[str, str]], actions: list[str], suffix: str
) -> Iterator[dict[str, Any]]:
    own = [
        f"arn:{partition}:bedrock:{region}::foundation-model/{model}"
        for region, model in models
        if model.split(".")[0] not in PROFILES
    ]
    if own:
        yield {"Sid": f"AskModels{suffix}", "Effect": "Allow", "Action": actions, "Resource": own}
    profiles = [(region, model) for region, model in models if model.split(".")[0] in PROFILES]
    for number, (region, profile) in enumerate(profiles, start=1):
        arn = f"arn:{partition}:bedrock:{region}:{account}:inference-profile/{profile}"
        model = profile.partition(".")[2]
        yield {"Sid": f"AskProfile{suffix}{number}", "Effect": "Allow", "Action": actions, "Resource": arn}
        yield {
            "Sid": f"AskModelOfProfile{suffix}{number}",
            "Effect": "Allow",
            "Action": actions,
            "Resource": f"arn:{partition}:bedrock:*::foundation-model/{model}",
            "Condition": {"StringEquals": {"bedrock:InferenceProfileArn": arn}},
        }
