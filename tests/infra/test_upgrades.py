"""What a deployment holds on to: no setting and no release puts a new one in its place.

`kept_resources.json` has what users, guests, tokens and codes out depend on: the logical ids, and
the properties that CloudFormation makes a new resource for, or that cannot be changed at all. A
difference would end every session, or lose every guest: CONTRIBUTING says what to do instead.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.template import Template, synthesise, written

SNAPSHOT = Path(__file__).with_name("kept_resources.json")
# "Update requires: Replacement" in the resources' reference, and what is fixed once there is data.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html
FIXED = {
    "AWS::Cognito::UserPool": {
        "AliasAttributes",
        "IssuerConfiguration",
        "Schema",
        "UsernameAttributes",
        "UsernameConfiguration",
    },
    "AWS::Cognito::UserPoolClient": {"GenerateSecret", "UserPoolId"},
    "AWS::Cognito::IdentityPool": set[str](),
    "AWS::DynamoDB::Table": {
        "AttributeDefinitions",
        "ImportSourceSpecification",
        "KeySchema",
        "LocalSecondaryIndexes",
        "TableName",
    },
    # A changed GenerateSecretString makes a new key.
    "AWS::SecretsManager::Secret": {"GenerateSecretString", "KmsKeyId", "Name", "SecretString"},
    "AWS::BedrockAgentCore::Runtime": {"AgentRuntimeName"},
    "AWS::S3::Bucket": {"BucketName"},
    "AWS::CloudFront::Distribution": set[str](),
}
OTHER_SETTINGS: list[dict[str, Any]] = [
    {},
    {
        "create_sender_identity": True,
        "app_name": "Guest desk",
        "code_length": 10,
        "code_ttl_seconds": 600,
        "max_attempts": 1,
        "max_sends_per_hour": 5,
        "access_token_minutes": 60,
        "refresh_token_days": 1,
        "refresh_token_rotation": False,
        "alarm_email": "ops@example.com",
        "removal_policy": "protect",
        "waf": True,
    },
    {"agent": True, "model_id": "offline", "removal_policy": "destroy"},
    {"agent": True, "model_id": "amazon.nova-lite-v1:0", "web": True},
]


def kept(template: Template) -> dict[str, Any]:
    return {
        name: {"Type": each["Type"]}
        | {
            key: written(value)
            for key, value in sorted(each["Properties"].items())
            if key in FIXED[each["Type"]]
        }
        for name, each in sorted(template.body["Resources"].items())
        if each["Type"] in FIXED
    }


def test_snapshot_is_of_everything_there_is(hosted: Template) -> None:
    assert kept(hosted) == json.loads(SNAPSHOT.read_text())


@pytest.mark.parametrize("settings", OTHER_SETTINGS)
def test_no_setting_puts_another_resource_in_ones_place(settings: dict[str, Any]) -> None:
    found = kept(synthesise(**settings))
    assert found.items() <= json.loads(SNAPSHOT.read_text()).items()
    assert {each["Type"] for each in found.values()} >= {
        "AWS::Cognito::UserPool",
        "AWS::Cognito::UserPoolClient",
        "AWS::DynamoDB::Table",
        "AWS::SecretsManager::Secret",
    }
