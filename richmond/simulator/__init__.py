"""The built-in SSMI gateway: a server for development and tests, with telephones to call it from.

`server` runs it (on gevent); `gateway`, `subscribers`, `reports` and `faults` decide; `wire` and `control` are the
telephones' port, `line` its other end, `phone` and `load` who dials there. Nothing is imported here: they must not
bring gevent along.
"""
