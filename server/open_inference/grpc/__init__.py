"""The Open Inference Protocol over gRPC: each call is a request to the HTTP application, in the same process.

So keys, limits, deadlines, the access log and metrics work as over HTTP. `open_inference.proto` defines the messages
and says how to compile them. The package needs the extra `grpc`.
"""
