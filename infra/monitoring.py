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
        self._topic = sns.Topic(self, "Alarms")
        self._topic.add_subscription(subscriptions.EmailSubscription(alarm_email))

        def counted(name: str, service: str) -> cloudwatch.Metric:
            return cloudwatch.Metric(
                namespace=sign_in.metrics_namespace,
                metric_name=name,
                dimensions_map={"service": service},
                statistic="Sum",
            )

        self._alarm(
            "HourlyCapNear",
            f"At least {_SHARE_OF_CAP:.0%} of the sign-in mails allowed in an hour went out: at "
            "the cap nobody gets a code. Look for made-up addresses, or raise max_sends_per_hour.",
            threshold=max(1, int(max_sends_per_hour * _SHARE_OF_CAP)),
            period=Duration.hours(1),
            metrics={
                "codeSent": counted("CodeSent", "create_auth_challenge"),
                "longCodeSent": counted("LongCodeSent", "create_auth_challenge"),
            },
        )
        # A long code's sessions are limited by Cognito's request rate alone, so that nobody can
        # be locked out: who guesses at one has to be noticed.
        self._alarm(
            "CodesGuessed",
            "As many wrong codes were entered in an hour as mails may be sent: somebody guesses. "
            "Look for one user's long codes in the ledger, and at who calls Cognito.",
            threshold=max_sends_per_hour,
            period=Duration.hours(1),
            metrics={"answerWrong": counted("AnswerWrong", "verify_auth_challenge_response")},
        )
        # Lambda's own count, since it also holds time-outs and starts that failed.
        self._alarm(
            "TriggersFail",
            "Sign-ins fail: a mail was refused by SES, or a trigger could not do its work. The "
            "triggers' logs say which.",
            threshold=_FAILURES,
            period=Duration.minutes(5),
            metrics={
                "define": sign_in.define_auth_challenge.metric_errors(),
                "create": sign_in.create_auth_challenge.metric_errors(),
                "verify": sign_in.verify_auth_challenge_response.metric_errors(),
            },
        )

    def _alarm(
        self,
        name: str,
        description: str,
        *,
        threshold: int,
        period: Duration,
        metrics: dict[str, cloudwatch.Metric],
    ) -> None:
        """Mail when the sum of some metrics over a period reaches a threshold."""
        total = cloudwatch.MathExpression(
            # A metric without data counts as nothing.
            expression="+".join(f"FILL({metric}, 0)" for metric in metrics),
            using_metrics=metrics,
            period=period,
        )
        alarm = total.create_alarm(
            self,
            name,
            alarm_description=description,
            threshold=threshold,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self._topic))
