"""An OpenID Connect provider in a process of its own: discovery, keys, authorization and token endpoints.

It signs whom `POST /says` names, without asking them anything, and is wrong in the one way that `fault` names.
Run as a script it prints its address, then serves until it is stopped.
"""

import asyncio
import hashlib
import secrets
import socket
import subprocess
import sys
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlencode

import httpx
import uvicorn
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID: Final = "rfr desk"  # with a space: it must be spelled as in a form
CLIENT_SECRET: Final = "a secret: of the client"  # noqa: S105 - of a test
SOMEBODY: Final = {"sub": "0001", "preferred_username": "r-ash", "rfr_roles": ["reviewer"]}


@dataclass
class Provider:
    """What it knows, and how it is wrong."""

    issuer: str
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2_048, {"kid": "one"}))
    another_key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2_048, {"kid": "one"}))
    says: dict[str, Any] = field(default_factory=lambda: dict(SOMEBODY))
    fault: str = ""
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    """By code: what was asked for it. A code is taken out when it is used."""

    async def be(self, request: Request) -> Response:
        """Change what it says."""
        said = await request.json()
        self.fault = said.pop("fault", "")
        self.says = {**SOMEBODY, **said}
        return Response()

    async def discovery(self, _: Request) -> Response:
        if self.fault == "discovery":
            return Response("<html>a login page of somebody's proxy</html>")
        about = {
            "issuer": "https://elsewhere.example" if self.fault == "discovery issuer" else self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        return JSONResponse(about)

    async def keys(self, _: Request) -> Response:
        public = self.key.as_dict(private=False)
        return Response(status_code=503) if self.fault == "keys" else JSONResponse({"keys": [public]})

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        code = secrets.token_urlsafe()
        self.asked[code] = asked
        answer = {"code": code, "state": "another" if self.fault == "state" else asked["state"]}
        if self.fault == "denied":
            answer = {"error": "access_denied", "error_description": "<b>no</b>", "state": asked["state"]}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)

    async def token(self, request: Request) -> Response:
        if self.fault == "token":
            return Response("out of order", 500)
        form = await request.form()
        asked = self.asked.pop(str(form["code"]), None)
        if asked is None or not self._is_who_asked(request, dict(form), asked):
            return JSONResponse({"error": "invalid_grant"}, 400)
        answer = {"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": self._id_token(asked)}
        if self.fault == "no id token":
            del answer["id_token"]
        return JSONResponse(answer)

    def _is_who_asked(self, request: Request, form: dict[str, Any], asked: dict[str, str]) -> bool:
        scheme, _, credentials = request.headers["authorization"].partition(" ")
        name, _, secret = b64decode(credentials).decode().partition(":")
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        return (
            (scheme, unquote(name), unquote(secret)) == ("Basic", CLIENT_ID, CLIENT_SECRET)
            and (asked["client_id"], asked["response_type"]) == (CLIENT_ID, "code")
            and asked["code_challenge_method"] == "S256"
            and asked["code_challenge"] == urlsafe_b64encode(verifier).decode().rstrip("=")
            and form["redirect_uri"] == asked["redirect_uri"]
            and form["grant_type"] == "authorization_code"
            and "openid" in asked["scope"].split()
        )

    def _id_token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.says,
        }
        wrong: dict[str, dict[str, Any]] = {
            "nonce": {"nonce": "another"},
            "audience": {"aud": "another client"},
            "audience, but for us": {"aud": "another client", "azp": CLIENT_ID},
            "audiences": {"aud": [CLIENT_ID, "another client"]},
            "party": {"azp": "another client"},
            "issuer": {"iss": "https://elsewhere.example"},
            "expired": {"iat": now - 900, "exp": now - 600},
            "not yet": {"nbf": now + 600},
        }
        claims |= wrong.get(self.fault, {})
        for name in self.fault.removeprefix("without ").split() if self.fault.startswith("without ") else ():
            del claims[name]
        return self._signed(claims)

    def _signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "kid": "one"}
        if self.fault == "none":
            return jwt.encode({"alg": "none"}, claims, self.key, algorithms=["none"])
        if self.fault == "shared secret":  # which two know: either could have signed
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))
        return jwt.encode(header, claims, self.another_key if self.fault == "key" else self.key)


def application(provider: Provider) -> Starlette:
    return Starlette(
        routes=[
            Route("/says", provider.be, methods=["POST"]),
            Route("/.well-known/openid-configuration", provider.discovery),
            Route("/keys", provider.keys),
            Route("/authorize", provider.authorize),
            Route("/token", provider.token, methods=["POST"]),
        ]
    )


@dataclass(frozen=True)
class Running:
    """A provider in another process."""

    issuer: str
    process: subprocess.Popen[str]

    def says(self, **said: Any) -> None:  # noqa: ANN401 - any claim
        """Let it say this of whoever comes next, and be wrong in this way: `says(rfr_roles=[...], fault="key")`."""
        httpx.post(f"{self.issuer}/says", json=said).raise_for_status()

    def settings(self) -> dict[str, str]:
        """Return what a desk must know of it."""
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}


@contextmanager
def running() -> Iterator[Running]:
    """Start a provider; stop it at the end."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Running(process.stdout.readline().strip(), process)
        finally:
            process.terminate()


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        issuer = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(application(Provider(issuer)), log_level="error", lifespan="off"))
        print(issuer, flush=True)  # noqa: T201 - that is how it is found
        await server.serve(sockets=[listening])


if __name__ == "__main__":
    asyncio.run(main())
