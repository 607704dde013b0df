"""The pages and the requests that they make: thin, so that every rule stands in a service."""
