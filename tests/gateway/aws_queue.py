"""SNS and SQS for tests: moto in a process of its own, with a topic, its queue and the queue of dead messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.exceptions
import pytest

from tests.gateway.redis_server import free_port

ACCOUNT = "123456789012"
REGION = "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_REGION": REGION}


@dataclass
class Cloud:
    port: int
    sqs: Any
    sns: Any
    made: int = 0

    @property
    def environment(self) -> Mapping[str, str]:
        return KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def events(self, tries: int = 5) -> Events:
        """A topic whose messages come to a queue, raw, as components/events.py makes them."""
        self.made += 1
        name = f"events-{self.made}"
        dead = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self._arn(dead), "maxReceiveCount": tries}
        queue = self.sqs.create_queue(
            QueueName=name,
            Attributes={"VisibilityTimeout": "60", "RedrivePolicy": json.dumps(redrive)},
        )["QueueUrl"]
        topic = self.sns.create_topic(Name=name)["TopicArn"]
        self.sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=self._arn(queue), Attributes={"RawMessageDelivery": "true"}
        )
        return Events(self, topic, queue, dead)

    def _arn(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


@dataclass
class Events:
    cloud: Cloud
    topic: str
    queue: str
    dead: str

    def publish(self, text: str) -> None:
        self.cloud.sns.publish(TopicArn=self.topic, Message=text)

    def send_raw(self, text: str) -> None:
        self.cloud.sqs.send_message(QueueUrl=self.queue, MessageBody=text)

    def left(self) -> int:
        """Messages of the queue, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.cloud.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def put_aside(self) -> list[str]:
        """Messages of the dead queue; they stay hidden for a while."""
        found = self.cloud.sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10)
        return [one["Body"] for one in found.get("Messages", ())]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | KEYS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    session = boto3.Session("AKIDEXAMPLE", "example", region_name=REGION)
    clients = [session.client(name, endpoint_url=f"http://127.0.0.1:{port}") for name in ("sqs", "sns")]
    try:
        end = time.monotonic() + 30
        while True:
            try:
                clients[0].list_queues()
            except botocore.exceptions.EndpointConnectionError:
                assert time.monotonic() < end, "moto did not start"
                time.sleep(0.1)
            else:
                break
        yield Cloud(port, *clients)
    finally:
        for client in clients:
            client.close()
        process.terminate()
        process.wait(10)


def budget_text(
    percent: float, *, name: str = "budget-1a2b3c", kind: str = "ACTUAL", limit: float = 1250.0, account: str = ACCOUNT
) -> str:
    """A notification as AWS Budgets writes it."""
    day, spent = time.strftime("%B %d, %Y", time.gmtime()), limit * percent / 100
    return (
        f"AWS Budget Notification {day}\nAWS Account {account}\n\nDear AWS Customer,\n\n"
        f"You requested that we alert you when the {kind} Cost associated with your {name} budget is greater than "
        f"${limit / 2:,.2f} for the current month. The {kind} Cost associated with this budget is ${spent:,.2f}. You "
        "can find additional details below and by accessing the AWS Budgets dashboard [1].\n\n"
        f"Budget Name: {name}\nBudget Type: Cost\nBudgeted Amount: ${limit:,.2f}\nAlert Type: {kind}\n"
        f"Alert Threshold: > ${limit / 2:,.2f}\n{kind} Amount: ${spent:,.2f}\n\n"
        "[1] https://console.aws.amazon.com/billing/home#/budgets\n"
    )


def anomaly_text(usd: float = 151.0, account: str = ACCOUNT) -> str:
    return json.dumps(
        {
            "accountId": account,
            "anomalyStartDate": "2026-11-20T00:00:00Z",
            "anomalyEndDate": "2026-11-20T00:00:00Z",
            "anomalyId": "12345678-abcd-ef12-3456-987654321a12",
            "dimensionalValue": "Amazon Elastic Compute Cloud - Compute",
            "anomalyScore": {"maxScore": 0.47, "currentScore": 0.47},
            "impact": {"maxImpact": usd, "totalImpact": usd},
        }
    )


def alarm_text(state: str, namespace: str = "AWS/Billing") -> str:
    trigger = {"MetricName": "EstimatedCharges", "Namespace": namespace}
    return json.dumps({"AlarmName": "charges", "AWSAccountId": ACCOUNT, "NewStateValue": state, "Trigger": trigger})
