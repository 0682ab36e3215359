"""The policy pack: rules that every preview and update is held to (`pulumi preview --policy-pack infra/policy`)."""
