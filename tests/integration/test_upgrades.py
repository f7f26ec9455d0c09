"""Deployments one after the other: a repeat changes nothing, a change loses nobody."""

from pathlib import Path

from infra.local import deployment
from tests.support.deployment import Deployment


def test_codes_out_and_sessions_survive_a_deployment_with_other_settings(tmp_path: Path) -> None:
    with deployment.deployed(tmp_path) as outputs:
        port = int(outputs["endpoint_url"].rpartition(":")[2])
        before = Deployment(outputs)
        address, signed_in = before.new_user(), before.new_user()
        under_way = before.initiate(address)
        code = before.code_mailed_to(address)
        challenge = before.initiate(signed_in)
        tokens = before.respond(challenge, before.code_mailed_to(signed_in))["AuthenticationResult"]

        again = deployment.deploy(tmp_path, port=port)
        assert "(no changes)" in (tmp_path / "cdk.log").read_text()

        changed = {"code_length": "8", "max_attempts": "1", "access_token_minutes": "5"}
        after = Deployment(deployment.deploy(tmp_path, port=port, context=changed))
        assert "(no changes)" not in (tmp_path / "cdk.log").read_text()
        assert after.outputs == again == outputs

        answered = after.respond(under_way, code)
        assert (
            after.verified_claims(answered["AuthenticationResult"]["IdToken"])["email"] == address
        )
        refreshed = after.cognito.get_tokens_from_refresh_token(
            RefreshToken=tokens["RefreshToken"], ClientId=outputs["UserPoolClientId"]
        )
        assert refreshed["AuthenticationResult"]["AccessToken"]
        another = after.new_user()
        after.initiate(another)
        assert len(after.code_mailed_to(another)) == 8
