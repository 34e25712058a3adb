"""The web server's connections in a process of its own: `python web_host.py MAX_CLIENTS PATIENCE_S`; prints its port.

`/` says ok, `/endless` sends for ever, and `/echo` answers with what it was sent.
"""

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import sys

import gevent

from richmond.web.http import Server


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/endless":
        return iter(lambda: b"x" * 65536, None)
    return [environ["wsgi.input"].read() if path == "/echo" else b"ok"]


def main() -> None:
    server = Server("127.0.0.1", 0, application, int(sys.argv[1]), float(sys.argv[2]))
    print(server.port, flush=True)
    gevent.get_hub().join()


if __name__ == "__main__":
    main()
