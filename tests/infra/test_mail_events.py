"""The SES configuration set: this stack's own, and what it counts."""

from tests.support.template import Template


def test_stack_has_a_configuration_set_of_its_own_name(aws: Template, local: Template) -> None:
    """CloudFormation makes a name up that no other stack of the account and region has."""
    for template in (aws, local):
        properties = template.only("AWS::SES::ConfigurationSet")["Properties"]
        assert properties == {"ReputationOptions": {"ReputationMetricsEnabled": True}}


def test_mails_that_come_back_are_counted_apart_from_other_stacks(aws: Template) -> None:
    (configuration_set,) = aws.resources("AWS::SES::ConfigurationSet")
    destination = aws.only("AWS::SES::ConfigurationSetEventDestination")["Properties"]
    assert destination["ConfigurationSetName"] == {"Ref": configuration_set}
    assert destination["EventDestination"] == {
        "Enabled": True,
        "MatchingEventTypes": ["bounce", "complaint", "reject"],
        "CloudWatchDestination": {
            "DimensionConfigurations": [
                {
                    "DimensionName": "ses:configuration-set",
                    "DimensionValueSource": "messageTag",
                    "DefaultDimensionValue": "none",
                }
            ]
        },
    }
