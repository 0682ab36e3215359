"""AWS clients for a stack: with the calling shell's credentials, or with the local platform's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 2, 8, 2


@dataclass(frozen=True)
class Session:
    """What callers need of a boto3 session, bound to one endpoint where `endpoint` is set."""

    boto: Any
    endpoint: str | None = None

    def client(self, service: str, region_name: str | None = None) -> Any:
        """Short time-outs: a command that waits for minutes looks dead."""
        from botocore.config import Config

        retries = {"total_max_attempts": ATTEMPTS}
        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        return self.boto.client(service, region_name=region_name, endpoint_url=self.endpoint, config=config)

    def get_credentials(self) -> Any:
        return self.boto.get_credentials()

    @property
    def events(self) -> Any:
        return self.boto.events


def session(environment: Mapping[str, str]) -> Session:
    """For the local platform's variables, which this process need not have; else boto3's own chain."""
    import boto3

    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if "AWS_ENDPOINT_URL" not in environment:
        return Session(boto3.Session(region_name=region))
    own = boto3.Session(
        aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
        region_name=region,
    )
    return Session(own, environment["AWS_ENDPOINT_URL"])


def assumed(profile: str | None, role_arn: str | None, region: str) -> Session:
    """The calling shell's credentials, or a profile's, then a role's. Raises botocore's errors."""
    import boto3

    start = Session(boto3.Session(profile_name=profile, region_name=region))
    if role_arn is None:
        return start
    answer = start.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="penstock-eks-token")
    given = answer["Credentials"]
    return Session(
        boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=region,
        )
    )
