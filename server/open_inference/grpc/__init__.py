"""The Open Inference Protocol over gRPC: each call is a request to the HTTP application, in the same process.

So keys, limits, deadlines, the access log and metrics are the same. `open_inference.proto` says how the messages are
made. The package needs the extra `grpc`.
"""
