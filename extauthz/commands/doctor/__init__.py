"""`extauthz doctor`: examines settings, database, identity providers and files with the code that serves."""
