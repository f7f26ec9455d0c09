"""Logs and metrics of the triggers: fixed messages, fixed keys, and no text of an exception."""

import logging
import re
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools.logging.logger import Logger
from aws_lambda_powertools.metrics.metrics import Metrics
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.metric_properties import MetricUnit
from aws_lambda_powertools.utilities.data_classes.common import DictWrapper

from lambdas.email_otp import deadline
from lambdas.email_otp.errors import TriggerError

# At DEBUG it logs its own steps; a function's log level sets the root's.
logging.getLogger("aws_lambda_powertools").setLevel(logging.WARNING)

logger = Logger()
metrics = Metrics()

_CORRELATION_ID = re.compile(r"[0-9A-Za-z-]{8,64}")

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def count(metric: str) -> None:
    """Add one to a metric."""
    metrics.add_metric(metric, MetricUnit.Count, 1)


def identify(event: dict[str, Any]) -> None:
    """Take the user's `sub` into the logs; whoever does not exist has none."""
    attributes = (event.get("request") or {}).get("userAttributes") or {}
    sub = attributes.get("sub")
    if isinstance(sub, str):
        logger.append_keys(sub=sub)


def correlate(client_metadata: dict[str, str]) -> None:
    """Take the caller's correlation id into the logs, if it looks like one."""
    correlation_id = client_metadata.get("correlation_id")
    if isinstance(correlation_id, str) and _CORRELATION_ID.fullmatch(correlation_id):
        logger.append_keys(correlation_id=correlation_id)


def trigger[Event: DictWrapper](
    data_class: type[Event],
) -> Callable[[Callable[[Event], None]], Handler]:
    """Make a Lambda handler of a function that fills in an event's response.

    A failure is logged once, without its text, and a fixed one is raised instead: texts of AWS
    clients hold addresses. (Powertools' `event_source` would log them.) The event is never
    logged, whatever the environment says.
    """

    def handler_of(fill_in: Callable[[Event], None]) -> Handler:
        @wraps(fill_in)
        def run(event: dict[str, Any], _context: Any) -> dict[str, Any]:
            failure = TriggerError()
            try:
                identify(event)
                with deadline.begun():
                    fill_in(data_class(event))
            except Exception as error:
                if isinstance(error, TriggerError):
                    failure = type(error)()
                _log(error.__cause__ or error)
                count("TriggerFailed")
            else:
                return event
            finally:
                if metrics.provider.metric_set:
                    metrics.flush_metrics()
            raise failure

        handler: Handler = logger.inject_lambda_context(run, clear_state=True, log_event=False)
        return handler

    return handler_of


def _log(error: BaseException) -> None:
    # botocore's time-outs have a `response` too, and it is None.
    response = getattr(error, "response", None) or {}
    logger.error(
        "trigger failed",
        error_type=type(error).__name__,
        error_code=response.get("Error", {}).get("Code"),
        where=[f"{at.name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)],
    )
