"""What an operator has to be allowed."""

ALWAYS = (
    "cloudformation:DescribeStacks",
    "cloudwatch:GetMetricStatistics",
    "cognito-idp:AdminCreateUser",
    "cognito-idp:AdminDeleteUser",
    "cognito-idp:AdminGetUser",
    "cognito-idp:AdminInitiateAuth",
    "cognito-idp:AdminRespondToAuthChallenge",
    "cognito-idp:DescribeUserPoolClient",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:UpdateItem",
    "lambda:GetFunctionConfiguration",
    "lambda:InvokeFunction",
    "logs:FilterLogEvents",
    "secretsmanager:GetSecretValue",
)
WITH_AGENT_OR_PAGE = (
    "bedrock-agentcore:GetAgentRuntime",
    "cloudformation:ListStackResources",
    "cognito-identity:GetIdentityPoolRoles",
)


def permission_for(operation: str) -> str:
    """Return the permission that an operation needs; empty if no operator calls it."""
    known = (*ALWAYS, *WITH_AGENT_OR_PAGE)
    action = {"Invoke": "InvokeFunction"}.get(operation, operation)
    return next((each for each in known if each.endswith(f":{action}")), "")
