"""Comments and issues on GitHub that are edited in place: found again by a marker in their first line.

    GITHUB_TOKEN=... GITHUB_REPOSITORY=owner/name python infra/ops/ci/github.py comment --number 7 --file review.md
    ... python infra/ops/ci/github.py issue --title "Drift in prod" --file drift.md

Standard library alone: the job that may write runs this file of the base revision and installs nothing. A token that
may not write is no failure: the report is in the job's summary, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SECONDS = 20.0
PAGES = 10
"""Of a hundred: where no comment of ours is among the first thousand, a new one is made."""
MARKER = re.compile(r"<!-- penstock [a-z0-9 -]+ -->")
CLEAN = " clean -->"
"""How the marker of a report ends that needs no issue."""
MEMBERS = ("OWNER", "MEMBER", "COLLABORATOR")
MAY_NOT = (401, 403, 404)
"""GitHub answers 404 where a token may not even see."""


class GitHubError(Exception):
    """A sentence for a person."""


class Client:
    """One repository. `token` is never shown."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        missing = [name for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY") if not environment.get(name)]
        if missing:
            raise GitHubError(f"{' and '.join(missing)} must be set.")
        self._token = environment["GITHUB_TOKEN"]
        repository = environment["GITHUB_REPOSITORY"]
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise GitHubError(f"GITHUB_REPOSITORY {repository!r} is not owner/name.")
        self._base = f"{environment.get('GITHUB_API_URL', 'https://api.github.com').rstrip('/')}/repos/{repository}"

    def call(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        """Raises urllib's HTTPError for a refusal, GitHubError where GitHub cannot be reached."""
        request = urllib.request.Request(  # noqa: S310 - GitHub's address, or the caller's own
            f"{self._base}{path}",
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310 - as above
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            raise GitHubError(f"GitHub does not answer: {error}.") from None

    def find(self, path: str, fits: Callable[[Mapping[str, Any]], bool]) -> Any:
        """The first row of a listing that fits and that one of ours wrote."""
        for page in range(1, PAGES + 1):
            rows = self.call("GET", f"{path}{'&' if '?' in path else '?'}per_page=100&page={page}")
            for row in rows:
                if fits(row) and _ours(row):
                    return row
            if len(rows) < 100:
                break
        return None


def _ours(row: Mapping[str, Any]) -> bool:
    """Anybody may write a marker into a comment; only a bot's or a member's is taken for ours."""
    return (row.get("user") or {}).get("type") == "Bot" or row.get("author_association") in MEMBERS


def comment(client: Client, number: int, text: str) -> str:
    """Edits the comment with the text's marker, or makes one. Returns what was done."""
    found = MARKER.match(text)
    if not found:
        raise GitHubError("The file does not begin with a marker such as <!-- penstock diff dev -->.")
    mine = client.find(f"/issues/{number}/comments", lambda row: str(row.get("body") or "").startswith(found.group()))
    if mine:
        client.call("PATCH", f"/issues/comments/{mine['id']}", {"body": text})
        return "edited"
    client.call("POST", f"/issues/{number}/comments", {"body": text})
    return "made"


def issue(client: Client, title: str, text: str) -> str:
    """Opens the issue of that title or edits it; closes it where the text is clean. Returns what was done."""
    mine = client.find("/issues?state=open", lambda row: row.get("title") == title)
    if text.partition("\n")[0].endswith(CLEAN):
        if mine:
            client.call("PATCH", f"/issues/{mine['number']}", {"state": "closed", "state_reason": "completed"})
            return "closed"
        return "nothing to close"
    if mine:
        client.call("PATCH", f"/issues/{mine['number']}", {"body": text})
        return "edited"
    client.call("POST", "/issues", {"title": title, "body": text})
    return "opened"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["comment", "issue"])
    parser.add_argument("--number", type=int, help="of the pull request")
    parser.add_argument("--title", help="of the issue")
    parser.add_argument("--file", type=Path, required=True, help="what it is to say, in Markdown")
    asked = parser.parse_args(arguments)
    try:
        client = Client(os.environ)
        text = asked.file.read_text(encoding="utf-8")
        if asked.what == "comment":
            if not asked.number:
                raise GitHubError("A comment needs --number.")
            done = comment(client, asked.number, text)
        else:
            if not asked.title:
                raise GitHubError("An issue needs --title.")
            done = issue(client, asked.title, text)
    except urllib.error.HTTPError as error:
        if error.code in MAY_NOT:
            print(f"This token may not write here ({error.code}); the report is in the summary.", file=sys.stderr)
            return 0
        print(f"GitHub answered {error.code} {error.reason}.", file=sys.stderr)
        return 1
    except (GitHubError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{asked.what}: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
