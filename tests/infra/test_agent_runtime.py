"""The hosted agent: who may call which runtime, and what each of the roles may do."""

import json
from typing import Any

import pytest

from tests.support.template import Properties, Template, synthesise, written

RUNTIMES = ("Guest", "Member")


def runtime(template: Template, name: str) -> tuple[str, Properties]:
    """Return a runtime's logical id and properties."""
    ((logical_id, found),) = (
        (logical_id, each["Properties"])
        for logical_id, each in template.resources("AWS::BedrockAgentCore::Runtime").items()
        if each["Properties"]["AgentRuntimeName"].endswith(name)
    )
    return logical_id, dict(found)


def role(template: Template, name: str) -> tuple[str, Properties]:
    """Return the logical id and properties of a runtime's role."""
    logical_id = str(runtime(template, name)[1]["RoleArn"]["Fn::GetAtt"][0])
    return logical_id, dict(template.body["Resources"][logical_id]["Properties"])


def statements(template: Template, name: str) -> list[Any]:
    """Return what a runtime's role may do by its own policy, beside writing its log."""
    logical_id, found = role(template, name)
    assert not [
        policy
        for policy in template.resources("AWS::IAM::Policy").values()
        if {"Ref": logical_id} in policy["Properties"]["Roles"]
    ]
    (policy,) = found["Policies"]
    return [
        written(each)
        for each in policy["PolicyDocument"]["Statement"]
        if "logs:" not in str(each["Action"])
    ]


ASK = {"Effect": "Allow", "Action": "bedrock:InvokeModelWithResponseStream"}
REGIONAL = "arn:${AWS::Partition}:bedrock:${AWS::Region}:"
ANY_REGION = "arn:${AWS::Partition}:bedrock:*::foundation-model/"
PROFILE = f"{REGIONAL}${{AWS::AccountId}}:inference-profile/eu.amazon.nova-lite-v1:0"
ASK_PROFILE = [
    ASK | {"Resource": PROFILE},
    ASK
    | {
        "Resource": f"{ANY_REGION}amazon.nova-lite-v1:0",
        "Condition": {"StringEquals": {"bedrock:InferenceProfileArn": PROFILE}},
    },
]


def test_guest_runtime_signs_guests_in_and_asks_the_model_and_nothing_more(
    hosted: Template,
) -> None:
    (policy,) = hosted.resources("AWS::IAM::ManagedPolicy")
    assert role(hosted, "Guest")[1]["ManagedPolicyArns"] == [{"Ref": policy}]
    assert statements(hosted, "Guest") == ASK_PROFILE


