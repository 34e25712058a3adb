"""The built-in SSMI gateway: a server for development and tests, with telephones to call it from.

`server` runs it (on gevent), `gateway` and `subscribers` decide, `wire` and `control` are the telephones' port,
`phone` is the telephone in the terminal. Nothing is imported here: `phone` must not bring gevent along.
"""
