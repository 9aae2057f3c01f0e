"""Errors as HTTP tells them: ``application/problem+json`` (RFC 9457) with what the registry knows.

One rule, as on libp2p: a client learns which rule it met, and nothing of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from retrieval.errors import Blame, RetrievalError

PROBLEM_TYPE: Final = "application/problem+json"
NEVER_KEPT: Final = "no-store"


def is_ours_to_mend(error: RetrievalError) -> bool:
    """Whether its detail belongs into the log and not into the answer: it can hold paths and addresses."""
    return error.row.blame in (Blame.OPERATOR, Blame.CHAIN)


def problem(error: RetrievalError) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of the answer to a request that failed."""
    row = error.row
    document: dict[str, object] = {
        "type": "about:blank",
        "title": row.summary,
        "status": row.http_status,
        "code": error.code.label,
        "number": int(error.code),
        "retryable": row.retry.value,
        "hint": row.hint,
    }
    if error.detail and not is_ours_to_mend(error):
        document["detail"] = error.detail
    headers = {"Content-Type": PROBLEM_TYPE, "Cache-Control": NEVER_KEPT}
    if error.retry_after_s is not None:
        document["retry_after_s"] = error.retry_after_s
        headers["Retry-After"] = str(error.retry_after_s)
    return row.http_status, headers, json.dumps(document).encode()
