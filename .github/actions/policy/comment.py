"""Write a review as the one comment of this action on a pull request: a later run changes it.

python3 comment.py FILE

Environment: GITHUB_API_URL, GITHUB_REPOSITORY, PULL_REQUEST, GITHUB_TOKEN. The first line of the file is
what the comment is found by. A token that may not write (as on the pull request of a fork) is a notice.
Standard library only.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

_PAGE: Final = 100
_MOST_PAGES: Final = 100
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


def main(file: Path, environ: Mapping[str, str]) -> int:
    """Comment the review; return the exit status."""
    if not file.is_file():
        print("::notice::There is no review to comment; the step before says why.")
        return 0
    body = file.read_text("utf-8")
    marker = body.partition("\n")[0]
    repository, number = environ["GITHUB_REPOSITORY"], environ.get("PULL_REQUEST", "")
    if not re.fullmatch(r"[0-9]{1,18}", number) or not marker.startswith("<!-- extauthz-policy-review "):
        print("::error::This is neither a review nor a pull request.")
        return 1
    comments = f"/repos/{repository}/issues/{number}/comments"
    try:
        written = _own(comments, marker, environ)
        if written is None:
            _call("POST", comments, environ, {"body": body})
        else:
            _call("PATCH", f"/repos/{repository}/issues/comments/{written}", environ, {"body": body})
    except urllib.error.HTTPError as error:
        if error.code in _REFUSED:
            print(
                f"::notice::The token may not comment ({error.code}), as on the pull request of a fork; "
                "the review is in the job's summary."
            )
            return 0
        print(f"::error::GitHub answered {error.code}; the review is in the job's summary.")
        return 1
    except OSError as error:
        print(f"::error::GitHub does not answer: {error}; the review is in the job's summary.")
        return 1
    return 0


def _own(comments: str, marker: str, environ: Mapping[str, str]) -> int | None:
    """Return the id of the comment that an earlier run wrote.

    Any account can write a comment that begins like it; only one of a bot is changed.
    """
    for page in range(1, _MOST_PAGES + 1):
        found = _call("GET", f"{comments}?per_page={_PAGE}&page={page}", environ)
        for comment in found:
            is_own = (comment.get("body") or "").startswith(marker)
            if is_own and (comment.get("user") or {}).get("type") == "Bot":
                return int(comment["id"])
        if len(found) < _PAGE:
            break
    return None


def _call(method: str, path: str, environ: Mapping[str, str], document: object = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  # the URL of GitHub's API, which the runner sets
        environ.get("GITHUB_API_URL", "https://api.github.com") + path,
        data=None if document is None else json.dumps(document).encode(),
        method=method,
        headers={
            "authorization": f"Bearer {environ['GITHUB_TOKEN']}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), os.environ))