def test_member_runtime_reads_guests_and_asks_the_model_and_nothing_more(hosted: Template) -> None:
    assert "ManagedPolicyArns" not in role(hosted, "Member")[1]
    guests = written(hosted.arn(hosted.table("cognito_sub")))
    assert statements(hosted, "Member") == [
        *ASK_PROFILE,
        {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": guests},
    ]


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime_writes_its_own_log_and_no_other(hosted: Template, name: str) -> None:
    runtime_name = runtime(hosted, name)[1]["AgentRuntimeName"]
    (policy,) = role(hosted, name)[1]["Policies"]
    place = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:"
    own = f"{place}/aws/bedrock-agentcore/runtimes/{runtime_name}*"
    assert [
        (each["Action"], written(each["Resource"]))
        for each in policy["PolicyDocument"]["Statement"]
        if "logs:" in str(each["Action"])
    ] == [
        (["logs:CreateLogGroup", "logs:DescribeLogStreams"], own),
        (["logs:CreateLogStream", "logs:PutLogEvents"], f"{own}:log-stream:*"),
        ("logs:DescribeLogGroups", f"{place}*"),
    ]


@pytest.mark.parametrize("name", RUNTIMES)
def test_agentcore_alone_assumes_a_role_and_for_its_runtime(hosted: Template, name: str) -> None:
    runtime_name = runtime(hosted, name)[1]["AgentRuntimeName"]
    (statement,) = role(hosted, name)[1]["AssumeRolePolicyDocument"]["Statement"]
    assert written(statement) == {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "bedrock-agentcore.amazonaws.com"},
        "Condition": {
            "StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"},
            "ArnLike": {
                "aws:SourceArn": "arn:${AWS::Partition}:bedrock-agentcore:${AWS::Region}:"
                f"${{AWS::AccountId}}:runtime/{runtime_name}*"
            },
        },
    }


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        pytest.param("offline", [], id="the rule-based model"),
        pytest.param(
            "amazon.nova-lite-v1:0",
            [ASK | {"Resource": f"{REGIONAL}:foundation-model/amazon.nova-lite-v1:0"}],
            id="a model of the region",
        ),
        pytest.param("eu.amazon.nova-lite-v1:0", ASK_PROFILE, id="a profile"),
        pytest.param(
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
            [
                ASK
                | {
                    "Resource": "arn:aws:bedrock:eu-west-1:123456789012:"
                    "inference-profile/eu.amazon.nova-lite-v1:0"
                },
                ASK
                | {
                    "Resource": f"{ANY_REGION}amazon.nova-lite-v1:0",
                    "Condition": {
                        "StringEquals": {
                            "bedrock:InferenceProfileArn": "arn:aws:bedrock:eu-west-1:123456789012:"
                            "inference-profile/eu.amazon.nova-lite-v1:0"
                        }
                    },
                },
            ],
            id="a profile's ARN",
        ),
        pytest.param(
            "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3",
            [
                ASK
                | {
                    "Resource": "arn:aws:bedrock:eu-west-1:123456789012:"
                    "application-inference-profile/a1b2c3"
                },
                ASK
                | {
                    "Resource": f"{ANY_REGION}*",
                    "Condition": {
                        "StringEquals": {
                            "bedrock:InferenceProfileArn": "arn:aws:bedrock:eu-west-1:123456789012:"
                            "application-inference-profile/a1b2c3"
                        }
                    },
                },
            ],
            id="a profile of one's own",
        ),
    ],
)
def test_runtimes_may_ask_this_model_and_no_other(model_id: str, expected: list[Any]) -> None:
    template = synthesise(agent=True, model_id=model_id)
    assert statements(template, "Guest") == expected
    assert runtime(template, "Guest")[1]["EnvironmentVariables"]["MODEL_ID"] == model_id


@pytest.mark.parametrize("name", RUNTIMES)
def test_both_run_one_bundle_with_the_deployments_settings(hosted: Template, name: str) -> None:
    properties = runtime(hosted, name)[1]
    code = properties["AgentRuntimeArtifact"]["CodeConfiguration"]
    assert (code["EntryPoint"], code["Runtime"]) == (["main.py"], "PYTHON_3_13")
    other = runtime(hosted, next(each for each in RUNTIMES if each != name))[1]
    assert code == other["AgentRuntimeArtifact"]["CodeConfiguration"]
    outputs = {key: written(each["Value"]) for key, each in hosted.body["Outputs"].items()}
    newcomers = {"MAX_NEW_GUESTS_PER_HOUR": "200"} if name == "Guest" else {}
    assert written(properties["EnvironmentVariables"]) == newcomers | {
        "AWS_REGION": "${AWS::Region}",
        "USER_POOL_ID": outputs["UserPoolId"],
        "USER_POOL_CLIENT_ID": outputs["UserPoolClientId"],
        "GUESTS_TABLE_NAME": outputs["GuestsTableName"],
        "MODEL_ID": "eu.amazon.nova-lite-v1:0",
        "APP_NAME": "example.com",
    }


def test_guest_runtime_creates_as_many_users_as_the_stack_is_told() -> None:
    template = synthesise(agent=True, model_id="offline", max_new_guests_per_hour=20)
    environment = runtime(template, "Guest")[1]["EnvironmentVariables"]
    assert environment["MAX_NEW_GUESTS_PER_HOUR"] == "20"


@pytest.mark.parametrize("name", RUNTIMES)
def test_sign_in_outlasts_a_guest_who_looks_for_the_mail(hosted: Template, name: str) -> None:
    """Pending sign-ins are in the process's memory: longer than the longest code lives."""
    lifecycle = runtime(hosted, name)[1]["LifecycleConfiguration"]
    assert lifecycle == {"IdleRuntimeSessionTimeout": 900}


def test_member_runtime_takes_this_clients_tokens_and_hands_them_on(hosted: Template) -> None:
    properties = written(runtime(hosted, "Member")[1])
    assert properties["AuthorizerConfiguration"] == {
        "CustomJWTAuthorizer": {
            "AllowedClients": [written(hosted.body["Outputs"]["UserPoolClientId"]["Value"])],
            "DiscoveryUrl": "https://cognito-idp.${AWS::Region}.amazonaws.com/"
            f"{written(hosted.body['Outputs']['UserPoolId']['Value'])}"
            "/.well-known/openid-configuration",
        }
    }
    headers = properties["RequestHeaderConfiguration"]
    assert headers == {"RequestHeaderAllowlist": ["Authorization"]}


