"""The stack's CloudFormation template, synthesised and asked the way tests ask."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import infra  # noqa: F401 - it picks the Node.js that `import aws_cdk` starts

# isort: split
import aws_cdk as cdk

from infra.local.ministack import ROOT
from infra.settings import Settings
from infra.stack import EmailOtpStack

type Properties = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A CloudFormation template, asked the way tests ask."""

    body: dict[str, Any]
    assembly: Path = Path()
    """The folder with the assets."""

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the resources of a type, by logical id."""
        return {
            name: resource
            for name, resource in self.body["Resources"].items()
            if resource["Type"] == kind
        }

    def only(self, kind: str) -> dict[str, Any]:
        """Return the one resource of a type."""
        (resource,) = self.resources(kind).values()
        return dict(resource)

    def function(self, handler: str) -> Properties:
        """Return a trigger's properties."""
        (function,) = (
            resource["Properties"]
            for resource in self.resources("AWS::Lambda::Function").values()
            if resource["Properties"]["Handler"] == f"lambdas.{handler}.handler"
        )
        return dict(function)

    def table(self, key: str) -> dict[str, Any]:
        """Return the table with this partition key."""
        (table,) = (
            resource
            for resource in self.resources("AWS::DynamoDB::Table").values()
            if resource["Properties"]["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]
        )
        return dict(table)

    def arn(self, resource: dict[str, Any], attribute: str = "Arn") -> dict[str, Any]:
        """Return a resource's ARN as other resources write it."""
        (name,) = (name for name, each in self.body["Resources"].items() if each == resource)
        return {"Fn::GetAtt": [name, attribute]}

    def statements(self, handler: str) -> list[dict[str, Any]]:
        """Return all that a trigger's role may do."""
        role = self.function(handler)["Role"]["Fn::GetAtt"][0]
        assert set(self.body["Resources"][role]["Properties"]) == {"AssumeRolePolicyDocument"}
        return [
            statement
            for policy in self.resources("AWS::IAM::Policy").values()
            if policy["Properties"]["Roles"] == [{"Ref": role}]
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        ]


def written(value: Any, known: Mapping[str, str] | None = None) -> Any:
    """Return a value as one reads it: joined, and with `${Resource}` or `${Resource.Attribute}`.

    Args:
        value: Of a template.
        known: What to write instead, by `Resource` or `Resource.Attribute`.
    """

    def of(each: Any) -> Any:
        return written(each, known)

    def named(name: str) -> str:
        return (known or {}).get(name, f"${{{name}}}")

    match value:
        case {"Fn::Join": [str(separator), list(parts)]}:
            return separator.join(map(of, parts))
        case {"Fn::Join": [str(separator), {"Fn::Split": [str(mark), whole]}]}:
            return of(whole).replace(mark, separator)
        case {"Ref": str(name)}:
            return named(name)
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return named(f"{name}.{attribute}")
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: named(found[1]), text)
        case dict():
            return {name: of(each) for name, each in value.items()}
        case list():
            return [of(each) for each in value]
        case _:
            return value


def config_of(template: Template, known: Mapping[str, str] | None = None) -> Any:
    """Return `config.json` as the deployment writes it; see `written`."""
    markers: dict[str, Any] = {}
    for deployment in template.resources("Custom::CDKBucketDeployment").values():
        for each in deployment["Properties"].get("SourceMarkers", []):
            markers |= each
    (file,) = template.assembly.glob("asset.*/config.json")
    text = file.read_text()
    for marker, value in markers.items():
        text = text.replace(marker, written(value, known))
    return json.loads(text)


def new_app(**settings: Any) -> cdk.App:
    """Return the app with the stack, by settings beside the sender."""
    app = cdk.App(
        context=json.loads((ROOT / "cdk.json").read_text())["context"], analytics_reporting=False
    )
    EmailOtpStack(app, "EmailOtp", settings=Settings(sender="login@example.com", **settings))
    return app


def synthesise(**settings: Any) -> Template:
    """Synthesise the stack with settings beside the sender."""
    assembly = new_app(**settings).synth()
    return Template(assembly.get_stack_by_name("EmailOtp").template, Path(assembly.directory))
