"""Tokens that nobody issued, or not for this: each is refused with a reason, none is anonymous."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from agent.sign_in.settings import Settings
from tests.support.attacks import Member, assemble, bearer, claims_of, post, refused
from tests.support.deployment import Deployment
from tests.support.fakes import Clock, Signer
from tests.support.serving import KeyServer


def test_t25_good_token_of_the_tests_key_is_taken(
    signed_url: str, settings: Settings, signer: Signer
) -> None:
    """T25: else the refusals below would prove nothing."""
    access_token = signer.sign(claims_of(settings))
    assert post(signed_url, {"prompt": "Hi"}, bearer(access_token)).status_code == 200


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "HS256", "RS512", None, 1, []])
def test_t25_algorithm_is_not_the_callers_choice(
    signed_url: str, settings: Settings, signer: Signer, alg: object
) -> None:
    """T25: unsigned, or signed with another algorithm than the pool's."""
    header = {"alg": alg, "kid": signer.key_id, "typ": "JWT"}
    assert refused(signed_url, assemble(header, claims_of(settings))) in {"alg", "token"}


def test_t25_public_key_is_no_shared_secret(
    signed_url: str, settings: Settings, signer: Signer
) -> None:
    """T25: HS256, with each form of the public key as the HMAC key."""
    public_key = signer.private_key.public_key()
    encodings = (serialization.Encoding.PEM, serialization.Encoding.DER)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    forms = [public_key.public_bytes(encoding, form) for encoding in encodings]
    for key in (
        *forms,
        forms[0].strip(),
        signer.jwk["n"].encode(),
        json.dumps(signer.jwk).encode(),
    ):
        access_token = assemble(
            {"alg": "HS256", "kid": signer.key_id}, claims_of(settings), key=key
        )
        assert refused(signed_url, access_token) == "alg"


def test_t25_foreign_key_is_not_trusted_whatever_the_header_says(
    signed_url: str, settings: Settings, signer: Signer
) -> None:
    """T25: neither under the pool's key id, nor with the key or an address of it enclosed."""
    foreign = Signer(signer.key_id)
    claims = claims_of(settings)
    enclosed = KeyServer(foreign.jwks["keys"])
    with enclosed.running() as jwks_url:
        for header in (
            {},
            {"jwk": foreign.jwk},
            {"jku": jwks_url},
            {"x5u": jwks_url},
            {"jku": jwks_url, "kid": "another"},
            {"jwk": foreign.jwk, "kid": jwks_url},
        ):
            assert refused(signed_url, foreign.sign(claims, **header)) in {"signature", "kid"}
    assert enclosed.fetches == 0


def test_t25_changed_claims_break_the_signature(agent_url: str, ada: Member, bob: Member) -> None:
    """T25: one guest's token does not become another's."""
    header, payload, signature = ada.access_token.split(".")
    claims = jwt.decode(ada.access_token, options={"verify_signature": False})
    changed = assemble({}, claims | {"sub": bob.sub}).split(".")[1]

    assert refused(agent_url, f"{header}.{changed}.{signature}") == "signature"
    assert refused(agent_url, f"{header}.{payload}.") in {"signature", "token"}
    assert refused(agent_url, f"{header}.{payload}.{bob.access_token.split('.')[2]}") == "signature"


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"token_use": "id"}, "token_use"),
        ({"token_use": None}, "token_use"),
        ({"client_id": "another"}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Another1"}, "iss"),
        ({"iss": None}, "iss"),
        ({"exp": int(time.time()) - 3600}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "never"}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"nbf": int(time.time()) + 3600}, "nbf"),
        ({"iat": int(time.time()) + 3600}, "iat"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": ["a"]}, "sub"),
        ({"sub": {"a": 1}}, "sub"),
    ],
)
def test_t26_token_of_the_right_key_with_a_wrong_claim_is_refused(
    signed_url: str, settings: Settings, signer: Signer, changes: dict[str, Any], claim: str
) -> None:
    """T26: and the refusal names the claim."""
    raw = jwt.api_jws.encode(
        json.dumps(claims_of(settings, **changes)).encode(),
        signer.private_key,
        algorithm="RS256",
        headers={"kid": signer.key_id},
    )
    assert refused(signed_url, raw) == claim


