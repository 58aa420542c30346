"""The command line, the gRPC server and its client."""
