"""Alarms by e-mail: the hourly cap on mails is near, codes are guessed, or the triggers fail."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.email_otp_user_pool import EmailOtpUserPool

_SHARE_OF_CAP = 0.8
_FAILURES = 5


class Monitoring(Construct):
    """Three alarms and the topic that mails them; the address has to confirm its subscription."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        sign_in: EmailOtpUserPool,
        max_sends_per_hour: int,
        alarm_email: str,
    ) -> None:
        super().__init__(scope, construct_id)
        topic = sns.Topic(self, "Alarms")
        topic.add_subscription(subscriptions.EmailSubscription(alarm_email))

        def counted(name: str, service: str) -> cloudwatch.Metric:
            return cloudwatch.Metric(
                namespace=sign_in.metrics_namespace,
                metric_name=name,
                dimensions_map={"service": service},
                statistic="Sum",
            )

        sends = {
            name: counted(name, "create_auth_challenge") for name in ("CodeSent", "LongCodeSent")
        }
        wrong = {"AnswerWrong": counted("AnswerWrong", "verify_auth_challenge_response")}
        triggers = {
            "define": sign_in.define_auth_challenge,
            "create": sign_in.create_auth_challenge,
            "verify": sign_in.verify_auth_challenge_response,
        }
        period = Duration.minutes(5)
        failures = {
            name: function.metric_errors(period=period) for name, function in triggers.items()
        }
        for alarm in (
            _sum(sends, Duration.hours(1)).create_alarm(
                self,
                "HourlyCapNear",
                alarm_description=(
                    f"At least {_SHARE_OF_CAP:.0%} of the sign-in mails allowed in an hour went "
                    "out: at the cap nobody gets a code. Look for made-up addresses, or raise "
                    "max_sends_per_hour."
                ),
                threshold=max(1, int(max_sends_per_hour * _SHARE_OF_CAP)),
                evaluation_periods=1,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            ),
            # A long code's sessions are limited by Cognito's request rate alone, so that nobody
            # can be locked out: who guesses at one has to be noticed.
            _sum(wrong, Duration.hours(1)).create_alarm(
                self,
                "CodesGuessed",
                alarm_description=(
                    "As many wrong codes were entered in an hour as mails may be sent: somebody "
                    "guesses. Look for one user's long codes in the ledger, and at who calls "
                    "Cognito."
                ),
                threshold=max_sends_per_hour,
                evaluation_periods=1,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            ),
            # Lambda's own count, since it also holds time-outs and starts that failed.
            _sum(failures, period).create_alarm(
                self,
                "TriggersFail",
                alarm_description=(
                    "Sign-ins fail: a mail was refused by SES, or a trigger could not do its work. "
                    "The triggers' logs say which."
                ),
                threshold=_FAILURES,
                evaluation_periods=1,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            ),
        ):
            alarm.add_alarm_action(actions.SnsAction(topic))


def _sum(metrics: dict[str, cloudwatch.Metric], period: Duration) -> cloudwatch.MathExpression:
    """Add metrics up, where one without data counts as nothing.

    Args:
        metrics: By the names they get in the expression.
        period: How long one sum is.
    """
    named = {name[0].lower() + name[1:]: metric for name, metric in metrics.items()}
    return cloudwatch.MathExpression(
        expression="+".join(f"FILL({name}, 0)" for name in named),
        using_metrics=named,
        period=period,
    )
