"""A real server of SMTP on loopback that keeps what it gets."""

import email
import email.policy
import socket
import ssl

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from event_receivers import expired_certificate

MAIL = """
[[mail]]
name = "office"
url = "{url}"
sender = "gate@park.example"
{more}
"""


class Inbox:
    """Mails that came; `answers` are those of the server, by address or for "DATA", once each."""

    def __init__(self, **more):
        self.mails, self.answers, self.users = [], {}, []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if more.get("auth_required"):
            more["authenticator"] = self.log_in
        self.more = more
        self.start()

    def start(self):
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, **self.more)
        self.controller.start()

    def log_in(self, server, session, envelope, mechanism, data):
        del server, session, envelope, mechanism
        self.users.append((data.login, data.password))
        return AuthResult(success=data.password == b"word", handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):
        del server, session, options
        if address in self.answers:
            return self.answers.pop(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        del server
        if "DATA" in self.answers:
            return self.answers.pop("DATA")
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, message, session.ssl is not None))
        return "250 OK"

    def texts(self):
        return [message.get_body().get_content().replace("\r\n", "\n") for _, message, _ in self.mails]

    def close(self):
        self.controller.stop()


@pytest.fixture
def inbox():
    inbox = Inbox()
    yield inbox
    inbox.close()


def office(port, more='to = ["office@park.example"]', scheme="smtp", *, plain=True):
    """One receiver of mail in the words of the file."""
    secure = "starttls = false\n" if plain else ""
    return MAIL.format(url=f"{scheme}://127.0.0.1:{port}", more=secure + more)


def server_context(folder):
    """TLS of a server whose certificate signs itself and is valid, and the file to trust it by."""
    certificate, key = expired_certificate(folder, days=9)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
