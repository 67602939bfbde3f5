"""The follower's process: its threads, the socket to the gateway, and its end, which comes with the gateway's."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Callable

from wgjit.errors import WgjitError
from wgjit.model import PublicKey
from wgjit.secrecy import seal_memory
from wgjit.stores.replica import messages
from wgjit.stores.replica.follower.asking import Asking
from wgjit.stores.replica.follower.beating import Beating
from wgjit.stores.replica.follower.file import File
from wgjit.stores.replica.follower.following import Following
from wgjit.stores.replica.follower.report import Report
from wgjit.stores.replica.follower.sending import Sending
from wgjit.stores.replica.follower.servers import Server, Watchdog
from wgjit.stores.replica.follower.sources import Sources

LAST = 2.0
"""Seconds for the last of what the gateway says, when it stops."""

YIELD = 0.06
"""Seconds for which the file is left to the gateway when it wants to write."""


def run(descriptor: int = 0) -> int:
    """Follow until the gateway stops or is gone. Returns the process's exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the gateway gets them, too, and may have something to say yet
    seal_memory()  # it has the database's password and preshared keys
    link = socket.socket(fileno=descriptor)
    said = messages.receive(link)
    if said is None:
        return 0
    report = Report(link)
    try:
        terms, path = messages.Terms.unpacked(said)
        watchdog = Watchdog()
        primary = Server(terms.url, watchdog)
        read = primary if terms.read_url is None else Server(terms.read_url, watchdog)
        file = File(path)
        sources = Sources(read, primary)
        following = Following(file, sources, report, gateway=terms.gateway.name, poll=terms.poll)
        sending = Sending(file, primary, report, lambda: following.polls)
        beating = Beating(
            primary, report, terms.gateway, file.instance(), following.primary_is_on, following.others_are
        )
        beating.lag = following.lag
        asking = Asking(file, read, primary, report)
    except WgjitError as error:
        report.set(fatal=str(error))
        return 1
    for work in (following.run, sending.run, beating.run):
        threading.Thread(target=_for_ever(work), name=work.__qualname__, daemon=True).start()
    sources.start()
    asking.start()
    while (message := messages.receive(link)) is not None:
        if "nudge" in message:
            sending.nudge()
        elif "ask" in message:
            asking.ask(PublicKey(b64decode(message["ask"])))
        elif "want" in message:
            following.let_write(YIELD)
        elif "fails" in message:
            following.file_fails(message["fails"])
        elif "facts" in message:
            was_draining = beating.draining
            beating.residents, beating.draining = message["facts"]["residents"], message["facts"]["draining"]
            if beating.draining != was_draining:
                beating.hurry()
        elif "stop" in message:
            _say_the_last(sending)
            break
    os._exit(0)  # threads may wait for a server that does not answer


def _say_the_last(sending: Sending) -> None:
    def send() -> None:
        while sending.send():
            pass

    last = threading.Thread(target=_for_ever(send, ends=True), daemon=True)
    last.start()
    last.join(LAST)


def _for_ever(work: Callable[[], None], *, ends: bool = False) -> Callable[[], None]:
    """A thread's work. An error that nobody expects ends the process, so that the gateway starts another."""

    def guarded() -> None:
        try:
            work()
        except BaseException:
            if ends:
                return
            print(f"wgjit follower: {traceback.format_exc()}", file=sys.stderr, flush=True)
            time.sleep(0.1)
            os._exit(1)

    return guarded
