"""What a function's bundle holds: the modules it imports, and AWS's models cut to what it calls."""

import gzip
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

# Lambda's runtime brings boto3, and these are its parts.
_BROUGHT_BY_LAMBDA = ["botocore", "dateutil", "jmespath", "six", "urllib3"]
# Needed to log pydantic's models alone, and we log none.
_NEVER_REACHED = ["aws_lambda_powertools.event_handler"]
# They import all there is, to offer it under short names; we use none of those.
_ONLY_GATHERING = [
    "aws_lambda_powertools/__init__.py",
    "aws_lambda_powertools/utilities/data_classes/__init__.py",
]


def empty_gathering_modules(packages: Path) -> None:
    """Empty the modules of installed packages that only import others."""
    for name in _ONLY_GATHERING:
        (packages / name).write_text("")


class _Finder(ModuleFinder):
    """Finds what is imported, but for what is for types alone and so never is."""

    def load_module(
        self, fqname: str, fp: Any, pathname: str, file_info: tuple[str, str, str]
    ) -> Any:
        """Load a module's code, without the blocks that only a type checker reads."""
        if fp:
            fp = io.BytesIO(fp.read().replace(b"if TYPE_CHECKING:", b"if False:"))
        return super().load_module(fqname, fp, pathname, file_info)


def modules_of(handler: str, *places: Path) -> dict[str, Path]:
    """Find what a handler imports, by the files' names in the bundle.

    What is imported within a function is there too.

    Args:
        handler: The module.
        places: The folders to import from. What is in none, as of Python itself, is left out.

    Raises:
        ModuleNotFoundError: A module of ours is in none either.
    """
    finder = _Finder(
        path=[str(place) for place in places], excludes=_BROUGHT_BY_LAMBDA + _NEVER_REACHED
    )
    finder.import_hook(handler)
    ours = f"{handler.partition('.')[0]}."
    if missing := [name for name in finder.badmodules if name.startswith(ours)]:
        raise ModuleNotFoundError(f"{handler} imports what is not there: {', '.join(missing)}")
    modules: list[Any] = list(finder.modules.values())
    files = [Path(module.__file__) for module in modules if module.__file__]
    return {
        file.relative_to(place).as_posix(): file
        for file in sorted(files)
        for place in places
        if file.is_relative_to(place)
    }


def models_of(sources: Iterable[Path], botocore_data: Path) -> dict[str, str]:
    """Cut AWS's models to the services of which sources make clients, and the operations they call.

    Calls are found as they are written, `.update_item(`; one made in another way would be missing.

    Args:
        sources: The function's sources.
        botocore_data: The folder `botocore/data`.

    Returns:
        JSON, by the files' names in the bundle; nothing where nothing is called.
    """
    code = "\n".join(path.read_text("utf-8") for path in sources)
    services = sorted(set(re.findall(r'_client\(\s*"([a-z0-9-]+)"', code)))
    methods = set(re.findall(r"\.(\w+)\(", code))
    models: dict[str, Any] = {}
    prefixes = set()
    for service in services:
        newest = max(path.parent for path in (botocore_data / service).glob("*/service-2.json.gz"))
        model = _cut(_read(newest / "service-2.json.gz"), methods)
        if model["operations"]:
            prefixes.add(model["metadata"]["endpointPrefix"])
            place = f"models/{newest.relative_to(botocore_data).as_posix()}"
            models[f"{place}/service-2.json"] = model
            rules = _read(newest / "endpoint-rule-set-1.json.gz")
            models[f"{place}/endpoint-rule-set-1.json"] = rules
    if models:
        models["models/endpoints.json"] = endpoints_of(prefixes, botocore_data)
    return {name: json.dumps(model, separators=(",", ":")) for name, model in models.items()}


def endpoints_of(services: Collection[str], botocore_data: Path) -> dict[str, Any]:
    """Cut `endpoints.json`, which botocore reads at every start, to services.

    Args:
        services: Their endpoint prefixes.
        botocore_data: The folder `botocore/data`.
    """
    endpoints: dict[str, Any] = json.loads((botocore_data / "endpoints.json").read_text("utf-8"))
    for partition in endpoints["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in known if name in services}
    return endpoints


def _cut(model: dict[str, Any], methods: set[str]) -> dict[str, Any]:
    """Keep the operations that these methods call, and the shapes that those name; no prose."""
    operations = {
        name: operation
        for name, operation in model["operations"].items()
        if re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() in methods
    }
    shapes: dict[str, Any] = {}
    wanted = list(_shapes_named(operations))
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            wanted += _shapes_named(shapes[name])
    cut: dict[str, Any] = _without_prose(model | {"operations": operations, "shapes": shapes})
    return cut


def _shapes_named(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _shapes_named(each)


def _without_prose(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            name: _without_prose(each)
            for name, each in part.items()
            if not (name == "documentation" and isinstance(each, str))
        }
    return [_without_prose(each) for each in part] if isinstance(part, list) else part


def _read(file: Path) -> Any:
    return json.loads(gzip.decompress(file.read_bytes()))
