"""What the three Cognito custom-auth triggers share: the e-mail code and its ledger."""
