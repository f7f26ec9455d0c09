"""A user pool whose triggers do what a test says, for what Cognito makes of that."""

import io
import json
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.deployment import Deployment, http, new_address

RIGHT = "open sesame"
_SOURCE = """
import json, os, time
from pathlib import Path

HOME = Path(os.environ["SCRIPT_HOME"])

def handler(event, context):
    trigger = event["triggerSource"].partition("_")[0]
    with open(HOME / "journal", "a") as journal:
        journal.write(json.dumps(event) + "\\n")
    calls = sum(f'"{trigger}_' in line for line in open(HOME / "journal"))
    script = json.loads((HOME / "script").read_text()).get(trigger, {})
    if calls <= script.get("slow_calls", 0):
        time.sleep(script["seconds"])
    if "error" in script:
        raise ValueError(script["error"])
    if "output" in script:
        return script["output"]
    request, response = event["request"], event["response"]
    if trigger == "DefineAuthChallenge":
        rounds = request["session"]
        response["issueTokens"] = bool(rounds) and rounds[-1]["challengeResult"] is True
        response["failAuthentication"] = False
        response["challengeName"] = None if response["issueTokens"] else "CUSTOM_CHALLENGE"
    elif trigger == "CreateAuthChallenge":
        response["publicChallengeParameters"] = {"hint": "two words"}
        response["privateChallengeParameters"] = {"answer": os.environ["RIGHT"]}
        response["challengeMetadata"] = "opened"
    else:
        private = request["privateChallengeParameters"]
        response["answerCorrect"] = request["challengeAnswer"] == private["answer"]
    event["response"] |= script.get("response", {})
    return event
"""
_TRIGGERS = ("DefineAuthChallenge", "CreateAuthChallenge", "VerifyAuthChallengeResponse")

type Play[T] = Callable[["ScriptedPool"], T]


@dataclass(frozen=True)
class ScriptedPool:
    """A pool, its app client and its triggers.

    Attributes:
        aws: Where it is.
        home: Where the triggers find what to do, and note what they were called with.
    """

    aws: Deployment
    home: Path
    pool_id: str
    client_id: str

    @classmethod
    def make(cls, aws: Deployment, home: Path, *, name: str = "scripted") -> "ScriptedPool":
        """Make one like the stack's, under a name that the AWS has not yet."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as bundle:
            bundle.writestr("scripted.py", _SOURCE)
        role = aws.client("iam").create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Service": "lambda.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    },
                }
            ),
        )["Role"]["Arn"]
        function = aws.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="scripted.handler",
            Role=role,
            Timeout=30,
            Code={"ZipFile": packed.getvalue()},
            Environment={"Variables": {"SCRIPT_HOME": str(home), "RIGHT": RIGHT}},
        )["FunctionArn"]
        pool_id = aws.cognito.create_user_pool(
            PoolName=name,
            UsernameAttributes=["email"],
            UsernameConfiguration={"CaseSensitive": False},
            AdminCreateUserConfig={"AllowAdminCreateUserOnly": True},
            LambdaConfig=dict.fromkeys(_TRIGGERS, function),  # type: ignore[arg-type]
        )["UserPool"]["Id"]
        return cls(aws, home, pool_id, "").with_client()

    def with_client(self, **settings: Any) -> "ScriptedPool":
        """Return the pool through another app client."""
        usual = {
            "ClientName": "scripted",
            "ExplicitAuthFlows": ["ALLOW_CUSTOM_AUTH"],
            "PreventUserExistenceErrors": "ENABLED",
            "WriteAttributes": ["name"],
        }
        created = self.aws.cognito.create_user_pool_client(
            UserPoolId=self.pool_id, **(usual | settings)
        )
        return replace(self, client_id=created["UserPoolClient"]["ClientId"])

    def play(self, **script: dict[str, Any]) -> None:
        """Say what the triggers do, by their names, and forget what they did."""
        (self.home / "script").write_text(json.dumps(script))
        (self.home / "journal").write_text("")

    def events(self, trigger: str) -> list[dict[str, Any]]:
        """Return what a trigger was called with, the first call first."""
        events = map(json.loads, (self.home / "journal").read_text().splitlines())
        return [event for event in events if event["triggerSource"].startswith(trigger)]

    def new_user(self) -> str:
        """Make a user; returns the address."""
        address = new_address()
        self.aws.cognito.admin_create_user(
            UserPoolId=self.pool_id,
            Username=address,
            MessageAction="SUPPRESS",
            UserAttributes=[
                {"Name": "email", "Value": address},
                {"Name": "email_verified", "Value": "false"},
            ],
        )
        return address

    def sub(self, name: str) -> str:
        """Return a user's username."""
        user = self.aws.cognito.admin_get_user(UserPoolId=self.pool_id, Username=name)
        return user["Username"]

    def initiate(self, name: str, **more: Any) -> dict[str, Any]:
        """Call `InitiateAuth`."""
        return dict(
            self.aws.cognito.initiate_auth(
                ClientId=self.client_id,
                AuthFlow="CUSTOM_AUTH",
                AuthParameters={"USERNAME": name},
                **more,
            )
        )

    def answer(
        self, challenge: dict[str, Any], answer: str, name: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """Call `RespondToAuthChallenge`; by default under the name that the challenge gave."""
        name = name or challenge["ChallengeParameters"]["USERNAME"]
        return dict(
            self.aws.cognito.respond_to_auth_challenge(
                ClientId=self.client_id,
                ChallengeName="CUSTOM_CHALLENGE",
                Session=challenge["Session"],
                ChallengeResponses={"USERNAME": name, "ANSWER": answer},
                **more,
            )
        )

    def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Call an operation of Cognito with parameters that boto3 would not let through."""
        called = http.post(
            self.aws.outputs["endpoint_url"],
            headers={
                "X-Amz-Target": f"AWSCognitoIdentityProviderService.{operation}",
                "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/"
                "cognito-idp/aws4_request, SignedHeaders=host, Signature=0",
            },
            json={"UserPoolId": self.pool_id, **parameters},
        )
        answer: dict[str, Any] = called.raise_for_status().json()
        return answer

    def sign_in(self) -> dict[str, Any]:
        """Sign a new user in; returns the `AuthenticationResult`."""
        address = self.new_user()
        tokens = self.answer(self.initiate(address), RIGHT, self.sub(address))
        return dict(tokens["AuthenticationResult"])

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """Call `GetTokensFromRefreshToken`; returns the `AuthenticationResult`."""
        refreshed = self.aws.cognito.get_tokens_from_refresh_token(
            RefreshToken=refresh_token, ClientId=self.client_id
        )
        return dict(refreshed["AuthenticationResult"])


def refusal_by_rule(play: Play[object], strict: ScriptedPool, bare: ScriptedPool) -> str:
    """Play the same on both; returns the name and text of the error under AWS's rules.

    It fails where MiniStack as it comes refuses alike: then a release of it has the rule.
    """
    with ThreadPoolExecutor() as at_once:
        on_bare = at_once.submit(play, bare)
        told = refusal(play, strict)
        try:
            on_bare.result()
        except ClientError as error:
            if error.response["Error"]["Code"] != told.partition(":")[0]:
                raise
            pytest.fail(f"MiniStack itself says no now, {error}: the rule can go")
    return told


def refusal(play: Play[object], pool: ScriptedPool) -> str:
    """Return the name and text of the error that a play ends with."""
    with pytest.raises(ClientError) as refused:
        play(pool)
    error = refused.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"
