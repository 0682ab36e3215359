"""What AWS says about money, as it comes out of the queue. Pure; whatever is in a message, it can only be refused.

Shapes: AWS Budgets speaks in lines of text (AWS Cost Management user guide, "Creating an Amazon SNS topic for budget
notifications"); Cost Anomaly Detection in JSON (the same guide, "Creating an Amazon SNS topic for anomaly
notifications"); CloudWatch alarms in JSON, of which those on `AWS/Billing` are about money.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from app.gateway.budget.levels import Signal, month_of

MOST_CHARACTERS = 64 * 1024
LONGEST_NAME = 100
BILLING = "AWS/Billing"
_MONEY = re.compile(r"\$([0-9]{1,3}(?:,[0-9]{3})*|[0-9]{1,12})(\.[0-9]{1,10})?")
_HEAD = re.compile(r"AWS Budget Notification ([A-Z][a-z]+ [0-9]{1,2}, [0-9]{4})\s+AWS Account ([0-9]{12})\b")
_NAME = re.compile(r"[ -~]{1,100}")


class Unreadable(Exception):  # noqa: N818 - an outcome of reading, and no error of the program
    """This is no message that can be acted on. The text says why and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Over:
    """A source says that its reason is gone."""

    source: str


Heard = Signal | Over | None


def read(text: str, account: str, at: float, anomaly_hours: float) -> Heard:
    """`at`: Unix time at which SQS got the message. None for what is not about money. Raises Unreadable."""
    if len(text) > MOST_CHARACTERS:
        raise Unreadable(f"it is longer than {MOST_CHARACTERS} characters")
    if text.lstrip().startswith("{"):
        content = _object(text)
        if content.get("Type") == "Notification" and isinstance(content.get("Message"), str):
            return read_inner(content["Message"], account, at, anomaly_hours)
        return _of_json(content, account, at, anomaly_hours)
    return _budget(text, account, at)


def read_inner(text: str, account: str, at: float, anomaly_hours: float) -> Heard:
    """A message inside SNS's envelope, which comes once and not again within itself."""
    if text.lstrip().startswith("{"):
        return _of_json(_object(text), account, at, anomaly_hours)
    return _budget(text, account, at)


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    if not isinstance(content, dict):
        raise Unreadable("it is no JSON object")
    return content


def _of_json(content: dict[str, Any], account: str, at: float, anomaly_hours: float) -> Heard:
    if "anomalyId" in content:
        _check_account(content.get("accountId"), account)
        identity, impact = _name(content["anomalyId"]), content.get("impact")
        usd = impact.get("totalImpact") if isinstance(impact, dict) else None
        if not isinstance(usd, int | float) or isinstance(usd, bool) or not math.isfinite(usd):
            raise Unreadable("impact.totalImpact is no number")
        until = at + anomaly_hours * 3600
        return Signal(f"anomaly:{identity}", "anomaly", None, month_of(at), at, until, f"{usd:.2f} USD unusual")
    if "AlarmName" in content:
        trigger = content.get("Trigger")
        if not isinstance(trigger, dict) or trigger.get("Namespace") != BILLING:
            return None
        _check_account(content.get("AWSAccountId"), account)
        source = f"alarm:{_name(content['AlarmName'])}"
        match content.get("NewStateValue"):
            case "OK":
                return Over(source)
            case "ALARM":
                return Signal(source, "alarm", None, month_of(at), at, None, "charges are above the alarm's bound")
            case "INSUFFICIENT_DATA":
                return None
        raise Unreadable("NewStateValue is none of OK, ALARM, INSUFFICIENT_DATA")
    raise Unreadable("it is neither an anomaly nor an alarm")


def _budget(text: str, account: str, at: float) -> Signal:
    head = _HEAD.match(text.strip())
    if head is None:
        raise Unreadable("it does not begin as a budget's notification")
    _check_account(head[2], account)
    try:
        day = dt.datetime.strptime(head[1], "%B %d, %Y").replace(tzinfo=dt.UTC)
    except ValueError:
        raise Unreadable("its date is none") from None
    if day.timestamp() > at + 2 * 86_400:
        raise Unreadable("it is of a day to come")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(": ")
        if colon and name.strip() in fields:
            raise Unreadable(f"`{name.strip()[:20]}` is there twice")
        if colon:
            fields[name.strip()] = value.strip()
    kind = fields.get("Alert Type", "")
    if kind not in ("ACTUAL", "FORECASTED"):
        raise Unreadable("`Alert Type` is neither ACTUAL nor FORECASTED")
    limit = _usd(fields.get("Budgeted Amount", ""), "Budgeted Amount")
    if limit <= 0:
        raise Unreadable("`Budgeted Amount` is nothing")
    spent = _usd(fields.get(f"{kind} Amount", ""), f"{kind} Amount")
    name = _name(fields.get("Budget Name", ""))
    short = "actual" if kind == "ACTUAL" else "forecast"
    return Signal(
        f"budget:{name}" + (":forecast" if kind == "FORECASTED" else ""),
        short,
        round(spent / limit * 100, 4),
        day.strftime("%Y-%m"),
        at,
        None,
        f"{spent:.2f} of {limit:.2f} USD",
    )


def _usd(text: str, field: str) -> float:
    found = _MONEY.fullmatch(text)
    if found is None:
        raise Unreadable(f"`{field}` is no sum of US dollars")
    return float(found[1].replace(",", "") + (found[2] or ""))


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Unreadable(f"a name is not 1 to {LONGEST_NAME} characters of plain text")
    return value


def _check_account(given: object, account: str) -> None:
    if given != account:
        raise Unreadable("it is of another account")
