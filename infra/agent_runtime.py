"""The agent on Amazon Bedrock AgentCore, twice: for guests, and for members.

AgentCore takes one kind of caller a runtime. Guests call theirs with credentials that an identity
pool gives to anybody, members call theirs with their access token. Both run the same bundle, each
under a role of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import ArnFormat, Duration, Names, Stack
from aws_cdk import aws_bedrockagentcore as agentcore
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import bundling
from infra.email_otp_user_pool import EmailOtpUserPool
from infra.guest_table import GuestTable

# Pending sign-ins and chats live in the process, so it must outlast a guest who looks for the mail.
_IDLE_SECONDS = 900
_OFFLINE = "offline"
# Prefixes of the inference profiles that AWS itself offers.
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_GEOGRAPHIES = ("us", "us-gov", "eu", "apac", "au", "ca", "jp", "global")
# What a caller could do beside sending messages. A shell or a command runs in the runtime, with
# its role. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrockagentcore.html
_NEVER = [
    f"bedrock-agentcore:{operation}"
    for operation in (
        "InvokeAgentRuntimeCommand",
        "InvokeAgentRuntimeCommandShell",
        "InvokeAgentRuntimeForUser",
        "InvokeAgentRuntimeWithWebSocketStream",
        "InvokeAgentRuntimeWithWebSocketStreamForUser",
        "StopRuntimeSession",
    )
]


class AgentRuntime(Construct):
    """Both runtimes, and the identity pool whose guests may call the first.

    Attributes:
        guest: The runtime that signs guests in; called with IAM credentials.
        member: The runtime of who is signed in; called with their access token.
        identity_pool: Gives guest credentials, by its classic flow.
        guest_role: The role of these credentials.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        sign_in: EmailOtpUserPool,
        guests: GuestTable,
        sign_in_policy: iam.IManagedPolicy,
        model_id: str,
        app_name: str,
        max_new_guests_per_hour: int,
    ) -> None:
        """Create them.

        Args:
            scope: The construct it belongs to.
            construct_id: Its name there.
            sign_in: The pool that guests sign in to.
            guests: The guests' table.
            sign_in_policy: What an agent that signs guests in may do.
            model_id: Id or ARN of a Bedrock model or inference profile, or `offline`.
            app_name: What the assistant calls the house it speaks for.
            max_new_guests_per_hour: Most users that the guest runtime creates in a clock hour.
        """
        super().__init__(scope, construct_id)
        self._bundle = str(bundling.build_agent())
        self._environment = {
            "AWS_REGION": Stack.of(self).region,
            "USER_POOL_ID": sign_in.user_pool.user_pool_id,
            "USER_POOL_CLIENT_ID": sign_in.user_pool_client.user_pool_client_id,
            "GUESTS_TABLE_NAME": guests.table.table_name,
            "MODEL_ID": model_id,
            "APP_NAME": app_name,
        }
        self._model = _model_statements(Stack.of(self), model_id)
        read_guests = iam.PolicyStatement(
            actions=["dynamodb:GetItem"], resources=[guests.table.table_arn]
        )
        self.guest = self._make_runtime(
            "Guest",
            managed_policies=[sign_in_policy],
            environment={"MAX_NEW_GUESTS_PER_HOUR": str(max_new_guests_per_hour)},
        )
        self.member = self._make_runtime(
            "Member",
            statements=[read_guests],
            authorizer_configuration=agentcore.RuntimeAuthorizerConfiguration.using_cognito(
                sign_in.user_pool, [sign_in.user_pool_client]
            ),
            request_header_configuration=agentcore.RequestHeaderConfiguration(
                allowlisted_headers=["Authorization"]
            ),
        )
        self.identity_pool, self.guest_role = self._make_guest_access()
        self._allow_messages_alone("Guest", self.guest, {"AWS": self.guest_role.role_arn})
        # A token's bearer has no policy of their own that could allow it.
        self._allow_messages_alone("Member", self.member, "*")

    def _make_runtime(
        self,
        name: str,
        *,
        statements: Sequence[iam.PolicyStatement] = (),
        managed_policies: Sequence[iam.IManagedPolicy] = (),
        environment: Mapping[str, str] | None = None,
        **configuration: Any,
    ) -> agentcore.Runtime:
        runtime_name = f"{Names.unique_resource_name(self, max_length=40)}{name}"
        runtimes = Stack.of(self).format_arn(
            service="bedrock-agentcore", resource="runtime", resource_name=f"{runtime_name}*"
        )
        role = iam.Role(
            self,
            f"{name}Role",
            assumed_by=iam.ServicePrincipal(
                "bedrock-agentcore.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": Stack.of(self).account},
                    "ArnLike": {"aws:SourceArn": runtimes},
                },
            ),
            managed_policies=list(managed_policies),
            inline_policies={
                "Agent": iam.PolicyDocument(
                    statements=[*self._log_statements(runtime_name), *self._model, *statements]
                )
            },
        )
        return agentcore.Runtime(
            self,
            name,
            runtime_name=runtime_name,
            agent_runtime_artifact=agentcore.AgentRuntimeArtifact.from_code_asset(
                path=self._bundle,
                runtime=agentcore.AgentCoreRuntime.PYTHON_3_13,
                entrypoint=["main.py"],
            ),
            # Else the construct lets it read the bucket of all assets, and get workload tokens.
            execution_role=role.without_policy_updates(),
            environment_variables=self._environment | dict(environment or {}),
            lifecycle_configuration=agentcore.LifecycleConfiguration(
                idle_runtime_session_timeout=Duration.seconds(_IDLE_SECONDS)
            ),
            **configuration,
        )

    def _make_guest_access(self) -> tuple[cognito.CfnIdentityPool, iam.Role]:
        """Let anybody have credentials, which open the guest runtime and nothing else."""
        identity_pool = cognito.CfnIdentityPool(
            self,
            "Guests",
            allow_unauthenticated_identities=True,
            # The enhanced flow cuts credentials down to a list of services without AgentCore.
            # https://docs.aws.amazon.com/cognito/latest/developerguide/iam-roles.html
            allow_classic_flow=True,
        )
        role = iam.Role(
            self,
            "IdentityRole",
            assumed_by=iam.WebIdentityPrincipal(
                "cognito-identity.amazonaws.com",
                conditions={
                    "StringEquals": {"cognito-identity.amazonaws.com:aud": identity_pool.ref},
                    "ForAnyValue:StringLike": {
                        "cognito-identity.amazonaws.com:amr": "unauthenticated"
                    },
                },
            ),
        )
        self.guest.grant_invoke_runtime(role)
        cognito.CfnIdentityPoolRoleAttachment(
            self,
            "IdentityRoles",
            identity_pool_id=identity_pool.ref,
            roles={"unauthenticated": role.role_arn},
        )
        return identity_pool, role

    def _allow_messages_alone(
        self, name: str, runtime: agentcore.Runtime, who: str | Mapping[str, str]
    ) -> None:
        """Let some callers send messages, and nobody do more.

        https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/resource-based-policies.html
        """
        arn = runtime.agent_runtime_arn
        message = "bedrock-agentcore:InvokeAgentRuntime"
        statements = [
            {"Effect": "Allow", "Principal": who, "Action": message, "Resource": arn},
            {"Effect": "Deny", "Principal": "*", "Action": _NEVER, "Resource": arn},
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        agentcore.CfnResourcePolicy(
            self,
            f"{name}Policy",
            resource_arn=arn,
            policy=Stack.of(self).to_json_string(policy),
        )

    def _log_statements(self, runtime_name: str) -> list[iam.PolicyStatement]:
        """Let AgentCore write the runtime's log with its role.

        https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-permissions.html
        """
        group = f"/aws/bedrock-agentcore/runtimes/{runtime_name}*"

        def on(resource: str, *operations: str) -> iam.PolicyStatement:
            return iam.PolicyStatement(
                actions=[f"logs:{operation}" for operation in operations],
                resources=[
                    Stack.of(self).format_arn(
                        service="logs",
                        resource="log-group",
                        resource_name=resource,
                        arn_format=ArnFormat.COLON_RESOURCE_NAME,
                    )
                ],
            )

        return [
            on(group, "CreateLogGroup", "DescribeLogStreams"),
            on(f"{group}:log-stream:*", "CreateLogStream", "PutLogEvents"),
            on("*", "DescribeLogGroups"),  # it lists all or none
        ]


def _model_statements(stack: Stack, model_id: str) -> list[iam.PolicyStatement]:
    """Return what lets a role ask this one model, and no other.

    An inference profile hands on to its model in other regions, which has to be allowed too.
    https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
    """
    if model_id == _OFFLINE:
        return []
    geography, _, model = model_id.rpartition("/")[2].partition(".")
    if model_id.startswith("arn:"):
        arn = model_id
    elif geography in _GEOGRAPHIES:
        arn = stack.format_arn(
            service="bedrock", resource="inference-profile", resource_name=model_id
        )
    else:
        arn = stack.format_arn(
            service="bedrock", account="", resource="foundation-model", resource_name=model_id
        )
    ask = ["bedrock:InvokeModelWithResponseStream"]
    statements = [iam.PolicyStatement(actions=ask, resources=[arn])]
    if "inference-profile/" in arn:
        anywhere = stack.format_arn(
            service="bedrock",
            region="*",
            account="",
            resource="foundation-model",
            # Which model an application's profile is for, it alone knows.
            resource_name="*" if "application-inference-profile/" in arn else model,
        )
        statements.append(
            iam.PolicyStatement(
                actions=ask,
                resources=[anywhere],
                conditions={"StringEquals": {"bedrock:InferenceProfileArn": arn}},
            )
        )
    return statements
