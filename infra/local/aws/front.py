"""The embedded AWS's front: names each request's service and action, logs it, and turns moto's gaps into AWS errors."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

logger = logging.getLogger(__name__)

Environment = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]

FORM = "application/x-www-form-urlencoded"
LONGEST_FORM = 1 << 20  # bytes; an Action parameter in a longer body stays unread


@dataclass(frozen=True)
class Call:
    """What a request asks for. `protocol` is that of its error: json (target header), rest (path) or query (form)."""

    service: str
    action: str
    protocol: str


def identify(environment: Environment) -> Call:
    """Reads service and action from the signature's scope, the target header, the form or the path.

    The body of a form is read and put back.
    """
    scope = re.search(r"Credential=([^,]+)", environment.get("HTTP_AUTHORIZATION", ""))
    parts = scope[1].split("/") if scope else []
    service = parts[3] if len(parts) > 4 else "-"
    path = environment.get("PATH_INFO", "")
    if target := environment.get("HTTP_X_AMZ_TARGET"):
        return Call(service, target.rpartition(".")[2], "json")
    if operation := re.search(r"/operation/(\w+)$", path):
        return Call(service, operation[1], "json")
    query = parse_qs(environment.get("QUERY_STRING", ""))
    form = read_form(environment) if environment.get("CONTENT_TYPE", "").startswith(FORM) else {}
    if action := form.get("Action") or query.get("Action"):
        return Call(service, action[0], "query")
    return Call(service, f"{environment.get('REQUEST_METHOD')} {path}", "rest")


def read_form(environment: Environment) -> dict[str, list[str]]:
    length = int(environment.get("CONTENT_LENGTH") or 0)
    if not 0 < length <= LONGEST_FORM:
        return {}
    body = environment["wsgi.input"].read(length)
    environment["wsgi.input"] = io.BytesIO(body)
    return parse_qs(body.decode(errors="replace"))


def error_answer(call: Call, code: str, message: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of an error in the form that clients of the service parse."""
    if call.service == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        return [("Content-Type", "text/xml")], f"{text}<RequestID>local</RequestID></Response>".encode()
    if call.service in ("s3", "route53", "cloudfront") or call.protocol == "query":
        text = f"<Error><Type>Receiver</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        if call.service != "s3":
            text = f"<ErrorResponse>{text}<RequestId>local</RequestId></ErrorResponse>"
        return [("Content-Type", "text/xml")], text.encode()
    headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)]
    return headers, json.dumps({"__type": code, "message": message}).encode()


class Front:
    """A WSGI application around moto's. `own` maps the paths that are Penstock's to applications of its own."""

    def __init__(self, moto: Application, own: dict[str, Application], log: logging.Logger) -> None:
        self._moto, self._own, self._log = moto, own, log

    def __call__(self, environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        if own := self._own.get(environment.get("PATH_INFO", "")):
            return own(environment, start_response)
        started, call = time.monotonic(), identify(environment)
        seen: list[tuple[str, list[tuple[str, str]]]] = []

        def note(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], object]:
            seen[:] = [(status, headers)]
            return lambda _data: None

        try:
            body = self._moto(environment, note)
            status, headers = seen[0]
            # A HEAD has no body to be of another type: S3 answers so for a missing bucket or object.
            if environment["REQUEST_METHOD"] != "HEAD" and status[:3] in ("404", "500") and missing_page(headers):
                raise NotImplementedError
        except NotImplementedError:
            message = f"the embedded AWS does not implement {call.service}:{call.action}"
            status, (headers, content) = "501 Not Implemented", error_answer(call, "NotImplemented", message)
            body = [content]
        except Exception as error:
            logger.exception("%s:%s failed", call.service, call.action)
            message = f"the embedded AWS failed in {call.service}:{call.action}: {type(error).__name__}: {error}"
            status, (headers, content) = "501 Not Implemented", error_answer(call, "InternalFailure", message)
            body = [content]
        milliseconds = (time.monotonic() - started) * 1000
        self._log.info("%s %s %s %.0f ms", call.service, call.action, status[:3], milliseconds)
        start_response(status, headers)
        return body


def missing_page(headers: list[tuple[str, str]]) -> bool:
    """Whether an error is werkzeug's page for a path that no handler serves: AWS itself never answers in HTML."""
    return any(name.lower() == "content-type" and value.startswith("text/html") for name, value in headers)
