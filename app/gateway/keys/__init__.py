"""Who may ask: API keys from the key file and the database, tokens of an issuer, and the admin API that makes keys."""
