"""The stack: the user pool with its triggers, the guests' table, the agent and its page."""

from aws_cdk import (
    CfnOutput,
    CliCredentialsStackSynthesizer,
    DefaultStackSynthesizer,
    Environment,
    Stack,
)
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ses as ses
from constructs import Construct

from infra.email_otp_user_pool import EmailOtpUserPool, removal_policy_of
from infra.firewall import Firewall
from infra.forgetting import Forgetting
from infra.guest_table import GuestTable
from infra.monitoring import Monitoring
from infra.settings import LOCAL_ACCOUNT, LOCAL_REGION, Settings


class EmailOtpStack(Stack):
    """Everything that is deployed, composed from the constructs beside this file."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(
            scope,
            construct_id,
            description="E-mail-code sign-in for Amazon Cognito",
            # What is laxer for MiniStack can go into no other account.
            env=(
                Environment(account=LOCAL_ACCOUNT, region=LOCAL_REGION) if settings.local else None
            ),
            # MiniStack's bootstrap roles may not publish assets; there the CLI does it itself.
            synthesizer=(
                CliCredentialsStackSynthesizer() if settings.local else DefaultStackSynthesizer()
            ),
        )
        self.sign_in = EmailOtpUserPool(self, "SignIn", settings=settings)
        self.guests = GuestTable(
            self,
            "Guests",
            removal_policy=removal_policy_of(settings),
            deletion_protection=settings.removal_policy == "protect",
        )
        self.forgetting = Forgetting(
            self, "Forgetting", settings=settings, sign_in=self.sign_in, guests=self.guests
        )
        if settings.create_sender_identity:
            ses.EmailIdentity(self, "Sender", identity=ses.Identity.email(settings.sender))
        if settings.alarm_email and not settings.local:
            Monitoring(
                self,
                "Monitoring",
                sign_in=self.sign_in,
                sweep=self.forgetting.function,
                max_sends_per_hour=settings.max_sends_per_hour,
                max_new_guests_per_hour=settings.max_new_guests_per_hour,
                alarm_email=settings.alarm_email,
            )
        if settings.waf and not settings.local:
            Firewall(self, "Firewall", user_pool=self.sign_in.user_pool)
        agent_policy = self._make_agent_policy()
        self._add_outputs(
            UserPoolId=self.sign_in.user_pool.user_pool_id,
            UserPoolClientId=self.sign_in.user_pool_client.user_pool_client_id,
            GuestsTableName=self.guests.table.table_name,
            OtpLedgerTableName=self.sign_in.ledger_table.table_name,
            DefineAuthChallengeFunctionName=self.sign_in.define_auth_challenge.function_name,
            CreateAuthChallengeFunctionName=self.sign_in.create_auth_challenge.function_name,
            VerifyAuthChallengeResponseFunctionName=(
                self.sign_in.verify_auth_challenge_response.function_name
            ),
            ForgetUnansweredFunctionName=self.forgetting.function.function_name,
            AgentPolicyArn=agent_policy.managed_policy_arn,
            MaxNewGuestsPerHour=str(settings.max_new_guests_per_hour),
        )
        if settings.agent and not settings.local:
            self._host_agent(settings, agent_policy)
        if settings.local:
            role = iam.Role(
                self,
                "AgentRole",
                assumed_by=iam.AccountRootPrincipal(),
                managed_policies=[agent_policy],
            )
            self._add_outputs(AgentRoleArn=role.role_arn)

    def _host_agent(self, settings: Settings, agent_policy: iam.ManagedPolicy) -> None:
        # Slow to import, and most deployments have none.
        from infra.agent_runtime import AgentRuntime
        from infra.web_hosting import PAGE, WebHosting, require_fresh

        assert settings.model_id is not None  # noqa: S101 - the settings see to it
        if settings.web:
            require_fresh(PAGE)  # before the agent's bundle is built for nothing
        agent = AgentRuntime(
            self,
            "Agent",
            sign_in=self.sign_in,
            guests=self.guests,
            sign_in_policy=agent_policy,
            model_id=settings.model_id,
            app_name=settings.app_name,
            max_new_guests_per_hour=settings.max_new_guests_per_hour,
        )
        self._add_outputs(
            GuestRuntimeArn=agent.guest.agent_runtime_arn,
            MemberRuntimeArn=agent.member.agent_runtime_arn,
            IdentityPoolId=agent.identity_pool.ref,
        )
        if settings.web:
            web = WebHosting(self, "Web", sign_in=self.sign_in, agent=agent)
            self._add_outputs(WebUrl=web.url)

    def _make_agent_policy(self) -> iam.ManagedPolicy:
        """Make the policy that an agent which signs guests in needs, and nothing more."""
        return iam.ManagedPolicy(
            self,
            "AgentPolicy",
            description="Sign guests in by e-mailed code and keep their guest records",
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "cognito-idp:AdminCreateUser",
                        "cognito-idp:AdminGetUser",
                        "cognito-idp:AdminInitiateAuth",
                        "cognito-idp:AdminRespondToAuthChallenge",
                        "cognito-idp:AdminSetUserPassword",
                    ],
                    resources=[self.sign_in.user_pool.user_pool_arn],
                ),
                iam.PolicyStatement(
                    actions=["dynamodb:GetItem", "dynamodb:UpdateItem"],
                    resources=[self.guests.table.table_arn],
                ),
            ],
        )

    def _add_outputs(self, **values: str) -> None:
        for name, value in values.items():
            CfnOutput(self, name, value=value)
