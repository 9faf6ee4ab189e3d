"""A server in a thread of this process, and plain requests to it, for tests of the service."""

import http.client
import json
import threading
from contextlib import contextmanager

import uvicorn

from qifscan.service.app import create_app
from qifscan.service.serve import Address, configuration


class Asked:
    """An answer: status, headers (small letters), bytes."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.data = response.read()

    @property
    def json(self):
        return json.loads(self.data)


class Server:
    def __init__(self, port, folder):
        self.port, self.folder = port, folder
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method, path, body=None, headers=None, token=None):
        """Send a request exactly as it is given: no path is made shorter."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        headers = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request(method, path, body, headers)
        try:
            return Asked(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def execute(self, process, inputs, **more):
        return self.ask("POST", f"/processes/{process}/execution", {"inputs": inputs}, **more)


@contextmanager
def served(folder, **options):
    """Serve a folder on loopback until the end of the block."""
    config = configuration(create_app(folder, **options), Address())
    config.port = 0
    server = uvicorn.Server(config)
    ready = threading.Event()
    startup = server.startup

    async def started(sockets=None):
        await startup(sockets)
        ready.set()

    server.startup = started
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        yield Server(server.servers[0].sockets[0].getsockname()[1], folder)
    finally:
        config.app.jobs.closing = True
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()
