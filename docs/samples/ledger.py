"""A workload that serves no request which did not pass extauthz: it requires a valid `x-auth-assertion`.

Run it with `uvicorn ledger:app`. Its resources have the serviceName `ledger`.
"""

import os
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from extauthz_client import AssertionRejected, AssertionVerifier, Unreachable

app = FastAPI()
verifier = AssertionVerifier(
    os.environ["ASSERTION_KEYS_URL"], issuer=os.environ["ASSERTION_ISSUER"], audience="ledger"
)


@app.middleware("http")
async def require_assertion(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Refuse a request without a valid assertion; keep what a valid one says."""
    try:
        request.state.caller = await verifier.verify(request.headers.get("x-auth-assertion"))
    except AssertionRejected as rejected:
        return JSONResponse({"error": str(rejected)}, status_code=401)
    except Unreachable:
        return JSONResponse({"error": "the keys of assertions cannot be fetched"}, status_code=503)
    return await call_next(request)


@app.get("/ledger")
async def read_ledger(request: Request) -> dict[str, object]:
    """Answer with the caller, as the assertion names it."""
    caller = request.state.caller
    return {"subject": caller.subject, "kind": caller.kind, "roles": caller.roles, "tenant": caller.tenant}
