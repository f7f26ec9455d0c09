"""An AWS WAF web ACL on the pool: one network address may start and answer so many sign-ins."""

from aws_cdk import Names
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

# A sign-in is two calls, or four with two mistakes: a house of 100 guests behind one address may
# all sign in within five minutes. Cognito itself lets one caller make 120 calls a second, 36,000
# in that time.
_CALLS_IN_FIVE_MINUTES = 300
# All that starts or answers a sign-in. WAF sees what is called without AWS credentials, so none of
# the agent's `Admin...` calls, but it does see its `GetUser`, one a minute and chat from one
# address for all members: that, and refreshes, must stay free.
# https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-waf.html
_LIMITED = ("InitiateAuth", "RespondToAuthChallenge")
# Cognito writes the operation's name there for WAF.
# https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-settings-mfa-totp.html#totp-waf
_OPERATION_HEADER = "x-amzn-cognito-operation-name"


class Firewall(Construct):
    """The web ACL, tied to the pool. What it blocks is in the metrics of `AWS/WAFV2`."""

    def __init__(
        self, scope: Construct, construct_id: str, *, user_pool: cognito.IUserPool
    ) -> None:
        super().__init__(scope, construct_id)
        name = Names.unique_resource_name(self, max_length=60)
        rule = wafv2.CfnWebACL.RuleProperty(
            name="SignInsFromOneAddress",
            priority=0,
            action=wafv2.CfnWebACL.RuleActionProperty(block={}),
            statement=wafv2.CfnWebACL.StatementProperty(
                rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                    aggregate_key_type="IP",
                    evaluation_window_sec=300,
                    limit=_CALLS_IN_FIVE_MINUTES,
                    scope_down_statement=wafv2.CfnWebACL.StatementProperty(
                        or_statement=wafv2.CfnWebACL.OrStatementProperty(
                            statements=[_calls(operation) for operation in _LIMITED]
                        )
                    ),
                )
            ),
            visibility_config=_visible(f"{name}SignInsFromOneAddress"),
        )
        web_acl = wafv2.CfnWebACL(
            self,
            "WebAcl",
            scope="REGIONAL",
            description="Limits how often one network address starts or answers a sign-in",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
            rules=[rule],
            visibility_config=_visible(name),
        )
        wafv2.CfnWebACLAssociation(
            self,
            "Association",
            resource_arn=user_pool.user_pool_arn,
            web_acl_arn=web_acl.attr_arn,
        )


def _calls(operation: str) -> wafv2.CfnWebACL.StatementProperty:
    return wafv2.CfnWebACL.StatementProperty(
        byte_match_statement=wafv2.CfnWebACL.ByteMatchStatementProperty(
            # Under "Name": CDK hands on what is inside as it is.
            field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(
                single_header={"Name": _OPERATION_HEADER}
            ),
            positional_constraint="EXACTLY",
            search_string=operation,
            text_transformations=[
                wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")
            ],
        )
    )


def _visible(metric_name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=metric_name, sampled_requests_enabled=True
    )
