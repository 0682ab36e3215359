"""Keys for each class of data, and a registry for images."""

import pulumi

from components.keys import DataKeys
from components.stores import Registry

keys = DataKeys(
    "keys",
    {
        "partition": "aws",
        "region": "eu-central-1",
        "account_id": pulumi.Config().require("accountId"),
        "protected": False,
    },
)
registry = Registry(
    "registry", {"images": ["gateway", "worker"], "prefix": "acme", "key_arn": keys.images, "protected": False}
)
pulumi.export("urls", registry.urls)
