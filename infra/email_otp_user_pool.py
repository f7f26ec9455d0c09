"""A user pool whose only way in is a code by e-mail, ready to drop into any stack."""

import math

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.function import make_function
from infra.mail_events import MailEvents
from infra.otp_ledger import OtpLedger
from infra.settings import Settings
from lambdas.email_otp.settings import CreateSettings, MailResources, Resources, VerifySettings


def removal_policy_of(settings: Settings) -> RemovalPolicy:
    """Return what becomes of users, guests and ledger when the stack is deleted.

    Either way a first deploy that fails takes them with it: kept, they would be in the way of the
    next.
    """
    if settings.removal_policy == "destroy":
        return RemovalPolicy.DESTROY
    return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE


class EmailOtpUserPool(Construct):
    """A user pool, its app client and the three triggers that sign users in by e-mailed code.

    Attributes:
        user_pool: The pool.
        user_pool_client: The public app client browsers and the agent use.
        ledger_table: What decides about sends and answers.
        code_key: The secret that codes are derived from.
        mail_events: The SES configuration set of the mails, and what it counts.
        metrics_namespace: Where the triggers' metrics go, so that two stacks do not mix theirs.
        define_auth_challenge: The trigger that picks the next step.
        create_auth_challenge: The trigger that mails the code.
        verify_auth_challenge_response: The trigger that judges an answer.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        ledger_table: dynamodb.ITable | None = None,
    ) -> None:
        """Create the pool.

        Args:
            scope: The construct it belongs to.
            construct_id: Its name there.
            settings: What it is like. `create_sender_identity`, `alarm_email`, `waf`, `agent`,
                `model_id`, `web` and `forget_unanswered_after_hours` are left to the stack.
            ledger_table: A table with the partition key `sub` (string) and the time-to-live
                attribute `expires_at`; by default the construct makes its own. Pools may share
                one: each counts its own mails.
        """
        super().__init__(scope, construct_id)
        removal_policy = removal_policy_of(settings)
        self.ledger_table = (
            ledger_table or OtpLedger(self, "Ledger", removal_policy=removal_policy).table
        )
        # Losing the key costs only the codes now out, so it goes with the stack.
        self.code_key = secretsmanager.Secret(
            self,
            "CodeKey",
            description="Key the sign-in codes are derived from",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.mail_events = MailEvents(self, "MailEvents")
        self.metrics_namespace = Stack.of(self).stack_name
        self._add_triggers(settings)
        self.user_pool = self._make_user_pool(settings, removal_policy)
        self.user_pool_client = self._make_client(settings)
        self._let_verify_update_users()

    def _add_triggers(self, settings: Settings) -> None:
        resources = Resources(
            ledger_table_name=self.ledger_table.table_name,
            code_key_secret_arn=self._code_key_arn,
        )
        ledger_and_key = Resources.to_environment(resources)
        mail = MailResources(configuration_set_name=self.mail_events.configuration_set_name)
        self.define_auth_challenge = self._make_trigger(
            "DefineAuthChallenge", "define_auth_challenge", memory_size=512, environment={}
        )
        self.create_auth_challenge = self._make_trigger(
            "CreateAuthChallenge",
            "create_auth_challenge",
            memory_size=1024,
            environment=ledger_and_key
            | MailResources.to_environment(mail)
            | CreateSettings.to_environment(settings),
        )
        self.verify_auth_challenge_response = self._make_trigger(
            "VerifyAuthChallengeResponse",
            "verify_auth_challenge_response",
            memory_size=1024,
            environment=ledger_and_key | VerifySettings.to_environment(settings),
        )
        for statement in (
            self._ledger_statement(),
            self._code_key_statement(),
            self._mail_statement(settings),
        ):
            self.create_auth_challenge.add_to_role_policy(statement)
        for statement in (self._ledger_statement(), self._code_key_statement()):
            self.verify_auth_challenge_response.add_to_role_policy(statement)

    def _make_trigger(
        self, name: str, handler: str, *, memory_size: int, environment: dict[str, str]
    ) -> lambda_.Function:
        return make_function(
            self,
            name,
            handler,
            memory_size=memory_size,
            timeout=Duration.seconds(5),  # what Cognito waits for a trigger
            metrics_namespace=self.metrics_namespace,
            environment=environment,
        )

    def _make_user_pool(
        self, settings: Settings, removal_policy: RemovalPolicy
    ) -> cognito.UserPool:
        user_pool = cognito.UserPool(
            self,
            "UserPool",
            sign_in_aliases=cognito.SignInAliases(email=True),
            # Homoglyphs aside, ADA@ and ada@ are one guest. Immutable once created.
            sign_in_case_sensitive=False,
            standard_attributes=cognito.StandardAttributes(
                email=cognito.StandardAttribute(required=True, mutable=True)
            ),
            self_sign_up_enabled=False,
            account_recovery=cognito.AccountRecovery.NONE,
            # CDK would switch it on for every sign-in alias.
            auto_verify=cognito.AutoVerifiedAttrs(email=False, phone=False),
            lambda_triggers=cognito.UserPoolTriggers(
                define_auth_challenge=self.define_auth_challenge,
                create_auth_challenge=self.create_auth_challenge,
                verify_auth_challenge_response=self.verify_auth_challenge_response,
            ),
            # Whatever new pools get by default; the cheapest that can do what is asked for.
            # https://docs.aws.amazon.com/cognito/latest/developerguide/feature-plans-features-essentials.html
            feature_plan=(
                cognito.FeaturePlan.ESSENTIALS
                if settings.refresh_token_rotation
                else cognito.FeaturePlan.LITE
            ),
            deletion_protection=settings.removal_policy == "protect",
            removal_policy=removal_policy,
        )
        resource = user_pool.node.default_child
        assert isinstance(resource, cognito.CfnUserPool)  # noqa: S101
        # The `iss` that the agent, and who else verifies tokens, compares with.
        resource.issuer_configuration = cognito.CfnUserPool.IssuerConfigurationProperty(
            type="ORIGINAL"
        )
        return user_pool

    def _make_client(self, settings: Settings) -> cognito.UserPoolClient:
        token_life = Duration.minutes(settings.access_token_minutes)
        # A guest who answers in the code's last second must still find their session.
        session_minutes = math.ceil((settings.code_ttl_seconds + 60) / 60)
        return self.user_pool.add_client(
            "Client",
            auth_flows=cognito.AuthFlow(custom=True),
            auth_session_validity=Duration.minutes(min(max(session_minutes, 3), 15)),
            disable_o_auth=True,
            generate_secret=False,
            prevent_user_existence_errors=True,
            enable_token_revocation=True,
            access_token_validity=token_life,
            id_token_validity=token_life,
            refresh_token_validity=Duration.days(settings.refresh_token_days),
            # The longest Cognito allows: two tabs, or a lost answer, may use the old one again.
            refresh_token_rotation_grace_period=(
                Duration.seconds(60) if settings.refresh_token_rotation else None
            ),
            read_attributes=cognito.ClientAttributes().with_standard_attributes(
                email=True, email_verified=True, fullname=True, locale=True
            ),
            # By default users may also write their address, and so take another's.
            write_attributes=cognito.ClientAttributes().with_standard_attributes(
                fullname=True, locale=True
            ),
        )

    def _let_verify_update_users(self) -> None:
        # In the role's own policy this would be circular: the pool names the function, the
        # function waits for that policy.
        policy = iam.Policy(
            self,
            "MarkAddressVerified",
            statements=[
                iam.PolicyStatement(
                    actions=["cognito-idp:AdminUpdateUserAttributes"],
                    resources=[self.user_pool.user_pool_arn],
                )
            ],
        )
        role = self.verify_auth_challenge_response.role
        assert role is not None  # noqa: S101 - it was given one above
        role.attach_inline_policy(policy)

    def _ledger_statement(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=["dynamodb:UpdateItem"], resources=[self.ledger_table.table_arn]
        )

    def _code_key_statement(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=["secretsmanager:GetSecretValue"], resources=[self._code_key_arn]
        )

    def _mail_statement(self, settings: Settings) -> iam.PolicyStatement:
        if settings.local:
            # MiniStack authorises a mail against `*` and knows no ses:FromAddress.
            return iam.PolicyStatement(actions=["ses:SendEmail"], resources=["*"])
        # Every identity, because SES may also check the recipient's, as in its sandbox; the
        # condition is what ties the function to its sender. SES checks the configuration set as a
        # resource of the same call, and the condition's key is the action's, so it holds there too.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsimpleemailservicev2.html
        return iam.PolicyStatement(
            actions=["ses:SendEmail"],
            resources=[
                Stack.of(self).format_arn(service="ses", resource="identity", resource_name="*"),
                self.mail_events.configuration_set_arn,
            ],
            conditions={"StringEquals": {"ses:FromAddress": settings.sender}},
        )

    @property
    def _code_key_arn(self) -> str:
        # Its `Ref` is the ARN on AWS and the name in MiniStack; this is the ARN on both.
        resource = self.code_key.node.default_child
        assert isinstance(resource, secretsmanager.CfnSecret)  # noqa: S101
        return resource.attr_id
