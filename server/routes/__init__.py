"""One module a group of calls: take a request, call the service, answer with a schema."""