def test_t26_id_and_refresh_tokens_are_no_access_tokens(agent_url: str, ada: Member) -> None:
    """T26: the pool's own, signed with the right key."""
    assert refused(agent_url, ada.event["id_token"]) == "token_use"
    # Cognito encrypts its refresh tokens; MiniStack signs them with the key of the others.
    assert refused(agent_url, ada.event["refresh_token"]) in {"token", "alg", "token_use"}


def test_t26_token_for_another_client_of_the_pool_is_refused(
    stack: Deployment, agent_url: str
) -> None:
    """T26: signed by the pool, for an app that is not ours."""
    pool, address = stack.outputs["UserPoolId"], stack.new_user()
    client = stack.cognito.create_user_pool_client(
        UserPoolId=pool,
        ClientName="another",
        ExplicitAuthFlows=["ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
    )["UserPoolClient"]["ClientId"]
    try:
        challenge = stack.cognito.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=client,
            AuthFlow="CUSTOM_AUTH",
            AuthParameters={"USERNAME": address},
        )
        answered = stack.cognito.admin_respond_to_auth_challenge(
            UserPoolId=pool,
            ClientId=client,
            ChallengeName="CUSTOM_CHALLENGE",
            Session=challenge["Session"],
            ChallengeResponses={"USERNAME": address, "ANSWER": stack.code_mailed_to(address)},
        )
    finally:
        stack.cognito.delete_user_pool_client(UserPoolId=pool, ClientId=client)

    assert refused(agent_url, answered["AuthenticationResult"]["AccessToken"]) == "client_id"


def test_t27_flood_of_unknown_keys_fetches_once_a_minute(
    signed_url: str, settings: Settings, signer: Signer, key_server: KeyServer, key_clock: Clock
) -> None:
    """T27: at once and in a row; known keys go on working, also while the endpoint is down."""
    known = signer.sign(claims_of(settings))
    assert post(signed_url, {"prompt": "Hi"}, bearer(known)).status_code == 200

    def flood() -> set[str]:
        forged = [signer.sign(claims_of(settings), kid=f"unknown-{n}") for n in range(20)]
        with ThreadPoolExecutor(8) as pool:
            return set(pool.map(lambda each: refused(signed_url, each), forged))

    flood()
    for _ in range(2):
        key_clock.now += 61
        before = key_server.fetches
        assert flood() == {"kid"}
        assert key_server.fetches == before + 1

    key_server.keys = None
    try:
        key_clock.now += 61
        before = key_server.fetches
        for number in range(5):
            forged = signer.sign(claims_of(settings), kid=f"down-{number}")
            response = post(signed_url, {"prompt": "When are you open?"}, bearer(forged))
            assert response.status_code == 503
            assert "7:00" not in response.text
        assert post(signed_url, {"prompt": "Hi"}, bearer(known)).status_code == 200
        assert key_server.fetches == before + 1
    finally:
        key_server.keys = signer.jwks["keys"]
    key_clock.now += 61
    assert refused(signed_url, signer.sign(claims_of(settings), kid="up again")) == "kid"


def test_t27_known_keys_go_on_working_while_the_endpoint_keeps_a_flood_waiting(
    signed_url: str, settings: Settings, signer: Signer, key_server: KeyServer, key_clock: Clock
) -> None:
    """T27: the tools too, which read her guest record here."""
    known = signer.sign(claims_of(settings))
    assert post(signed_url, {"prompt": "Hi"}, bearer(known)).status_code == 200
    key_clock.now += 61
    before = key_server.fetches
    forged = [signer.sign(claims_of(settings), kid=f"waiting-{n}") for n in range(40)]
    key_server.open.clear()
    with ThreadPoolExecutor(len(forged)) as pool:
        try:
            waiting = [
                pool.submit(post, signed_url, {"prompt": "Hi"}, bearer(each)) for each in forged
            ]
            while key_server.fetches == before:
                time.sleep(0.01)
            answer = post(signed_url, {"prompt": "Show my profile"}, bearer(known))
            assert answer.status_code == 200
            assert '"signed_in"' in answer.text
            assert not any(each.done() for each in waiting)
        finally:
            key_server.open.set()
        assert {each.result().status_code for each in waiting} <= {401, 503}
