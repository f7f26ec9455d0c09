"""The three triggers of the sign-in, one file a Lambda function, and what they share."""
