"""A server that takes webhooks."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.running.waiting import wait_until


class Receiver:
    """Takes webhooks, and answers with these statuses, then 204."""

    def __init__(self, *statuses, location=None):
        self.taken = []
        left = list(statuses)
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                taken.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"])), self.path))
                self.send_response(left.pop(0) if left else 204)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/hook?x=1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, count):
        wait_until(lambda: len(self.taken) >= count)
        assert len(self.taken) == count
        return self.taken

    def close(self):
        self._server.shutdown()
        self._server.server_close()
