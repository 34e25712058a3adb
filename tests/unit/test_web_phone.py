"""Which requests of the telephones in the browser take no token."""

import pytest

from richmond.settings import WebSettings
from richmond.web.phone import is_free

LINE = "/phone/line/name"


@pytest.mark.parametrize(
    ("path", "host", "hosts", "free"),
    [
        (LINE, "127.0.0.1", (), True),
        (LINE, "localhost", (), True),
        (LINE, "::1", (), True),
        (LINE, "0.0.0.0", (), False),
        (LINE, "192.0.2.1", (), False),
        (LINE, "127.0.0.1", ("richmond.example",), False),  # behind a proxy, and whoever the proxy lets in
        ("/classes/EchoWorker/scale", "127.0.0.1", (), False),
        ("/phone", "127.0.0.1", (), False),
        ("/phone/lines", "127.0.0.1", (), False),
    ],
)
def test_a_telephones_line_is_free_where_this_host_alone_gets_to_it(path, host, hosts, free):
    assert is_free(path, WebSettings(host=host, hosts=hosts)) is free
