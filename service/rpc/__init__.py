"""The way of a call: interceptor, gate, deadline, handler, forward."""
