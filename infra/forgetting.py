"""The sweep: a function that runs each hour and forgets who asked for a code and never answered."""

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.email_otp_user_pool import EmailOtpUserPool
from infra.function import make_function
from infra.guest_table import GuestTable
from infra.settings import Settings
from lambdas.email_otp.settings import ForgettingResources, ForgettingSettings

# The same in each hour, so that an hour has all tries of one run, and not on the full hour, when
# budgets begin anew and much else is scheduled.
_MINUTE = "17"


class Forgetting(Construct):
    """The function, its role and its schedule.

    Attributes:
        function: What runs each hour; harmless to run by hand, also twice at once.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        sign_in: EmailOtpUserPool,
        guests: GuestTable,
    ) -> None:
        """Create it.

        Args:
            scope: The construct it belongs to.
            construct_id: Its name there.
            settings: `forget_unanswered_after_hours` alone.
            sign_in: The pool and the ledger that users are removed from.
            guests: The table in which the agent lists whom it creates.
        """
        super().__init__(scope, construct_id)
        resources = ForgettingResources(
            user_pool_id=sign_in.user_pool.user_pool_id,
            guests_table_name=guests.table.table_name,
            ledger_table_name=sign_in.ledger_table.table_name,
        )
        self.function = make_function(
            self,
            "Function",
            "forget_unanswered",
            memory_size=512,
            # The longest there is: a whole hour of the most newcomers takes about half of it.
            timeout=Duration.minutes(15),
            metrics_namespace=sign_in.metrics_namespace,
            environment=ForgettingResources.to_environment(resources)
            | ForgettingSettings.to_environment(settings),
        )
        for statement in _statements(sign_in, guests):
            self.function.add_to_role_policy(statement)
        events.Rule(
            self,
            "EachHour",
            description="Forget who asked for a sign-in code and never answered",
            schedule=events.Schedule.cron(minute=_MINUTE),
            targets=[targets.LambdaFunction(self.function)],
        )


def _statements(sign_in: EmailOtpUserPool, guests: GuestTable) -> list[iam.PolicyStatement]:
    """Return what the sweep may do: it reads guests' records, and changes none."""
    return [
        iam.PolicyStatement(
            actions=["cognito-idp:AdminDeleteUser", "cognito-idp:AdminGetUser"],
            resources=[sign_in.user_pool.user_pool_arn],
        ),
        iam.PolicyStatement(
            actions=["dynamodb:DeleteItem", "dynamodb:UpdateItem"],
            resources=[sign_in.ledger_table.table_arn],
        ),
        iam.PolicyStatement(actions=["dynamodb:GetItem"], resources=[guests.table.table_arn]),
        iam.PolicyStatement(
            actions=["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:UpdateItem"],
            resources=[guests.table.table_arn],
            # Its lists of newcomers alone.
            # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["newcomers#*"]}},
        ),
    ]
