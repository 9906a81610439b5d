"""What every route shares: the app, errors, CORS, authentication, scopes, lists, request ids."""
