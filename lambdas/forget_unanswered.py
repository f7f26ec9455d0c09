"""Forget whoever was created for a sign-in and never answered; runs once an hour."""

import os
from typing import Any

from lambdas.email_otp import forgetting
from lambdas.email_otp.forgetting import Forgetting, NotAllForgottenError
from lambdas.email_otp.observability import logger, metrics
from lambdas.email_otp.settings import ForgettingResources, ForgettingSettings

resources = ForgettingResources.from_environment(os.environ)
settings = ForgettingSettings.from_environment(os.environ)
sweep = Forgetting(
    *forgetting.connect(),
    user_pool_id=resources.user_pool_id,
    guests_table_name=resources.guests_table_name,
    ledger_table_name=resources.ledger_table_name,
    after_hours=settings.forget_unanswered_after_hours,
)


@logger.inject_lambda_context(clear_state=True, log_event=False)
def handler(_event: dict[str, Any], context: Any) -> None:
    """Forget whoever is due.

    Raises:
        NotAllForgottenError: It did not all work. Lambda counts that, and tries twice more.
    """
    try:
        sweep.run(lambda: context.get_remaining_time_in_millis() / 1000)
    except NotAllForgottenError:
        raise
    except Exception as error:
        logger.error("sweep failed", error_type=type(error).__name__)
    else:
        return
    finally:
        if metrics.provider.metric_set:
            metrics.flush_metrics()
    # Outside of the handling of that error: the runtime would log its text, too.
    raise NotAllForgottenError
