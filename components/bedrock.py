"""What a role needs to ask models on Amazon Bedrock. Pure functions."""

from collections.abc import Sequence
from typing import Any

ACTIONS = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
"""Of Converse and of ConverseStream (Bedrock's API reference)."""
PROFILES = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
"""First parts of ids of inference profiles, which send a request to one of several regions. A model's own id begins
with its maker (Bedrock user guide, "Supported Regions and models for inference profiles")."""


def invoke_models(partition: str, account: str, models: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Statements for models and inference profiles, given as (region, id), and for no others.

    A profile takes two: itself, and its model in whichever region it chooses, by that profile alone (user guide,
    "Prerequisites for inference profiles").
    """
    found: list[dict[str, Any]] = []
    own = [
        f"arn:{partition}:bedrock:{region}::foundation-model/{model}"
        for region, model in models
        if model.split(".")[0] not in PROFILES
    ]
    if own:
        found.append({"Sid": "AskModels", "Effect": "Allow", "Action": ACTIONS, "Resource": own})
    profiles = [(region, model) for region, model in models if model.split(".")[0] in PROFILES]
    for number, (region, profile) in enumerate(profiles, start=1):
        arn = f"arn:{partition}:bedrock:{region}:{account}:inference-profile/{profile}"
        model = profile.partition(".")[2]
        found += [
            {"Sid": f"AskProfile{number}", "Effect": "Allow", "Action": ACTIONS, "Resource": arn},
            {
                "Sid": f"AskModelOfProfile{number}",
                "Effect": "Allow",
                "Action": ACTIONS,
                "Resource": f"arn:{partition}:bedrock:*::foundation-model/{model}",
                "Condition": {"StringEquals": {"bedrock:InferenceProfileArn": arn}},
            },
        ]
    return found
