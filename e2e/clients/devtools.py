"""Headless Chromium, driven over the DevTools protocol through a pair of pipes: no driver, no port, no packages."""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import tempfile

# No request of the browser's own: in a network that lets nothing else through they only cost time.
QUIET = [
    "--headless=new",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-extensions",
    "--metrics-recording-only",
    "--no-pings",
]
# Two pages share a browser: the hidden one must not be slowed down. Software rendering, and no shared memory folder that
# containers make small.
STEADY = [
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--mute-audio",
]
ANSWER = 20.0
LONGEST_MESSAGE = 16 * 1024 * 1024


class Browser:
    """A browser with a home of its own, both gone at the end. `authorities` (PEM files) are trusted besides its own."""

    def __init__(self, flags: list[str], authorities: list[str]) -> None:
        self.flags = flags
        self.authorities = authorities
        self.answers: dict[int, asyncio.Future] = {}
        self.numbers = itertools.count(1)

    async def __aenter__(self) -> "Browser":
        self.home = tempfile.mkdtemp(prefix="browser-")
        try:
            self._trust()
            await self._start()
        except BaseException:
            shutil.rmtree(self.home, ignore_errors=True)
            raise
        return self

    def _trust(self) -> None:
        """Chromium takes further authorities from the user's NSS database."""
        database = os.path.join(self.home, ".pki", "nssdb")
        os.makedirs(database)
        run = ["certutil", "-d", f"sql:{database}"]
        subprocess.run([*run, "-N", "--empty-password"], check=True)
        for number, path in enumerate(self.authorities):
            subprocess.run([*run, "-A", "-n", f"authority-{number}", "-t", "C,,", "-i", path], check=True)

    async def _start(self) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        profile = os.path.join(self.home, "profile")
        # Its sandbox wants another user than root.
        flags = [*QUIET, *STEADY, *self.flags, "--no-sandbox", f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        # The protocol is spoken on descriptors 3 and 4.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.log = open(os.path.join(self.home, "log"), "w+")
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", "chromium", *flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "HOME": self.home},
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.out = os.fdopen(ours_out, "wb", buffering=0)
        self.reader = asyncio.StreamReader(limit=LONGEST_MESSAGE)
        self.pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.reader), os.fdopen(ours_in, "rb", buffering=0)
        )
        self.reading = asyncio.create_task(self._read())

    async def __aexit__(self, *_) -> None:
        try:
            await self.ask("Browser.close")
        except (BrokenPipeError, ConnectionError, TimeoutError):
            pass
        try:
            await asyncio.to_thread(self.process.wait, 10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        self.reading.cancel()
        self.pipe.close()
        self.out.close()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    async def _read(self) -> None:
        try:
            while True:
                message = json.loads((await self.reader.readuntil(b"\0"))[:-1])
                waiting = self.answers.pop(message.get("id"), None)
                if waiting and not waiting.done():
                    waiting.set_result(message)
        except asyncio.IncompleteReadError:
            for waiting in self.answers.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError(f"the browser has ended: {self._last_words()}"))

    def _last_words(self) -> str:
        self.log.seek(0)
        return self.log.read()[-1000:]

    async def ask(self, method: str, session: str | None = None, **parameters):
        number = next(self.numbers)
        self.answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self.out.write(json.dumps(message).encode() + b"\0")
        answer = await asyncio.wait_for(self.answers[number], ANSWER)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def page(self, script: str) -> "Page":
        """A page in a browser context of its own, as of another person, in which `script` has run."""
        context = (await self.ask("Target.createBrowserContext"))["browserContextId"]
        target = (await self.ask("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session)
        await page.run(script)
        return page


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session

    async def run(self, script: str):
        """The value of an expression; a promise is waited for."""
        answer = await self.browser.ask(
            "Runtime.evaluate", self.session, expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    async def call(self, function: str, *arguments):
        return await self.run(f"{function}({', '.join(json.dumps(argument) for argument in arguments)})")
