"""What becomes of the mails: an SES configuration set, which counts those that come back."""

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ses as ses
from constructs import Construct

# SES tags each mail with its configuration set, and makes the tag a dimension if it is named so.
# https://docs.aws.amazon.com/ses/latest/dg/event-publishing-add-event-destination-cloudwatch.html
_DIMENSION = "ses:configuration-set"


class MailEvents(Construct):
    """The configuration set of this stack's mails, so that no other's bounces are among its own.

    Attributes:
        configuration_set_name: What a mail is sent with; unique in its account and region.
        configuration_set_arn: What sending with it needs a permission on.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        configuration_set = ses.ConfigurationSet(self, "Set", reputation_metrics=True)
        configuration_set.add_event_destination(
            "Metrics",
            destination=ses.EventDestination.cloud_watch_dimensions(
                [
                    ses.CloudWatchDimension(
                        name=_DIMENSION,
                        source=ses.CloudWatchDimensionSource.MESSAGE_TAG,
                        default_value="none",
                    )
                ]
            ),
            # Rendering fails for SES's own templates alone; the mails here have none.
            events=[
                ses.EmailSendingEvent.BOUNCE,
                ses.EmailSendingEvent.COMPLAINT,
                ses.EmailSendingEvent.REJECT,
            ],
        )
        self.configuration_set_name = configuration_set.configuration_set_name
        self.configuration_set_arn = Stack.of(self).format_arn(
            service="ses",
            resource="configuration-set",
            resource_name=self.configuration_set_name,
        )

    def bounces(self, label: str | None = None) -> cloudwatch.Metric:
        """Return how many mails a mailbox's server refused, or SES for it (suppression list)."""
        return self._counted("Bounce", label)

    def complaints(self, label: str | None = None) -> cloudwatch.Metric:
        """Return how many mails somebody reported as spam."""
        return self._counted("Complaint", label)

    def rejects(self, label: str | None = None) -> cloudwatch.Metric:
        """Return how many mails SES took and then did not send, for what it found in them."""
        return self._counted("Reject", label)

    def _counted(self, name: str, label: str | None) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/SES",
            metric_name=name,
            dimensions_map={_DIMENSION: self.configuration_set_name},
            statistic="Sum",
            label=label,
        )
