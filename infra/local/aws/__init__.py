"""The embedded AWS: a Pulumi provider over boto3, and moto with the data planes that stand behind its objects."""
