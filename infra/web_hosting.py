"""The chat page: a private bucket behind CloudFront, and the page's configuration."""

from pathlib import Path

from aws_cdk import Duration, Fn, Names, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct

from infra.agent_runtime import AgentRuntime
from infra.email_otp_user_pool import EmailOtpUserPool
from infra.page_headers import HASHED_FILES, strict_headers
from infra.settings import SettingsError

PAGE = Path(__file__).resolve().parents[1] / "agent" / "web"
# All that the page talks to beside its own address.
_SERVICES = ("cognito-idp", "cognito-identity", "sts", "bedrock-agentcore")


class WebHosting(Construct):
    """The page and all that it has to know of the deployment.

    Attributes:
        url: The page's address.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        sign_in: EmailOtpUserPool,
        agent: AgentRuntime,
    ) -> None:
        """Create it.

        Args:
            scope: The construct it belongs to.
            construct_id: Its name there.
            sign_in: The pool that the page refreshes tokens at.
            agent: What the page talks to.
        """
        super().__init__(scope, construct_id)
        self._bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            # All that is in it can be built again.
            removal_policy=RemovalPolicy.DESTROY,
            auto_delete_objects=True,
        )
        distribution = self._make_distribution()
        self.url = f"https://{distribution.distribution_domain_name}"
        self._deploy(str(PAGE / "dist"), self._config(sign_in, agent))

    def _make_distribution(self) -> cloudfront.Distribution:
        access = cloudfront.S3OriginAccessControl(
            self, "OriginAccess", origin_access_control_name=self._unique("")
        )
        origin = origins.S3BucketOrigin.with_origin_access_control(
            self._bucket, origin_access_control=access
        )
        return cloudfront.Distribution(
            self,
            "Distribution",
            comment="E-mail-code sign-in: the chat page",
            default_root_object="index.html",
            default_behavior=cloudfront.BehaviorOptions(
                origin=origin,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
                response_headers_policy=self._headers("PageHeaders", "no-store"),
            ),
            additional_behaviors={
                f"{HASHED_FILES}*": cloudfront.BehaviorOptions(
                    origin=origin,
                    viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                    cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                    response_headers_policy=self._headers(
                        "AssetHeaders", "public, max-age=31536000, immutable"
                    ),
                )
            },
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
        )

    def _headers(self, name: str, cache_control: str) -> cloudfront.ResponseHeadersPolicy:
        region = Stack.of(self).region
        headers = strict_headers(
            connect_to=[f"https://{service}.{region}.amazonaws.com" for service in _SERVICES]
        )
        return cloudfront.ResponseHeadersPolicy(
            self,
            name,
            response_headers_policy_name=self._unique(name),
            security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
                content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                    content_security_policy=headers["Content-Security-Policy"], override=True
                ),
                content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
                referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                    referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
                ),
                strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                    access_control_max_age=Duration.days(365), override=True
                ),
            ),
            custom_headers_behavior=cloudfront.ResponseCustomHeadersBehavior(
                custom_headers=[
                    cloudfront.ResponseCustomHeader(
                        header="Cache-Control", value=cache_control, override=True
                    )
                ]
            ),
        )

    def _unique(self, name: str) -> str:
        """Return a name for what an account has one list of, for all its regions."""
        return f"{Names.unique_resource_name(self, max_length=30)}{name}-{Stack.of(self).region}"

    def _config(self, sign_in: EmailOtpUserPool, agent: AgentRuntime) -> dict[str, str]:
        """Return `config.json`, whose type is in `agent/web/src/chat/config.ts`."""
        region = Stack.of(self).region

        def endpoint(runtime_arn: str) -> str:
            encoded = Fn.join("%3A", Fn.split(":", runtime_arn))
            encoded = Fn.join("%2F", Fn.split("/", encoded))
            return (
                f"https://bedrock-agentcore.{region}.amazonaws.com/runtimes/{encoded}/invocations"
                "?qualifier=DEFAULT"
            )

        return {
            "region": region,
            "clientId": sign_in.user_pool_client.user_pool_client_id,
            "cognitoEndpoint": f"https://cognito-idp.{region}.amazonaws.com/",
            "guestEndpoint": endpoint(agent.guest.agent_runtime_arn),
            "memberEndpoint": endpoint(agent.member.agent_runtime_arn),
            "guestRuntimeArn": agent.guest.agent_runtime_arn,
            "identityPoolId": agent.identity_pool.ref,
            "guestRoleArn": agent.guest_role.role_arn,
        }

    def _deploy(self, page: str, config: dict[str, str]) -> None:
        """Copy the page; older files stay, for tabs that still run the page they belong to."""
        log_group = logs.LogGroup(
            self,
            "DeploymentLogs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        assets = s3_deployment.BucketDeployment(
            self,
            "Assets",
            destination_bucket=self._bucket,
            log_group=log_group,
            sources=[s3_deployment.Source.asset(page, exclude=["index.html"])],
            prune=False,
        )
        index = s3_deployment.BucketDeployment(
            self,
            "Index",
            destination_bucket=self._bucket,
            log_group=log_group,
            sources=[
                s3_deployment.Source.asset(page, exclude=["*", "!index.html"]),
                s3_deployment.Source.json_data("config.json", config),
            ],
            prune=False,
        )
        # Else there is a moment in which the page's files are not there yet.
        index.node.add_dependency(assets)


def require_fresh(web: Path) -> None:
    """Refuse a page that its sources in a folder have left behind.

    Raises:
        SettingsError: It was not built, or before they were changed.
    """
    built = web / "dist" / "index.html"
    if not built.exists():
        raise SettingsError("web is true, but the page is not built: run `make page`")
    sources = [*(web / "src").rglob("*"), *web.glob("*.*")]
    if any(path.stat().st_mtime > built.stat().st_mtime for path in sources if path.is_file()):
        raise SettingsError("web is true, but the page is older than its sources: run `make page`")
