"""The Pulumi resource provider `aws` of the local target: a table of resource types over boto3, and one engine."""
