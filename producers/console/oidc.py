"""OpenID Connect: an organisation's own sign-in says who somebody is, and what they are here for.

The authorization code flow with PKCE, state and nonce (OpenID Connect Core 1.0, section 3.1). What must come back with
the same browser lies in a cookie that is signed and good for minutes; the session that follows is the desk's own.
Discovery and keys are read anew for each sign-in, of which there are few: a key that the provider has withdrawn is not
trusted for a moment longer.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

import httpx
from authlib.oauth2.client import OAuth2Client  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from producers.console._desk import Desk, Here, NotFound
from producers.console._pages import page
from producers.console._refusals import refused, sentence
from producers.console._sessions import entrance_of, keep_out, let_in, local_path, new_code
from rfr_stream.desk import Account
from rfr_stream.errors import NotPermitted, Unavailable
from rfr_stream.events import Ref
from rfr_stream.policy import Role

_UNDER_WAY_S: Final = 600
_TIMEOUT_S: Final = 10.0
_LEEWAY_S: Final = 60
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the provider can make: neither `none` nor a secret that two know."""
_MAX_SUBJECT: Final = 255

router = APIRouter()


class Provider(BaseModel):
    """What a provider says of itself (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class UnderWay(BaseModel):
    """A sign-in that has begun in this browser."""

    state: str
    nonce: str
    verifier: str
    there: str
    exp: int


# --- the two steps ----------------------------------------------------------------------------------------------------
@router.get("/sign-in/provider")
async def begin(
    request: Request,
    desk: Here,
    next: Annotated[str, Query(max_length=512)] = "/",  # noqa: A002 - the link's word
) -> Response:
    """Send somebody to their organisation's sign-in."""
    issuer = _issuer(desk)
    until = int(time.time()) + _UNDER_WAY_S
    begun = UnderWay(state=new_code(), nonce=new_code(), verifier=new_code(), there=local_path(next), exp=until)
    async with _client() as client:
        provider = await _discover(client, issuer)
    flow = OAuth2Client(
        None,
        desk.settings.oidc_client_id,
        scope="openid profile",
        redirect_uri=_redirect_uri(desk),
        code_challenge_method="S256",
    )
    url, _ = flow.create_authorization_url(
        provider.authorization_endpoint, state=begun.state, nonce=begun.nonce, code_verifier=begun.verifier
    )
    answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        _cookie(desk),
        jwt.encode({"alg": "HS256"}, begun.model_dump(), _own_key(request, desk)),
        max_age=_UNDER_WAY_S,
        httponly=True,
        samesite="lax",  # it must come back from the provider's page, which is another site's
        secure=desk.is_https,
    )
    return answer


@router.get("/sign-in/callback", response_class=HTMLResponse)
async def come_back(
    request: Request,
    desk: Here,
    state: Annotated[str, Query(max_length=512)] = "",
    code: Annotated[str, Query(max_length=4_096)] = "",
) -> Response:
    """Let in whom the provider vouches for."""
    _issuer(desk)
    if not await entrance_of(request).may_come(request):  # before anything is written down: the log is for good
        return refused(request, HTTPStatus.TOO_MANY_REQUESTS, "Too many tries from this network. Wait a minute.")
    answer: Response
    try:
        begun = _begun(request, desk, state)
        account = await _account(desk, await _claims(desk, begun, code))
    except NotPermitted as error:
        await keep_out(desk, None, str(error))
        answer = refused(request, HTTPStatus.FORBIDDEN, sentence(error))
    else:
        # A page, and no redirect: a browser sends no SameSite=Strict cookie along a chain that began on another site.
        answer = await let_in(desk, request, account, page(request, "signed_in.html", there=begun.there))
    answer.delete_cookie(_cookie(desk), httponly=True, samesite="lax", secure=desk.is_https)
    return answer


def _issuer(desk: Desk) -> str:
    if desk.settings.oidc_issuer is None:
        raise NotFound
    return desk.settings.oidc_issuer


def _redirect_uri(desk: Desk) -> str:
    return f"{desk.settings.public_url}/sign-in/callback"


def _cookie(desk: Desk) -> str:
    return f"{desk.cookie}-provider"


def _own_key(request: Request, desk: Desk) -> OctKey:
    """Return the key of the cookie: the same in every process that shares a client's secret, else this one's own."""
    secret = desk.settings.oidc_client_secret
    known = secret.get_secret_value() if secret else entrance_of(request).secret
    return OctKey.import_key(sha256(b"rfr-stream: a sign-in under way\n" + known.encode()).digest())


def _begun(request: Request, desk: Desk, state: str) -> UnderWay:
    """Return the sign-in that this browser began.

    Raises:
        NotPermitted: it began none, or another, or too long ago.

    """
    try:
        said = jwt.decode(request.cookies.get(_cookie(desk), ""), _own_key(request, desk), algorithms=["HS256"])
        begun = UnderWay.model_validate(said.claims)
    except (JoseError, ValueError):
        begun = None
    if begun is None or begun.exp < time.time() or begun.state != state:
        msg = "sign-in: it did not begin in this browser, or too long ago; begin again"
        raise NotPermitted(msg)
    return begun


