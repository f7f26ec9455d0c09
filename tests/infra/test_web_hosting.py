"""The hosted page: a private bucket, strict headers, and a configuration of this deployment."""

import os
import shutil
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from infra.local.ministack import ROOT
from infra.page_headers import strict_headers
from infra.settings import SettingsError
from infra.web_hosting import require_fresh
from tests.support.template import Template, config_of, synthesise, written

WEB = ROOT / "agent" / "web"


@pytest.fixture
def distribution(hosted: Template) -> dict[str, Any]:
    found = hosted.only("AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    return dict(found)


def headers_of(template: Template, behaviour: dict[str, Any]) -> dict[str, Any]:
    policy = behaviour["ResponseHeadersPolicyId"]["Ref"]
    properties = template.body["Resources"][policy]["Properties"]
    return dict(written(properties["ResponseHeadersPolicyConfig"]))


def test_bucket_is_private_and_goes_with_the_stack(hosted: Template) -> None:
    bucket = hosted.only("AWS::S3::Bucket")
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert "WebsiteConfiguration" not in bucket["Properties"]
    assert bucket["DeletionPolicy"] == "Delete"
    assert hosted.only("Custom::S3AutoDeleteObjects")
    for log_group in hosted.resources("AWS::Logs::LogGroup").values():
        assert log_group["DeletionPolicy"] == "Delete"


def test_this_distribution_alone_reads_the_bucket(hosted: Template) -> None:
    statements = hosted.only("AWS::S3::BucketPolicy")["Properties"]["PolicyDocument"]["Statement"]
    (distribution,) = hosted.resources("AWS::CloudFront::Distribution")
    (bucket,) = hosted.resources("AWS::S3::Bucket")
    (allowed,) = (each for each in statements if "s3:GetObject" in each["Action"])
    assert written(allowed) == {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Resource": f"${{{bucket}.Arn}}/*",
        "Condition": {
            "StringEquals": {
                "AWS:SourceArn": "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:"
                f"distribution/${{{distribution}}}"
            }
        },
    }
    control = hosted.only("AWS::CloudFront::OriginAccessControl")["Properties"]
    assert control["OriginAccessControlConfig"]["SigningBehavior"] == "always"


@pytest.mark.parametrize("index", [0, 1])
def test_every_file_comes_by_tls_under_the_strict_headers(
    hosted: Template, distribution: dict[str, Any], index: int
) -> None:
    behaviours = [distribution["DefaultCacheBehavior"], *distribution["CacheBehaviors"]]
    assert len(behaviours) == 2
    assert behaviours[index]["ViewerProtocolPolicy"] == "redirect-to-https"
    security = headers_of(hosted, behaviours[index])["SecurityHeadersConfig"]
    services = " ".join(
        f"https://{service}.${{AWS::Region}}.amazonaws.com"
        for service in ("cognito-idp", "cognito-identity", "sts", "bedrock-agentcore")
    )
    # All that there are: CloudFront has a place of its own for each.
    assert {*strict_headers(connect_to=[])} == {
        *("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy")
    }
    assert security == {
        "ContentSecurityPolicy": {
            "ContentSecurityPolicy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                f"font-src 'self'; connect-src 'self' {services}; base-uri 'none'; "
                "form-action 'none'; frame-ancestors 'none'"
            ),
            "Override": True,
        },
        "ContentTypeOptions": {"Override": True},
        "ReferrerPolicy": {"ReferrerPolicy": "no-referrer", "Override": True},
        "StrictTransportSecurity": {"AccessControlMaxAgeSec": 31536000, "Override": True},
    }


def test_page_and_configuration_are_never_cached_and_hashed_files_for_a_year(
    hosted: Template, distribution: dict[str, Any]
) -> None:
    def cached(behaviour: dict[str, Any]) -> tuple[str, str]:
        (header,) = headers_of(hosted, behaviour)["CustomHeadersConfig"]["Items"]
        assert (header["Header"], header["Override"]) == ("Cache-Control", True)
        return behaviour["CachePolicyId"], header["Value"]

    (assets,) = distribution["CacheBehaviors"]
    assert assets["PathPattern"] == "/assets/*"
    assert distribution["DefaultRootObject"] == "index.html"
    assert cached(distribution["DefaultCacheBehavior"]) == (
        cdk.aws_cloudfront.CachePolicy.CACHING_DISABLED.cache_policy_id,
        "no-store",
    )
    assert cached(assets) == (
        cdk.aws_cloudfront.CachePolicy.CACHING_OPTIMIZED.cache_policy_id,
        "public, max-age=31536000, immutable",
    )


def test_configuration_is_that_of_the_deployment(hosted: Template) -> None:
    outputs = {name: written(each["Value"]) for name, each in hosted.body["Outputs"].items()}
    role = hosted.only("AWS::Cognito::IdentityPoolRoleAttachment")["Properties"]["Roles"]

    def endpoint(runtime_arn: str) -> str:
        encoded = runtime_arn.replace(":", "%3A").replace("/", "%2F")
        return (
            "https://bedrock-agentcore.${AWS::Region}.amazonaws.com/runtimes/"
            f"{encoded}/invocations?qualifier=DEFAULT"
        )

    assert config_of(hosted) == {
        "region": "${AWS::Region}",
        "clientId": outputs["UserPoolClientId"],
        "cognitoEndpoint": "https://cognito-idp.${AWS::Region}.amazonaws.com/",
        "guestEndpoint": endpoint(outputs["GuestRuntimeArn"]),
        "memberEndpoint": endpoint(outputs["MemberRuntimeArn"]),
        "guestRuntimeArn": outputs["GuestRuntimeArn"],
        "identityPoolId": outputs["IdentityPoolId"],
        "guestRoleArn": written(role["unauthenticated"]),
    }


def test_page_is_there_after_the_files_it_names_and_no_old_file_is_taken_away(
    hosted: Template,
) -> None:
    deployments = hosted.resources("Custom::CDKBucketDeployment")
    assert [each["Properties"]["Prune"] for each in deployments.values()] == [False, False]
    (index,) = (name for name in deployments if "Index" in name)
    (assets,) = (name for name in deployments if "Assets" in name)
    assert assets in deployments[index]["DependsOn"]
    folders = [path for path in template_folders(hosted) if (path / "assets").is_dir()]
    assert [(path / "index.html").exists() for path in folders] == [False]
    pages = [path for path in template_folders(hosted) if (path / "index.html").exists()]
    assert [[each.name for each in path.iterdir()] for path in pages] == [["index.html"]]


def template_folders(template: Template) -> list[Path]:
    return [path for path in template.assembly.glob("asset.*") if path.is_dir()]


def test_names_that_an_account_has_one_list_of_tell_regions_apart(hosted: Template) -> None:
    configurations = [
        each["Properties"]["ResponseHeadersPolicyConfig"]
        for each in hosted.resources("AWS::CloudFront::ResponseHeadersPolicy").values()
    ]
    control = hosted.only("AWS::CloudFront::OriginAccessControl")["Properties"]
    configurations.append(control["OriginAccessControlConfig"])
    names = [written(each["Name"]) for each in configurations]
    assert len(set(names)) == 3
    assert all(name.endswith("-${AWS::Region}") for name in names)


def test_stack_without_the_page_has_nothing_of_it() -> None:
    template = synthesise(agent=True, model_id="offline")
    kinds = {each["Type"] for each in template.body["Resources"].values()}
    assert not {kind for kind in kinds if "CloudFront" in kind or "S3" in kind}
    assert "WebUrl" not in template.body["Outputs"]


def test_page_that_is_not_built_or_older_than_its_sources_is_not_deployed(tmp_path: Path) -> None:
    web = tmp_path / "web"
    shutil.copytree(WEB / "src", web / "src")
    with pytest.raises(SettingsError, match="the page is not built: run `make page`"):
        require_fresh(web)
    (web / "dist").mkdir()
    (web / "dist" / "index.html").write_text("<!doctype html>")
    require_fresh(web)
    later = (web / "dist" / "index.html").stat().st_mtime + 1
    os.utime(web / "src" / "App.tsx", (later, later))
    with pytest.raises(SettingsError, match="older than its sources: run `make page`"):
        require_fresh(web)
