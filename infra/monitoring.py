"""What the team sees and is mailed: a dashboard, and alarms that `docs/runbook.md` explains."""

from collections.abc import Iterable, Sequence

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.email_otp_user_pool import EmailOtpUserPool

_COGNITO_WAITS_MS = 5000

type _Metrics = dict[str, cloudwatch.IMetric]
"""Metrics under the names that an expression uses; of one graph, all names differ."""


class Monitoring(Construct):
    """Alarms, the topic that mails them, and a dashboard; the address confirms its subscription."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        sign_in: EmailOtpUserPool,
        sweep: lambda_.IFunction,
        max_sends_per_hour: int,
        max_new_guests_per_hour: int,
        alarm_email: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._namespace = sign_in.metrics_namespace
        self._triggers = {
            "Define": sign_in.define_auth_challenge,
            "Create": sign_in.create_auth_challenge,
            "Verify": sign_in.verify_auth_challenge_response,
        }
        self._mail_events = sign_in.mail_events
        self._sweep = sweep
        self._topic = sns.Topic(self, "Alarms", enforce_ssl=True)
        # A topic with a policy of its own has the default one no more, which let alarms publish.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
        self._topic.grant_publish(
            iam.ServicePrincipal(
                "cloudwatch.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            )
        )
        self._topic.add_subscription(subscriptions.EmailSubscription(alarm_email))
        self._alarms = [
            *self._alarms_about_abuse(max_sends_per_hour, max_new_guests_per_hour),
            *self._alarms_about_mails(),
            *self._alarms_about_failures(),
        ]
        self._add_dashboard(max_sends_per_hour, max_new_guests_per_hour)

    def _alarms_about_abuse(
        self, max_sends_per_hour: int, max_new_guests_per_hour: int
    ) -> Iterable[cloudwatch.Alarm]:
        # A newcomer's long code is among them, which only makes the alarm ring sooner.
        returning = self._all_created("CodeSent", "LongCodeSent")
        yield self._alarm(
            "HourlyCapNear",
            "At least 80% of the sign-in mails allowed in an hour to returning guests went out: "
            "beyond the cap they get no code.",
            _total(returning),
            returning,
            # While there is still a fifth left, somebody can act before guests wait.
            threshold=max(1, int(max_sends_per_hour * 0.8)),
            period=Duration.hours(1),
        )
        newcomers = self._all_created("NewcomerCodeSent", "NewcomersBudgetUsedUp", "MailboxFull")
        yield self._alarm(
            "NewcomersBudgetNear",
            "At least 80% of the newcomers allowed in an hour asked for a code: beyond the budget "
            "they get none until the next clock hour.",
            _total(newcomers),
            newcomers,
            # An agent that has made as many users makes no more, and some of them are counted
            # nowhere here: the whole budget might never be seen.
            threshold=max(1, int(max_new_guests_per_hour * 0.8)),
            period=Duration.hours(1),
        )
        wrong: _Metrics = {"answerWrong": self._verified("AnswerWrong")}
        mails = self._mails()
        # A long code's sessions are limited by Cognito's request rate alone, so that nobody can
        # be locked out: who guesses at one has to be noticed.
        yield self._alarm(
            "CodesGuessed",
            "At least 50 wrong codes were entered in an hour, and as many as mails went out: "
            "somebody guesses.",
            f"IF({_total(wrong)} >= {_total(mails)}, {_total(wrong)}, 0)",
            wrong | mails,
            # Guests mistype fewer than one code a mail, however few or many they are. One guest
            # without patience is not yet 50.
            threshold=50,
            period=Duration.hours(1),
        )

    def _alarms_about_mails(self) -> Iterable[cloudwatch.Alarm]:
        bounces: _Metrics = {"bounces": self._mail_events.bounces()}
        mails = self._mails()
        yield self._alarm(
            "MailsBounce",
            "At least 5 mails came back in an hour, and at least 5% of those that went out: AWS "
            "reviews an account whose bounces stay there.",
            f"IF({_total(bounces)} >= 0.05*({_total(mails)}), {_total(bounces)}, 0)",
            bounces | mails,
            # A share of few mails says nothing: of ten guests, one mistypes their address.
            threshold=5,
            period=Duration.hours(1),
        )
        complaints: _Metrics = {"complaints": self._mail_events.complaints()}
        yield self._alarm(
            "MailsReported",
            "Somebody reported a sign-in mail as spam: AWS reviews an account with 0.1% of such.",
            _total(complaints),
            complaints,
            # Of fewer than 1,000 mails, one is more than that. And who asked for a code does not
            # report it: somebody types addresses that are not theirs.
            threshold=1,
            period=Duration.hours(1),
        )

    def _alarms_about_failures(self) -> Iterable[cloudwatch.Alarm]:
        errors, throttles, durations = self._errors(), self._throttles(), self._durations()
        yield self._alarm(
            "TriggersFail",
            "Sign-ins fail: SES refused mails, or a trigger could not do its work.",
            _total(errors),
            errors,
            # One may be a lost packet, and its guest asks again.
            threshold=5,
            period=Duration.minutes(5),
        )
        yield self._alarm(
            "TriggersThrottled",
            "Sign-ins fail: Lambda had no capacity to run the triggers.",
            _total(throttles),
            throttles,
            # As of failures, which do not count these.
            threshold=5,
            period=Duration.minutes(5),
        )
        yield self._alarm(
            "TriggersSlow",
            "A trigger's slowest calls take 3 s or more; Cognito gives up after 5 s.",
            f"MAX([{', '.join(map(_filled, durations))}])",
            durations,
            # A trigger's deadline is 4 s, of which this leaves out the process's start.
            threshold=3000,
            period=Duration.minutes(5),
            # One slow call is all of a quiet period's p99.
            periods=3,
        )
        first_and_last: _Metrics = {
            "started": self._defined("SignInStarted"),
            "done": self._defined("SignedIn"),
        }
        yield self._alarm(
            "NobodySignsIn",
            "At least 20 sign-ins were started in an hour and none was finished: mails may not "
            "arrive.",
            "IF(FILL(done, 0) > 0, 0, FILL(started, 0))",
            first_and_last,
            # Where one guest in four finishes, 20 in a row who do not are a chance of 0.3%.
            threshold=20,
            period=Duration.hours(1),
        )
        sweep_errors: _Metrics = {"errorsSweep": self._sweep.metric_errors()}
        yield self._alarm(
            "SweepFails",
            "Who never answered could not be forgotten: each try of an hour's run failed.",
            _total(sweep_errors),
            sweep_errors,
            # A run, and the two more that Lambda gives it within minutes.
            threshold=3,
            period=Duration.hours(1),
        )

    def _add_dashboard(self, max_sends_per_hour: int, max_new_guests_per_hour: int) -> None:
        errors, throttles = self._errors(), self._throttles()
        dashboard = cloudwatch.Dashboard(
            self,
            "Dashboard",
            # An account has one list of dashboards for all its regions.
            dashboard_name=f"{Stack.of(self).stack_name}-{Aws.REGION}",
            default_interval=Duration.days(1),
        )
        dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(
                title="Alarms (docs/runbook.md says what to do)", alarms=self._alarms, width=24
            )
        )
        dashboard.add_widgets(
            _graph(
                "Sign-ins",
                self._defined("SignInStarted", "started"),
                self._defined("SignedIn", "done"),
            ),
            _graph(
                "Mails: what a request for a code led to",
                self._created("CodeSent", "short code mailed to a returning guest"),
                self._created("NewcomerCodeSent", "short code mailed to a newcomer"),
                self._created("LongCodeSent", "long code mailed: wrong ones were tried"),
                self._created("MailUnconfirmed", "unconfirmed: SES did not answer in time"),
                self._created("CodeJoined", "joined a code already mailed"),
                self._created("SendThrottled", "throttled: no code"),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Mails an hour, and what is allowed",
                self._created("CodeSent", "to returning guests"),
                self._created("NewcomerCodeSent", "to newcomers"),
                period=Duration.hours(1),
                limits=[
                    _limit(max_sends_per_hour, "max_sends_per_hour"),
                    _limit(max_new_guests_per_hour, "max_new_guests_per_hour"),
                ],
            ),
            _graph(
                "Requests that hear of a mail and get none",
                self._created("SendsBudgetUsedUp", "returning guest, hour used up"),
                self._created("NewcomersBudgetUsedUp", "newcomer, hour used up"),
                self._created("MailboxFull", "newcomer, mailbox had five this hour"),
                self._created("UnknownUser", "nobody has this address"),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Mails that did not arrive, or were not welcome",
                self._mail_events.bounces("came back"),
                self._mail_events.complaints("reported as spam"),
                self._mail_events.rejects("not sent by SES"),
                width=24,
            )
        )
        dashboard.add_widgets(
            _graph(
                "Answers",
                self._verified("AnswerRedeemed", "right"),
                self._verified("AnswerWrong", "wrong"),
                self._verified("AnswerRefused", "refused: code used up or replaced"),
                self._verified("AnswerExpired", "too late"),
            ),
            _graph(
                "Trigger calls that failed",
                cloudwatch.MathExpression(
                    expression=_total(errors), using_metrics=errors, label="failed"
                ),
                cloudwatch.MathExpression(
                    expression=_total(throttles), using_metrics=throttles, label="throttled"
                ),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Newcomers who never answered",
                self._counted("forget_unanswered", "Forgotten", "forgotten"),
                self._sweep.metric_errors(label="runs of the sweep that failed"),
                width=24,
            )
        )
        dashboard.add_widgets(
            _graph(
                "Slowest 1% of trigger calls (p99, milliseconds)",
                *self._durations().values(),
                width=24,
                limits=[_limit(_COGNITO_WAITS_MS, "Cognito gives up")],
            )
        )

    def _mails(self) -> _Metrics:
        return self._all_created("CodeSent", "NewcomerCodeSent", "LongCodeSent")

    def _all_created(self, *names: str) -> _Metrics:
        return {f"{name[0].lower()}{name[1:]}": self._created(name) for name in names}

    def _defined(self, name: str, label: str | None = None) -> cloudwatch.Metric:
        return self._counted("define_auth_challenge", name, label)

    def _created(self, name: str, label: str | None = None) -> cloudwatch.Metric:
        return self._counted("create_auth_challenge", name, label)

    def _verified(self, name: str, label: str | None = None) -> cloudwatch.Metric:
        return self._counted("verify_auth_challenge_response", name, label)

    def _counted(self, service: str, name: str, label: str | None) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name=name,
            dimensions_map={"service": service},
            statistic="Sum",
            label=label,
        )

    def _errors(self) -> _Metrics:
        # Lambda's own count, since it also holds time-outs and starts that failed.
        return {f"errors{name}": each.metric_errors() for name, each in self._triggers.items()}

    def _throttles(self) -> _Metrics:
        return {
            f"throttles{name}": each.metric_throttles() for name, each in self._triggers.items()
        }

    def _durations(self) -> _Metrics:
        return {
            f"duration{name}": each.metric_duration(statistic="p99", label=name)
            for name, each in self._triggers.items()
        }

    def _alarm(
        self,
        name: str,
        description: str,
        expression: str,
        metrics: _Metrics,
        *,
        threshold: int,
        period: Duration,
        periods: int = 1,
    ) -> cloudwatch.Alarm:
        """Mail when an expression reaches a threshold, in each of so many periods in a row."""
        value = cloudwatch.MathExpression(
            expression=expression, using_metrics=metrics, period=period
        )
        alarm = value.create_alarm(
            self,
            name,
            alarm_description=f"{description} What to do: {name} in docs/runbook.md.",
            threshold=threshold,
            evaluation_periods=periods,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self._topic))
        return alarm


def _filled(metric: str) -> str:
    """Write a metric in an expression so that no data counts as nothing, not as unknown."""
    return f"FILL({metric}, 0)"


def _total(metrics: _Metrics) -> str:
    return "+".join(map(_filled, metrics))


def _limit(value: int, label: str) -> cloudwatch.HorizontalAnnotation:
    return cloudwatch.HorizontalAnnotation(value=value, label=label, color=cloudwatch.Color.RED)


def _graph(
    title: str,
    *lines: cloudwatch.IMetric,
    width: int = 12,
    period: Duration | None = None,
    limits: Sequence[cloudwatch.HorizontalAnnotation] = (),
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(lines),
        left_annotations=list(limits),
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        period=period,
        width=width,
    )