# --- what the provider says -------------------------------------------------------------------------------------------
def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False)


@contextmanager
def _away_if_unclear() -> Iterator[None]:
    """What a provider does not answer, or not as it should, is its being away."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        msg = "oidc: the provider does not answer as it should"
        raise Unavailable(msg) from error


async def _discover(client: httpx.AsyncClient, issuer: str) -> Provider:
    with _away_if_unclear():
        answer = await client.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        provider = Provider.model_validate_json(answer.raise_for_status().content)
        if provider.issuer != issuer:
            msg = "issuer"
            raise ValueError(msg)
    return provider


async def _claims(desk: Desk, begun: UnderWay, code: str) -> Mapping[str, Any]:
    """Return what the provider says of who came back with this code.

    Raises:
        NotPermitted: it does not know the code, or the ID token is not its word, for this desk, in this sign-in, now.
        Unavailable: it does not answer.

    """
    issuer = _issuer(desk)
    async with _client() as client:
        provider = await _discover(client, issuer)
        id_token = await _id_token(client, provider, desk, begun=begun, code=code)
        with _away_if_unclear():
            keys = KeySet.import_key_set((await client.get(provider.jwks_uri)).raise_for_status().json())
    try:
        token = jwt.decode(id_token, keys, algorithms=_ALGORITHMS)
        only = {"iss": issuer, "aud": desk.settings.oidc_client_id, "nonce": begun.nonce}
        claims = CodeIDToken(
            token.claims,
            token.header,
            {name: {"essential": True, "value": value} for name, value in only.items()},
            {"client_id": desk.settings.oidc_client_id},
        )
        claims.validate(leeway=_LEEWAY_S)
    except (JoseError, ValueError) as error:
        msg = f"sign-in: the provider's word is not good here ({type(error).__name__})"
        raise NotPermitted(msg) from error
    return dict(claims)


async def _id_token(client: httpx.AsyncClient, provider: Provider, desk: Desk, *, begun: UnderWay, code: str) -> str:
    known_as = desk.settings.oidc_client_id or ""
    asked = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": _redirect_uri(desk),
        "code_verifier": begun.verifier,
        "client_id": known_as,
    }
    with _away_if_unclear():
        answer = await client.post(
            provider.token_endpoint, data=asked, auth=_credentials(known_as, desk.settings.oidc_client_secret)
        )
        if answer.is_client_error:
            msg = "sign-in: the provider does not know this code, or knows it as used; begin again"
            raise NotPermitted(msg)
        return str(answer.raise_for_status().json()["id_token"])


def _credentials(known_as: str, secret: SecretStr | None) -> httpx.Auth:
    """Return the client's name and secret, spelled as in a form (RFC 6749, section 2.3.1)."""
    if secret is None:
        return httpx.Auth()
    return httpx.BasicAuth(quote(known_as, safe=""), quote(secret.get_secret_value(), safe=""))


# --- who that is here -------------------------------------------------------------------------------------------------
async def _account(desk: Desk, claims: Mapping[str, Any]) -> Account:
    """Return the account of this person, made or brought up to date.

    Raises:
        NotPermitted: it is closed, or what the provider says makes no account.

    """
    accounts, roles = desk.store.accounts, _roles(claims.get(desk.settings.oidc_roles_claim))
    subject = _subject(claims)
    known = await accounts.known_as(subject)
    if known is None:
        account_id = _account_id(claims.get(desk.settings.oidc_account_claim))
        return await accounts.add(account_id, roles, desk.clock(), subject=subject)
    if known.disabled:
        msg = "sign-in: this account is closed"
        raise NotPermitted(msg)
    if known.roles != roles:
        await accounts.set_roles(known.account_id, roles)
    return replace(known, roles=roles)


def _subject(claims: Mapping[str, Any]) -> str:
    """Return the one name that the provider never gives to two people."""
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= _MAX_SUBJECT:
        msg = "sub: the provider names nobody"
        raise NotPermitted(msg)
    return f"{claims['iss']} {subject}"


def _account_id(claim: object) -> str:
    try:
        return _REF.validate_python(claim, strict=True)
    except ValidationError:
        msg = "account: the provider's name for this person cannot be an account here: letters, digits and ._:/@+- only"
        raise NotPermitted(msg) from None


def _roles(claim: object) -> frozenset[Role]:
    try:
        return frozenset(map(Role, _ROLES.validate_python(claim, strict=True)))
    except ValueError:
        msg = "roles: the provider gives this person roles that this desk does not know, or none"
        raise NotPermitted(msg) from None


_REF: Final = TypeAdapter[str](Ref)
_ROLES: Final = TypeAdapter(list[str])