def test_guest_runtime_takes_iam_credentials_and_hands_no_header_on(hosted: Template) -> None:
    properties = runtime(hosted, "Guest")[1]
    assert not {"AuthorizerConfiguration", "RequestHeaderConfiguration"} & set(properties)


@pytest.mark.parametrize("name", RUNTIMES)
def test_callers_send_messages_and_nothing_else(hosted: Template, name: str) -> None:
    """A shell or a command would run in the runtime, with its role."""
    arn = f"${{{runtime(hosted, name)[0]}.AgentRuntimeArn}}"
    (policy,) = (
        written(each["Properties"])
        for each in hosted.resources("AWS::BedrockAgentCore::ResourcePolicy").values()
        if written(each["Properties"]["ResourceArn"]) == arn
    )
    (guests,) = hosted.resources("AWS::Cognito::IdentityPoolRoleAttachment").values()
    guest_role = written(guests["Properties"]["Roles"]["unauthenticated"])
    denied = [
        "InvokeAgentRuntimeCommand",
        "InvokeAgentRuntimeCommandShell",
        "InvokeAgentRuntimeForUser",
        "InvokeAgentRuntimeWithWebSocketStream",
        "InvokeAgentRuntimeWithWebSocketStreamForUser",
        "StopRuntimeSession",
    ]
    assert json.loads(policy["Policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": guest_role} if name == "Guest" else "*",
                "Action": "bedrock-agentcore:InvokeAgentRuntime",
                "Resource": arn,
            },
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": [f"bedrock-agentcore:{operation}" for operation in denied],
                "Resource": arn,
            },
        ],
    }


def test_anybody_has_guest_credentials_which_open_the_guest_runtime_alone(
    hosted: Template,
) -> None:
    ((pool, found),) = hosted.resources("AWS::Cognito::IdentityPool").items()
    assert found["Properties"] == {
        "AllowClassicFlow": True,
        "AllowUnauthenticatedIdentities": True,
    }
    attachment = hosted.only("AWS::Cognito::IdentityPoolRoleAttachment")["Properties"]
    assert attachment["IdentityPoolId"] == {"Ref": pool}
    ((kind, arn),) = attachment["Roles"].items()
    assert kind == "unauthenticated"
    guest_role = arn["Fn::GetAtt"][0]
    properties = hosted.body["Resources"][guest_role]["Properties"]
    assert set(properties) == {"AssumeRolePolicyDocument"}
    (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": "cognito-identity.amazonaws.com"},
        "Condition": {
            "StringEquals": {"cognito-identity.amazonaws.com:aud": {"Ref": pool}},
            "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"},
        },
    }
    (policy,) = (
        each["Properties"]
        for each in hosted.resources("AWS::IAM::Policy").values()
        if {"Ref": guest_role} in each["Properties"]["Roles"]
    )
    arn = f"${{{runtime(hosted, 'Guest')[0]}.AgentRuntimeArn}}"
    assert [written(each) for each in policy["PolicyDocument"]["Statement"]] == [
        {
            "Effect": "Allow",
            "Action": "bedrock-agentcore:InvokeAgentRuntime",
            "Resource": [arn, f"{arn}/*"],  # its endpoints
        }
    ]


def test_outputs_name_what_a_page_of_ones_own_needs(hosted: Template) -> None:
    outputs = {name: written(each["Value"]) for name, each in hosted.body["Outputs"].items()}
    for name in RUNTIMES:
        arn = f"${{{runtime(hosted, name)[0]}.AgentRuntimeArn}}"
        assert outputs[f"{name}RuntimeArn"] == arn
    (pool,) = hosted.resources("AWS::Cognito::IdentityPool")
    assert outputs["IdentityPoolId"] == f"${{{pool}}}"
    assert "WebUrl" in outputs


def test_stack_without_the_agent_has_nothing_of_it(aws: Template) -> None:
    kinds = {each["Type"] for each in aws.body["Resources"].values()}
    assert not {kind for kind in kinds if "BedrockAgentCore" in kind or "Identity" in kind}
    assert not {"GuestRuntimeArn", "MemberRuntimeArn", "IdentityPoolId"} & set(aws.body["Outputs"])
