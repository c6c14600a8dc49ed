"""The messages of the gRPC protocol; `open_inference.proto` says how the module is made."""
