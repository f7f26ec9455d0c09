"""The example service around the sign-in: what it takes from a browser, and what answers."""
