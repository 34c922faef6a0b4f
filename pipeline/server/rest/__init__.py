"""REST beside the WebSocket, on the same engines: one file per resource, answers and errors in the provider's shape."""
