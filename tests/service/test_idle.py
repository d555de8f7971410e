"""A connection that was idle for a while still serves: proxies keep theirs for a minute."""

import http.client
import time

from services import serve


def test_connection_outlives_the_idle_time_that_uvicorn_would_give_it(stack):
    connection = http.client.HTTPConnection(stack.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/livez")
    connection.getresponse().read()
    used = connection.sock
    time.sleep(6)  # uvicorn's own is 5
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200
    assert connection.sock is used
    assert serve.KEEP_ALIVE_S > 60
