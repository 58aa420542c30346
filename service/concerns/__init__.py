"""Around a call: access, throttle, TLS, logs, metrics, traces."""
