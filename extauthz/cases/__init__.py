"""Decision cases: a caller, a request and the answer expected of it, judged as a request from a proxy is."""
