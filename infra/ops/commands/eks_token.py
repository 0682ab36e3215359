"""`penstock eks-token`: the credential plug-in that a kubeconfig names."""

from __future__ import annotations

import json

import click


@click.command("eks-token")
@click.option("--cluster", required=True, help="The EKS cluster's name.")
@click.option("--region", required=True, help="The cluster's AWS region.")
@click.option("--role-arn", help="A role to assume first.")
@click.option("--profile", help="The AWS profile to start from.")
def eks_token(cluster: str, region: str, role_arn: str | None, profile: str | None) -> None:
    """Print a Kubernetes credential for an EKS cluster.

    An ExecCredential (client.authentication.k8s.io/v1) that holds a presigned STS GetCallerIdentity
    URL, as `aws eks get-token` prints it. kubectl and the Kubernetes provider call this.
    """
    from infra.ops.aws import assumed
    from infra.ops.eks_token import exec_credential, token

    click.echo(json.dumps(exec_credential(token(assumed(profile, role_arn, region), cluster, region))))
