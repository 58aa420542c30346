"""The way of a query: options, route, find, stages, explanation."""
