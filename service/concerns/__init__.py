"""What stands around a call: access, throttle, TLS, logs, metrics, traces."""
