"""A Lambda function, with a bundle, a log group and a role of its own."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import bundling


def make_function(
    scope: Construct,
    name: str,
    handler: str,
    *,
    memory_size: int,
    timeout: Duration,
    metrics_namespace: str,
    environment: dict[str, str],
) -> lambda_.Function:
    """Make a function.

    Args:
        scope: The construct it belongs to.
        name: Its name there, with which those of its log group and role begin.
        handler: Its module in `lambdas`.
        memory_size: In MB; more brings a faster processor too.
        timeout: Whoever calls it waits no longer.
        metrics_namespace: Where its metrics go.
        environment: What else it is told.
    """
    log_group = logs.LogGroup(
        scope,
        f"{name}Logs",
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )
    # A role of our own: the one CDK makes may write to every log group of the account.
    role = iam.Role(scope, f"{name}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    return lambda_.Function(
        scope,
        name,
        code=lambda_.Code.from_asset(str(bundling.build_function(handler))),
        handler=f"lambdas.{handler}.handler",
        runtime=lambda_.Runtime.PYTHON_3_13,
        architecture=lambda_.Architecture.ARM_64,
        memory_size=memory_size,
        timeout=timeout,
        role=role,
        log_group=log_group,
        # Lambda's own spans, written outside the process: how long a start and a call took.
        # CDK lets the role write them to `*`, as X-Ray has no resource to name.
        tracing=lambda_.Tracing.ACTIVE,
        environment={
            "POWERTOOLS_SERVICE_NAME": handler,
            "POWERTOOLS_METRICS_NAMESPACE": metrics_namespace,
            "POWERTOOLS_LOG_LEVEL": "INFO",
            **environment,
        },
    )
