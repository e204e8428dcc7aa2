"""`extauthz doctor`: what stands against a safe service, found by asking the same parts that serve."""
